"""Drives Regatta, the baseline and any other server in turn, and prints one table.

    python -m bench.load.table [--runs=3] [--seconds=4] [--pairs=100000] [--only=TEXT]
        [--server=NAME,URL[,CERTIFICATE[,PROCESS]]]... [--variant=FLAGS]... [--prototype=FOLDER]

Every server holds the same pairs, and every single answer is checked. Servers have one core with
all their threads, the load client has another; --server-cpus and --load-cpus change that. For each
row they are driven one after the other, --runs times, so that a slow minute of the machine hits
all; what is printed are medians. A dash stands where a server has refused what the row asks for.
For writes, the floor shows what commits of the same size cost with the store alone.
"""

import argparse
import json
import math
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import grpc

from bench.load import h2load
from bench.load.drive import UNIMPLEMENTED
from bench.load.drive import Result
from bench.load.floor import Floor
from bench.load.pairs import Family
from bench.load.servers import Baseline
from bench.load.servers import Prototype
from bench.load.servers import Target
from tests.cluster.harness import Certificate
from tests.cluster.harness import Daemon
from tests.cluster.harness import Server
from tests.cluster.harness import ServerError

SERVER_CPU, LOAD_CPU = 0, 1
DRIVE_TIMEOUT_S = 900.0
SHAPES = ("8x32", "64x1", "1x1")
MANY = SHAPES[:1]
HEAD = (
    "| load | shape | server | requests/s | least-most | mean ms | p99 ms "
    "| server CPU µs | client CPU µs | MB/s | own MiB | resident MiB |\n"
    "|---|---|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|"
)


@dataclass(frozen=True)
class Work:
    """Rows of the table: one kind of calls in some shapes."""

    name: str
    options: tuple[str, ...] = ()  # of bench.load.drive
    large: bool = False  # values of 1 KiB, not of 100 bytes
    shapes: tuple[str, ...] = SHAPES
    by_h2load: bool = False


WORKS = (
    Work("read, one key", ("--keys=one",)),
    Work("read, one key, by h2load", ("--keys=one",), by_h2load=True),
    Work("read"),
    Work("read, linearizable", ("--linearizable",)),
    Work("read, snappy", ("--snappy",)),
    Work("read, 1 KiB", large=True),
    Work("read, 1 KiB, snappy", ("--snappy",), large=True, shapes=MANY),
    Work("100 pairs", ("--pairs-a-range=100",)),
    Work("100 pairs, snappy", ("--pairs-a-range=100", "--snappy"), shapes=MANY),
    Work("100 pairs, 1 KiB", ("--pairs-a-range=100",), large=True, shapes=MANY),
    Work("95 % reads, 5 % writes", ("--writes=0.05",)),
    Work("write", ("--writes=1",)),
)


def families(pair_count: int) -> dict[bool, Family]:
    """Return the pairs that every server holds: the small ones, and as many large ones."""
    return {
        False: Family(b"key-", pair_count, 100),
        True: Family(b"kib-", pair_count, 1024),
    }


def drive(
    target: Target, family: Family, *options: str, load_cpus: str = str(LOAD_CPU)
) -> Result | None:
    """Run the load client; return None if the server says that it has no such method.

    Raises ServerError if an answer was wrong.
    """
    command = [
        *("taskset", "--cpu-list", load_cpus, sys.executable, "-m", "bench.load.drive"),
        *(target.url, f"--family={family.name.decode()}", f"--pairs={family.pair_count}"),
        *(f"--value-bytes={family.value_bytes}", *options),
    ]
    if target.certificate:
        command.append(f"--certificate={target.certificate}")
    if target.process_id is not None:
        command.append(f"--process={target.process_id}")
    done = subprocess.run(command, capture_output=True, text=True, timeout=DRIVE_TIMEOUT_S)
    if done.returncode == UNIMPLEMENTED:
        return None
    if done.returncode != 0:
        raise ServerError(f"{target.name}: {' '.join(options)}: {done.stderr.strip()}")
    return Result(**json.loads(done.stdout))


def fill(target: Target, family: Family) -> None:
    """Put all pairs of *family*, which tells how fast that goes."""
    filled = drive(target, family, "--fill")
    if filled is None:
        raise ServerError(f"{target.name} has no Put")
    rate_per_s = filled.request_count / filled.took_s
    print(f"{target.name}: {filled.request_count:,} Puts of {family.value_bytes} bytes, "
          f"{rate_per_s:,.0f} a second", flush=True)  # fmt: skip


def measure_floor(batch_size: int, given: argparse.Namespace) -> Floor:
    """Commit batches without any server, on the servers' core."""
    with tempfile.TemporaryDirectory(prefix="regatta-floor-") as directory:
        command = [
            *("taskset", "--cpu-list", given.server_cpus, sys.executable, "-m", "bench.load.floor"),
            *(directory, f"--batch={batch_size}", f"--seconds={given.seconds}"),
            f"--pairs={given.pairs}",
        ]
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=DRIVE_TIMEOUT_S, check=True
        )
    return Floor(**json.loads(done.stdout))


def floor_row(work: Work, shape: str, floors: list[Floor]) -> str:
    """Return the line that stands below those of the servers."""
    rates = [one.put_count / one.took_s for one in floors]
    cpu_us = statistics.median(one.cpu_s / one.put_count for one in floors) * 1e6
    return (
        f"| {work.name} | {shape} | floor | {statistics.median(rates):,.0f} | {spread(rates)} "
        f"| | | {cpu_us:.2f} | | | | |"
    )


def row(work: Work, shape: str, name: str, results: list[Result]) -> str:
    """Return one server's line of the table; no results mean that it can't do this."""
    start = f"| {work.name} | {shape} | {name}"
    if not results:
        return f"{start} | - | | | | | | | | |"

    def median(values: Iterator[float]) -> float:
        return statistics.median(values)

    def known(values: list[float | None], form: str) -> str:
        present = [value for value in values if value is not None and not math.isnan(value)]
        return format(statistics.median(present), form) if present else "?"

    rates = [one.request_count / one.took_s for one in results]
    server_us = [one.server_cpu_s and one.server_cpu_s / one.request_count * 1e6 for one in results]
    cells = (
        f"{statistics.median(rates):,.0f}",
        spread(rates),
        f"{median(one.mean_ms for one in results):.2f}",
        known([one.p99_ms for one in results], ".2f"),
        known(server_us, ".2f"),
        f"{median(one.client_cpu_s / one.request_count for one in results) * 1e6:.2f}",
        f"{median(one.answer_bytes / one.took_s for one in results) / 1e6:,.0f}",
        known([one.own_bytes and one.own_bytes / 2**20 for one in results], ".0f"),
        known([one.resident_bytes and one.resident_bytes / 2**20 for one in results], ".0f"),
    )
    return f"{start} | {' | '.join(cells)} |"


def spread(rates: list[float]) -> str:
    """Return the least and the most of them."""
    return f"{min(rates):,.0f}-{max(rates):,.0f}"


def measure(work: Work, shape: str, targets: list[Target], given: argparse.Namespace) -> list[str]:
    """Drive all *targets* in turn, --runs times; return their lines."""
    family = families(given.pairs)[work.large]
    targets = [target for target in targets if takes(target, work)]
    results: dict[str, list[Result]] = {target.name: [] for target in targets}
    floors: list[Floor] = []
    is_write = "--writes=1" in work.options
    absent: set[str] = set()
    for _ in range(given.runs):
        for target in targets:
            if target.name in absent:
                continue
            result = measure_once(target, family, work, shape, given)
            if result is None:
                absent.add(target.name)
            else:
                results[target.name].append(result)
        if is_write:
            connections, streams = map(int, shape.split("x"))
            floors.append(measure_floor(connections * streams, given))
    rows = [row(work, shape, name, found) for name, found in results.items()]
    return [*rows, floor_row(work, shape, floors)] if is_write else rows


def measure_once(
    target: Target, family: Family, work: Work, shape: str, given: argparse.Namespace
) -> Result | None:
    """Drive one server for one stretch; None if it can't do this."""
    if not work.by_h2load:
        options = (f"--shape={shape}", f"--seconds={given.seconds}", *work.options)
        return drive(target, family, *options, load_cpus=given.load_cpus)
    checked = drive(target, family, "--shape=1x1", "--seconds=0.1", *work.options)
    if checked is None:
        return None
    message_bytes = checked.answer_bytes // checked.request_count
    return h2load.drive(target, family, shape, given.seconds, given.load_cpus, message_bytes)


def takes(target: Target, work: Work) -> bool:
    """Say whether *target* can be asked for *work* at all."""
    return target.takes((*work.options, *(["--large"] if work.large else [])))


def start(stack: ExitStack, server: Server, cpus: str) -> Server:
    """Start a server on its cores, to be killed with *stack*."""
    server.command_prefix = ("taskset", "--cpu-list", cpus)
    return stack.enter_context(server)


def start_all(stack: ExitStack, directory: Path, given: argparse.Namespace) -> list[Target]:
    """Start the servers with all pairs in them; what was put is read back, every pair of it."""
    certificate = Certificate.make(directory)
    held = list(families(given.pairs).values())

    def make_directory(name: str) -> Path:
        (directory / name).mkdir()
        return directory / name

    filled = []
    for number, flags in enumerate(["", *given.variant]):
        folder = make_directory(f"regatta-{number}")
        daemon = Daemon(folder, certificate, *given.flag, *flags.split())
        filled.append(
            Target.of(f"regatta {flags}".strip(), start(stack, daemon, given.server_cpus))
        )
    filled += [Target.parse(text) for text in given.server]
    for target in filled:
        for family in held:
            fill(target, family)
    for target in filled:
        for family in held:
            drive(target, family, "--check")
    print(f"each of the {given.pairs:,} pairs of a size was read back rightly", flush=True)
    other = Baseline(make_directory("baseline"), certificate)
    other.fill(held)
    targets = [
        *filled,
        Target.of("baseline", start(stack, other, given.server_cpus), Baseline.takes),
    ]
    if given.prototype:
        prototype = Prototype(make_directory("prototype"), certificate, given.prototype)
        prototype.fill(held[0])
        started = start(stack, prototype, given.server_cpus)
        targets.append(Target.of("prototype", started, Prototype.takes))
    return targets


def machine() -> str:
    """Return one line on where this was measured."""
    cpu = "unknown CPU"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            cpu = line.partition(":")[2].strip()
            break
    return f"{cpu}, {os.cpu_count()} cores, {platform.platform()}, Python {sys.version.split()[0]}"


def run(given: argparse.Namespace, directory: Path) -> None:
    """Start all, measure, print."""
    print(machine())
    with ExitStack() as stack:
        targets = start_all(stack, directory, given)
        print(f"medians of {given.runs} runs of {given.seconds:g} s, TLS\n\n{HEAD}", flush=True)
        for work in WORKS:
            if work.by_h2load and not h2load.is_there():
                print(f"| {work.name}: h2load is not installed | | | | | | | | | | | |")
                continue
            for shape in work.shapes:
                if given.only in f"{work.name} {shape}":
                    print("\n".join(measure(work, shape, targets, given)), flush=True)


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--runs", type=int, default=3, help="of each server for each row")
    parser.add_argument("--seconds", type=float, default=4.0, help="measured in each run")
    parser.add_argument("--pairs", type=int, default=100_000, help="of each size")
    parser.add_argument("--only", default="", help="rows whose load and shape contain this")
    parser.add_argument("--flag", action="append", default=[], help="a flag for the daemon")
    parser.add_argument(
        "--variant",
        action="append",
        default=[],
        metavar="FLAGS",
        help="measure a further daemon that has these flags, too",
    )
    parser.add_argument("--server-cpus", default=str(SERVER_CPU), help="as taskset takes them")
    parser.add_argument("--load-cpus", default=str(LOAD_CPU), help="likewise")
    parser.add_argument(
        "--server",
        action="append",
        default=[],
        metavar="NAME,URL[,CERTIFICATE[,PROCESS]]",
        help="a further server of regatta.v1.KV; its table regatta is written to",
    )
    parser.add_argument("--prototype", type=Path, help="folder of a built prototype")
    return parser.parse_args()


def main() -> int:
    """Measure all, and return the exit code: 1 if any answer was wrong."""
    given = parse_arguments()
    if not {SERVER_CPU, LOAD_CPU} <= os.sched_getaffinity(0):
        print(f"table: needs CPUs {SERVER_CPU} and {LOAD_CPU}", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(prefix="regatta-load-") as directory:
        try:
            run(given, Path(directory))
        except (ServerError, ValueError, grpc.RpcError, subprocess.SubprocessError) as error:
            print(f"table: {error}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
