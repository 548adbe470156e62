"""What long streams cost: IterateRange of a large table, and a reader of one that stands still.

    python -m bench.load.scan [--pairs=2000000] [--value-bytes=1024] [--flag=...]

The whole table is read by one client while another one has begun to and reads no more. Meanwhile a
third asks for single pairs. The daemon's memory is looked at all the time; the one that stands
still has to be cut off, and neither of the others may notice.
"""

import argparse
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import grpc

from bench import processes
from bench.load.pairs import TABLE
from bench.load.pairs import Family
from bench.load.servers import Target
from bench.load.table import drive
from bench.load.table import fill
from regatta import limits
from regatta.pb.regatta_pb2 import RangeRequest
from tests.cluster.harness import KV
from tests.cluster.harness import Certificate
from tests.cluster.harness import Daemon
from tests.cluster.harness import ServerError

EVERYTHING = RangeRequest(table=TABLE, key=b"\0", range_end=b"\0")
SAMPLE_S = 0.05
# What the one that stands still may take in before it does.
STANDING_WINDOW = (("grpc.http2.lookahead_bytes", 65536), ("grpc.http2.bdp_probe", 0))


class Meter:
    """Looks at the daemon's memory until it is stopped."""

    def __init__(self, process_id: int) -> None:
        self._process_id = process_id
        self._done = threading.Event()
        self.first_bytes = self.most_bytes = processes.own_bytes(process_id)
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while not self._done.wait(SAMPLE_S):
            self.most_bytes = max(self.most_bytes, processes.own_bytes(self._process_id))

    def stop(self) -> None:
        """Look no more."""
        self._done.set()
        self._thread.join()

    def __str__(self) -> str:
        grown = (self.most_bytes - self.first_bytes) / 2**20
        return f"{self.first_bytes / 2**20:.0f} MiB before, at most {grown:.0f} MiB more meanwhile"


def read_all(daemon: Daemon, family: Family) -> str:
    """Read the whole table in one stream; every pair must be there, in order, and right."""
    count = size = pages = 0
    begun_s = time.monotonic()
    with daemon.channel() as channel:
        for page in KV(channel).iterate_range(EVERYTHING, timeout=600):
            for pair in page.kvs:
                if pair.key != family.key(count) or pair.value != family.value(count):
                    raise ServerError(f"pair {count} is wrong: {pair.key!r}")
                count += 1
            size += page.ByteSize()
            pages += 1
    took_s = time.monotonic() - begun_s
    if count != family.pair_count:
        raise ServerError(f"{count:,} pairs of {family.pair_count:,}")
    return (
        f"{count:,} pairs, {size / 2**30:.2f} GiB in {pages:,} messages, "
        f"{took_s:.1f} s, {size / took_s / 1e6:.0f} MB/s"
    )


class Standing:
    """A client that begins to read everything and then reads no more."""

    def __init__(self, daemon: Daemon) -> None:
        credentials = daemon.certificate.client_credentials()
        self._channel = grpc.secure_channel(
            f"localhost:{daemon.port}",
            credentials,
            (*STANDING_WINDOW, ("grpc.max_receive_message_length", -1)),
        )
        self._stream = KV(self._channel).iterate_range(EVERYTHING, timeout=600)
        next(self._stream)

    def outcome(self) -> str:
        """Read on, and tell how it has ended; raise ServerError if everything comes."""
        count = 0
        try:
            for page in self._stream:
                count += len(page.kvs)
        except grpc.RpcError as error:
            return f"{error.code().name}: {error.details()}, after {count:,} pairs more"
        finally:
            self._channel.close()
        raise ServerError("the reader that stood still has been given everything")


def ask_steadily(target: Target, family: Family, seconds: float) -> str:
    """Ask for single pairs at a fixed rate; return what that was like."""
    found = drive(
        target, family, "--shape=8x4", "--rate=2000", f"--seconds={seconds}", "--keys=uniform"
    )
    if found is None:
        raise ServerError("the daemon has no Range")
    return (
        f"{found.request_count / found.took_s:,.0f} reads/s, all right; p50 {found.p50_ms:.2f} ms, "
        f"p99 {found.p99_ms:.2f} ms, longest {found.longest_ms:.0f} ms"
    )


def beside(work: Callable[[], str], said: list[str]) -> threading.Thread:
    """Do *work* in a thread; what it says goes to *said*."""

    def run() -> None:
        said.append(work())

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def measure(daemon: Daemon, given: argparse.Namespace) -> None:
    """Fill the table, read it, and tell what that was like."""
    family = Family(b"key-", given.pairs, given.value_bytes)
    target = Target.of("regatta", daemon)
    fill(target, family)
    print(f"single reads, nothing else: {ask_steadily(target, family, 10)}", flush=True)
    meter = Meter(daemon.process_id)
    print(f"alone: {read_all(daemon, family)}", flush=True)
    meter.stop()
    print(f"  memory: {meter}", flush=True)
    meter, standing, said = Meter(daemon.process_id), Standing(daemon), list[str]()
    wait_s = limits.scan_idle_s_max + 5
    thread = beside(lambda: ask_steadily(target, family, wait_s), said)
    print(f"beside one that stands still and single reads: {read_all(daemon, family)}", flush=True)
    thread.join()
    meter.stop()
    if not said:
        raise ServerError("a single read was answered wrong")
    print(f"  single reads: {said[0]}")
    print(f"  memory: {meter}")
    print(f"  the one that stood still for {wait_s:.0f} s: {standing.outcome()}", flush=True)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--pairs", type=int, default=2_000_000)
    parser.add_argument("--value-bytes", type=int, default=1024)
    parser.add_argument("--flag", action="append", default=[], help="a flag for the daemon")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="regatta-scan-") as name:
        directory = Path(name)
        with Daemon(directory, Certificate.make(directory), *given.flag) as daemon:
            measure(daemon, given)


if __name__ == "__main__":
    main()
