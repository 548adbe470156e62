"""Measures regatta beside the baseline server, with h2load, on the same data.

    python -m bench.load.compare [--rounds=3] [--seconds=6] [--pairs=100000]

Both servers hold the same pairs and are held to the same answers, byte for byte, for every key.
Then they are driven in turn, one round after the other, so that a slow minute of the machine
hits both. The servers have one core with all their threads, h2load has another.
"""

import argparse
import asyncio
import functools
import os
import platform
import statistics
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

from bench.load import baseline, h2load
from bench.load.client import CALL_TIMEOUT_S, CHANNEL_COUNT, do_all, put_all
from bench.load.h2load import Load, Measurement, Shape
from regatta.pb.mvcc_pb2 import KeyValue
from regatta.pb.regatta_pb2 import PutRequest, RangeRequest, RangeResponse
from tests.cluster.harness import KV, Certificate, Daemon, Server, ServerError

SERVER_CPU, LOAD_CPU = 0, 1
TABLE = b"regatta"
CONCURRENCY = 256
VALUE_BYTES = 100
READ_SHAPES = (Shape(8, 32), Shape(64, 1))
WRITE_SHAPES = (Shape(8, 32), Shape(1, 1))
PROBE_COUNT = 2000  # requests whose answers' sizes are checked before and after each timed run
WRITE_KEY = b"written-by-h2load"
# The obvious server reaches more than this on any machine of today.
BASELINE_PER_S_MIN = 2500


class Baseline(Server):
    """The server of bench/load/baseline.py."""

    raft_term = 1

    def command(self) -> list[str]:
        """Return the command line of the baseline server."""
        return [
            *(sys.executable, "-m", "bench.load.baseline", str(self.directory / "store")),
            f"--port={self.port}",
            f"--certificate={self.certificate.certificate_path}",
            f"--key={self.certificate.key_path}",
            f"--raft-term={self.raft_term}",
        ]

    def fill(self, answer: RangeResponse, pairs: list[KeyValue]) -> None:
        """Store *pairs* before the start, and take the Raft term from another server's answer."""
        self.raft_term = answer.header.raft_term
        (self.directory / "store").mkdir()
        store = baseline.Store(self.directory / "store")
        store.fill(pairs)
        store.close()


def key_of(number: int) -> bytes:
    """Return the 16-byte key of pair *number*."""
    return b"key-%012d" % number


def value_of(number: int) -> bytes:
    """Return the 100-byte value of pair *number*."""
    return (b"%08d" % number).ljust(VALUE_BYTES, b"v")


def range_request(key: bytes, *, linearizable: bool) -> bytes:
    """Return an encoded request for one key."""
    request = RangeRequest(table=TABLE, key=key, linearizable=linearizable)
    return request.SerializeToString()


def load_daemon(daemon: Server, pair_count: int) -> None:
    """Put all pairs into the daemon."""
    pairs = ((key_of(number), value_of(number)) for number in range(pair_count))
    took_s = asyncio.run(put_all(daemon, TABLE, pairs, CONCURRENCY))
    print(
        f"loaded {pair_count:,} pairs by single Puts, {CONCURRENCY} at a time, in {took_s:.1f} s: "
        f"{pair_count / took_s:,.0f} puts/s with a Python client"
    )


def copy_to_baseline(daemon: Server, other: Baseline) -> None:
    """Fill the baseline with the daemon's pairs and revisions."""
    with daemon.channel() as channel:
        everything = RangeRequest(table=TABLE, key=b"\0", range_end=b"\0")
        pages = list(KV(channel).iterate_range(everything, timeout=CALL_TIMEOUT_S))
    other.fill(pages[0], [pair for page in pages for pair in page.kvs])


async def check_every_answer(daemon: Server, other: Server, pair_count: int) -> None:
    """Ask both servers for every key; raise ServerError where the bytes differ or are wrong."""
    channels = [server.aio_channel() for server in (daemon, other) for _ in range(CHANNEL_COUNT)]
    # Without serialisers a call takes and gives bytes, which is what is to be compared.
    calls: list[Any] = [channel.unary_unary("/regatta.v1.KV/Range") for channel in channels]

    async def check(number: int) -> None:
        request = range_request(key_of(number), linearizable=False)
        left, right = await asyncio.gather(
            calls[number % CHANNEL_COUNT](request, timeout=CALL_TIMEOUT_S),
            calls[CHANNEL_COUNT + number % CHANNEL_COUNT](request, timeout=CALL_TIMEOUT_S),
        )
        if left != right:
            raise ServerError(f"{key_of(number)!r}: {left!r} is not {right!r}")
        answer = RangeResponse.FromString(left)
        if [(pair.key, pair.value) for pair in answer.kvs] != [(key_of(number), value_of(number))]:
            raise ServerError(f"{key_of(number)!r}: wrong pair in {answer}")

    await do_all(range(pair_count), check, CONCURRENCY)
    for channel in channels:
        await channel.close()
    print(f"checked {pair_count:,} answers of each server: the same bytes, and the right ones")


def measure_reads(server: Server, load: Load, shape: Shape, seconds: int) -> Measurement:
    """Run one timed round of reads; raise ServerError if answers had the wrong size or bytes."""
    message = load.body_path.read_bytes()[5:]
    with server.channel() as channel:
        call: Any = channel.unary_unary("/regatta.v1.KV/Range")
        probe = functools.partial(call, message, timeout=CALL_TIMEOUT_S)
        answer: bytes = probe()
        answer_bytes = 5 + len(answer)

        def check() -> None:
            # An error has no body, so the sum of all bodies tells whether there was one.
            outcome = h2load.run_counted(server, load, shape, PROBE_COUNT, LOAD_CPU)
            if outcome.data_bytes != PROBE_COUNT * answer_bytes or probe() != answer:
                raise ServerError(f"wrong answers under load: {outcome}, expected {answer!r}")

        check()
        measurement = h2load.run_timed(server, load, shape, seconds, LOAD_CPU)
        if measurement.outcome.data_bytes < measurement.outcome.request_count * answer_bytes:
            raise ServerError(f"answers without a body: {measurement.outcome}")
        check()
    return measurement


def measure_writes(server: Server, load: Load, shape: Shape, seconds: int) -> Measurement:
    """Run one timed round of Puts; raise ServerError unless each request has made a revision."""
    put = PutRequest.FromString(load.body_path.read_bytes()[5:])
    with server.channel() as channel:
        call = KV(channel).put
        revision_before = call(put, timeout=CALL_TIMEOUT_S).header.revision
        measurement = h2load.run_timed(server, load, shape, seconds, LOAD_CPU)
        revisions = call(put, timeout=CALL_TIMEOUT_S).header.revision - revision_before - 1
    if revisions < measurement.outcome.request_count:
        raise ServerError(f"{measurement.outcome} made {revisions} revisions")
    return measurement


@dataclass(frozen=True)
class Summary:
    """The rounds of one server under one load."""

    rounds: list[Measurement]

    @property
    def requests_per_s(self) -> float:
        """Median over the rounds."""
        return statistics.median(one.outcome.requests_per_s for one in self.rounds)

    @property
    def cpu_s_per_request(self) -> float:
        """Median over the rounds."""
        return statistics.median(one.cpu_s_per_request for one in self.rounds)

    def row(self) -> str:
        """Return the columns of the table after the server's name."""
        rates = [one.outcome.requests_per_s for one in self.rounds]
        memory_bytes = statistics.median(one.resident_bytes for one in self.rounds)
        spread = f"{min(rates):,.0f}-{max(rates):,.0f}"
        return (
            f"{self.requests_per_s:>11,.0f} {spread:>19}"
            f" {self.cpu_s_per_request * 1e6:>11.2f} {memory_bytes / 2**20:>8.0f}"
        )


Measure = Callable[[Server, Load, Shape, int], Measurement]


def compare(
    title: str,
    measure: Measure,
    servers: dict[str, Server],
    load: Load,
    shapes: tuple[Shape, ...],
    arguments: argparse.Namespace,
) -> None:
    """Measure *servers* in turn under each of *shapes* and print a table."""
    rows = []
    for shape in shapes:
        rounds: dict[str, list[Measurement]] = {name: [] for name in servers}
        for _ in range(arguments.rounds):
            for name, server in servers.items():
                rounds[name].append(measure(server, load, shape, arguments.seconds))
        summaries = {name: Summary(measurements) for name, measurements in rounds.items()}
        rows += [f"{shape!s:8} {name:9} {summary.row()}" for name, summary in summaries.items()]
        first, second = summaries.values()
        rate_ratio = first.requests_per_s / second.requests_per_s
        cpu_ratio = second.cpu_s_per_request / first.cpu_s_per_request
        rows.append(f"{shape!s:8} {'ratio':9} {rate_ratio:>11.1f} {'':>19} {cpu_ratio:>11.1f}")
        if measure is measure_reads and second.requests_per_s < BASELINE_PER_S_MIN:
            rows.append(f"the baseline is below {BASELINE_PER_S_MIN:,}/s: find out why first")
    print(f"\n{title}, TLS; medians of {arguments.rounds} rounds of {arguments.seconds} s")
    columns = f"{'requests/s':>11} {'least-most':>19} {'CPU us/req':>11} {'MiB':>8}"
    print(f"{'load':8} {'server':9} {columns}")
    print("\n".join(rows), flush=True)


def machine() -> str:
    """Return one line on where this was measured."""
    cpu = "unknown CPU"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            cpu = line.partition(":")[2].strip()
            break
    return f"{cpu}, {os.cpu_count()} cores, {platform.platform()}, Python {sys.version.split()[0]}"


def run(arguments: argparse.Namespace, directory: Path) -> None:
    """Start both servers below *directory*, check their answers and measure."""
    certificate = Certificate.make(directory)
    for name in ("regatta", "baseline"):
        (directory / name).mkdir()
    daemon = Daemon(directory / "regatta", certificate)
    other = Baseline(directory / "baseline", certificate)
    for server in (daemon, other):
        server.command_prefix = ("taskset", "--cpu-list", str(SERVER_CPU))
    print(machine())
    with daemon:
        load_daemon(daemon, arguments.pairs)
        copy_to_baseline(daemon, other)
        with other:
            asyncio.run(check_every_answer(daemon, other, arguments.pairs))
            servers: dict[str, Server] = {"regatta": daemon, "baseline": other}
            message = range_request(
                key_of(arguments.pairs // 2), linearizable=arguments.linearizable
            )
            load = Load.make("/regatta.v1.KV/Range", message, directory / "range.bin")
            compare("Range of one key", measure_reads, servers, load, READ_SHAPES, arguments)
            put = PutRequest(table=TABLE, key=WRITE_KEY, value=value_of(0))
            load = Load.make("/regatta.v1.KV/Put", put.SerializeToString(), directory / "put.bin")
            compare("Put of one key", measure_writes, servers, load, WRITE_SHAPES, arguments)


def main() -> int:
    """Read the command line, compare, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3, help="of each server under each load")
    parser.add_argument("--seconds", type=int, default=6, help="measured in each round")
    parser.add_argument("--pairs", type=int, default=100_000)
    parser.add_argument("--linearizable", action="store_true", help="ask for linearizable reads")
    arguments = parser.parse_args()
    if not h2load.is_installed():
        print("compare: h2load is missing; install the package nghttp2-client", file=sys.stderr)
        return 2
    if not {SERVER_CPU, LOAD_CPU} <= os.sched_getaffinity(0):
        print(f"compare: needs CPUs {SERVER_CPU} and {LOAD_CPU}", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(prefix="regatta-load-") as directory:
        try:
            run(arguments, Path(directory))
        except (ServerError, grpc.RpcError) as error:
            print(f"compare: {error}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
