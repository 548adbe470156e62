"""Measures how fast tables catch up with topics, and what reads cost meanwhile.

    python -m bench.kafka.compare [--records=2000000] [--rounds=3] [--partitions=4]
        [--orders=ascending,random] [--contenders=bare,floor,logged,daemon] [--reads=2000]

A broker on the loopback interface holds topics of records with 16-byte keys and 100-byte values,
whose keys come in ascending or in random order, each once. Four contenders take turns in reading
one from its beginning to its end:

    bare    polls as the daemon does and throws the records away
    floor   polls as the daemon does and commits each poll, at most 1,000 records, to a data
            environment with the daemon's checkpoints: a loop in Cython on the project's own store
    logged  the same, and before that commits the log's share to a log environment, fully synced;
            one after the other, in one thread
    daemon  regatta, started on empty directories, everything included

All have the daemon's client properties. Time and CPU run from the assignment of the partitions to
the last record: thrown away, committed, or applied as the stored positions say. All processes
share all cores with the broker. Every table is checked: how many keys it has, and the values of
a sample. Two shares are goals: daemon of floor for random keys, daemon of bare for ascending ones.

Then single keys are read at a fixed rate, open loop (bench/kafka/reads.py), from a table that is
at rest and from the very table that is catching up; first while a catch-up runs, then in the same
daemon when it is over.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from confluent_kafka import KafkaException

from bench import processes
from bench.kafka import consume
from bench.kafka import topics
from bench.kafka.consume import Result
from bench.kafka.daemon import Daemons
from bench.kafka.daemon import TopicDaemon
from bench.kafka.daemon import catch_up
from bench.kafka.floor import load_floor
from bench.kafka.reads import Reads
from bench.kafka.reads import cpu_of
from tests.cluster.harness import Certificate
from tests.cluster.harness import ServerError
from tests.kafka.broker import Broker
from tests.kafka.broker import BrokerError
from tests.kafka.broker import missing_programs

CONTENDERS = (*consume.CONTENDERS, "daemon")
RUN_TIMEOUT_S = 300.0
SETTLE_S = 1.0
# What the daemon must reach, by the order of the keys.
GOALS = {"random": ("floor", 0.7), "ascending": ("bare", 0.5)}
READ_CPU_GROWTH_MAX = 1.5
READ_P99_MS_MAX = 10.0


@dataclass(frozen=True)
class Source:
    """A broker and its process."""

    address: str
    process_id: int


class WrongResult(Exception):
    """A contender did not do what it was measured at."""


@contextmanager
def broker_of(given: argparse.Namespace, directory: Path) -> Iterator[Source]:
    """Start a broker, or take the one that was given."""
    if given.brokers:
        yield Source(given.brokers, given.broker_process)
        return
    with Broker(directory) as broker:
        yield Source(broker.address, broker.process_id)


def fill(source: Source, order: str, given: argparse.Namespace) -> str:
    """Return the topic of an order, filled unless it is full."""
    topic = f"{order}-{given.records}-{given.partitions}"
    if topics.record_count_of(source.address, topic) != given.records:
        topics.create(source.address, topic, given.partitions)
        topics.fill(source.address, topic, topics.numbers_of(order, given.records))
    return topic


def consume_alone(contender: str, source: Source, topic: str, count: int) -> Result:
    """Run bench.kafka.consume in a process of its own."""
    with tempfile.TemporaryDirectory(prefix=f"regatta-{contender}-") as directory:
        command = [sys.executable, "-m", "bench.kafka.consume", contender, directory]
        command += [f"--brokers={source.address}", f"--topic={topic}", f"--records={count}"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=RUN_TIMEOUT_S)
    if done.returncode != 0:
        raise WrongResult(f"{contender} failed:\n{done.stderr}")
    return Result(**json.loads(done.stdout))


def run(
    contender: str, source: Source, topic: str, count: int, certificate: Certificate
) -> tuple[Result, float]:
    """Let a contender read a topic; return its result, checked, and the broker's CPU time."""
    broker_s = processes.cpu_s(source.process_id)
    if contender == "daemon":
        with tempfile.TemporaryDirectory(prefix="regatta-daemon-") as name:
            result: Result = catch_up(Path(name), certificate, source.address, topic, count)
    else:
        result = consume_alone(contender, source, topic, count)
    broker_s = processes.cpu_s(source.process_id) - broker_s
    if contender != "bare":
        found, expected = (result.key_count, result.digest), (count, topics.expected_digest(count))
        if found != expected:
            raise WrongResult(f"{contender} has {found} where {expected} was to be")
    return result, broker_s


@dataclass
class Runs:
    """All results of one contender with one topic."""

    results: list[Result]
    broker_s: list[float]

    @property
    def per_s(self) -> float:
        """The median of the records read in a second."""
        return statistics.median(result.record_count / result.took_s for result in self.results)

    def row(self, contender: str) -> str:
        """Return the contender's line of the table."""
        rates = [result.record_count / result.took_s for result in self.results]
        last = self.results[-1]
        cpu_s = statistics.median(result.cpu_s for result in self.results)
        return (
            f"  {contender:8}{self.per_s:>11,.0f}  {min(rates):>9,.0f}..{max(rates):<9,.0f}"
            f"{cpu_s:>7.2f}{statistics.median(self.broker_s):>8.2f}"
            f"{cpu_s / last.record_count * 1e6:>8.2f}{last.peak_bytes / 1e6:>9,.0f}"
            f"{last.own_bytes / 1e6:>8,.0f}{last.data_bytes / 1e6:>8,.0f}{last.sync_count:>8,}"
        )


HEADINGS = (
    f"  {'':8}{'records/s':>11}  {'least..most':>20}{'CPU s':>7}{'broker':>8}{'µs/rec':>8}"
    f"{'peak MB':>9}{'own MB':>8}{'data MB':>8}{'syncs':>8}"
)


def compare(
    source: Source, order: str, given: argparse.Namespace, certificate: Certificate
) -> dict[str, Runs]:
    """Run all contenders in turn, print their table, and return the results."""
    topic = fill(source, order, given)
    runs = {contender: Runs([], []) for contender in given.contenders}
    for _ in range(given.rounds):
        for contender, mine in runs.items():
            result, broker_s = run(contender, source, topic, given.records, certificate)
            mine.results.append(result)
            mine.broker_s.append(broker_s)
    print(f"\n{given.records:,} records, {order} keys, {given.partitions} partitions")
    print(HEADINGS)
    for contender, mine in runs.items():
        print(mine.row(contender))
    if "daemon" in runs:
        print_threads(runs["daemon"])
    print_shares(order, runs)
    return runs


def print_threads(runs: Runs) -> None:
    """Print the CPU time of the daemon's threads, of the last run."""
    last = runs.results[-1]
    assert isinstance(last, Daemons)
    busiest = sorted(last.threads_s.items(), key=lambda item: -item[1])
    shown = ", ".join(f"{name} {used_s:.2f}" for name, used_s in busiest if used_s >= 0.01)
    print(f"  the daemon's threads, CPU s in {last.took_s:.2f} s: {shown}")


def print_shares(order: str, runs: dict[str, Runs]) -> None:
    """Print the daemon's rate in shares of the others', and which of them is a goal."""
    daemon = runs.get("daemon")
    for contender in runs:
        if daemon is None or contender == "daemon":
            continue
        goal_of, goal = GOALS.get(order, ("", 0.0))
        share = daemon.per_s / runs[contender].per_s
        told = f" ({verdict(share >= goal)}: {goal:.0%})" if contender == goal_of else ""
        print(f"  daemon / {contender} = {share:.0%}{told}")


# Reads.


def read(daemon: TopicDaemon, table: str, seconds: float, given: argparse.Namespace) -> Reads:
    """Run bench.kafka.reads in a process of its own."""
    command = [sys.executable, "-m", "bench.kafka.reads", f"--port={daemon.port}"]
    command += [f"--certificate={daemon.certificate.certificate_path}", f"--table={table}"]
    command += [f"--process={daemon.process_id}", f"--keys={given.records}"]
    command += [f"--rate={given.reads}", f"--seconds={seconds}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=RUN_TIMEOUT_S)
    if done.returncode != 0:
        raise WrongResult(f"reading failed:\n{done.stderr}")
    return Reads(**json.loads(done.stdout))


@dataclass(frozen=True)
class Used:
    """What a daemon had used and done at a moment."""

    record_count: int
    main_s: float
    process_s: float

    @classmethod
    def now(cls, daemon: TopicDaemon, topic: str) -> "Used":
        """Look at *daemon*, which consumes *topic*."""
        process_s, main_s = cpu_of(daemon.process_id)
        return cls(daemon.position(topic), main_s, process_s)

    def since(self, earlier: "Used") -> "Used":
        """Return the difference."""
        return Used(
            self.record_count - earlier.record_count,
            self.main_s - earlier.main_s,
            self.process_s - earlier.process_s,
        )


@dataclass(frozen=True)
class Disturbed:
    """The same reads during a catch-up and after it, and what the catch-up does by itself."""

    disturbed: Reads
    undisturbed: Reads
    during: Used  # while the disturbed reads ran
    alone: Used  # for a while without reads


def read_while_catching_up(
    source: Source, at_rest: str, catching_up: str, table: str, given: argparse.Namespace
) -> Disturbed:
    """Read from *table*, one of the two topics', while one of them catches up, and afterwards."""
    with tempfile.TemporaryDirectory(prefix="regatta-reads-") as name:
        directory = Path(name)
        certificate = Certificate.make(directory)
        daemon = TopicDaemon(directory, certificate, source.address, [at_rest])
        if table == at_rest:
            with daemon:
                daemon.wait_until_applied(at_rest, given.records)
                daemon.stop()
        daemon.consume(source.address, sorted({table, catching_up}))
        with daemon:
            daemon.wait_until_assigned(catching_up)
            begin = Used.now(daemon, catching_up)
            disturbed = read(daemon, table, given.disturbed_seconds, given)
            middle = Used.now(daemon, catching_up)
            if middle.record_count > given.records * 0.95:
                raise WrongResult("the catch-up was over before the reads: take more records")
            daemon.wait_until_applied(catching_up, given.records)
            end = Used.now(daemon, catching_up)
            time.sleep(SETTLE_S)
            undisturbed = read(daemon, table, given.disturbed_seconds, given)
    return Disturbed(disturbed, undisturbed, middle.since(begin), end.since(middle))


def print_reads(title: str, found: Disturbed) -> None:
    """Print both measurements and what the one costs more than the other."""
    print(f"\n{found.disturbed.read_count / found.disturbed.took_s:,.0f} reads/s {title}")
    print(
        f"  {'':22}{'main µs':>9}{'all µs':>9}{'p50 ms':>9}{'p99 ms':>9}{'max ms':>9}{'found':>8}"
    )
    print(f"  {'undisturbed':22}{read_row(found.undisturbed)}")
    print(f"  {'while catching up':22}{read_row(found.disturbed)}")
    count, alone = found.disturbed.read_count, found.alone
    share = found.during.record_count / max(alone.record_count, 1)
    main_us = (found.during.main_s - alone.main_s * share) / count * 1e6
    all_us = (found.during.process_s - alone.process_s * share) / count * 1e6
    print(f"  {'  less the catch-up':22}{main_us:>9.1f}{all_us:>9.1f}")
    growth = main_us / (found.undisturbed.main_cpu_s / found.undisturbed.read_count * 1e6)
    p99_ms = found.disturbed.p99_ms
    print(
        f"  {found.during.record_count / found.disturbed.took_s:,.0f} records/s meanwhile; "
        f"CPU a read grows {growth:.2f} times ({verdict(growth <= READ_CPU_GROWTH_MAX)}: at most "
        f"{READ_CPU_GROWTH_MAX}), p99 {p99_ms:.1f} ms "
        f"({verdict(p99_ms <= READ_P99_MS_MAX)}: at most {READ_P99_MS_MAX:.0f})"
    )


def read_row(reads: Reads) -> str:
    """Return the columns of one measurement."""
    return (
        f"{reads.main_cpu_s / reads.read_count * 1e6:>9.1f}"
        f"{reads.process_cpu_s / reads.read_count * 1e6:>9.1f}"
        f"{reads.p50_ms:>9.2f}{reads.p99_ms:>9.2f}{reads.longest_ms:>9.1f}"
        f"{reads.found_count / reads.read_count:>8.0%}"
    )


def verdict(is_reached: bool) -> str:
    """Return how a goal is called."""
    return "goal reached" if is_reached else "goal MISSED"


def compare_reads(source: Source, given: argparse.Namespace) -> None:
    """Read from the other table and from the very one that catches up."""
    at_rest, catching_up = (fill(source, order, given) for order in topics.ORDERS)
    for table, title in ((at_rest, "of a table at rest"), (catching_up, "of the same table")):
        print_reads(title, read_while_catching_up(source, at_rest, catching_up, table, given))


def names(known: Sequence[str]) -> Callable[[str], list[str]]:
    """Return a parser of some of the *known* names, or none, between commas."""

    def parse(text: str) -> list[str]:
        found = [name for name in text.split(",") if name]
        if unknown := set(found) - set(known):
            raise argparse.ArgumentTypeError(f"{', '.join(unknown)} is none of {', '.join(known)}")
        return found

    return parse


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--records", type=int, default=2_000_000)
    parser.add_argument("--partitions", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--orders", type=names(topics.ORDERS), default=list(topics.ORDERS))
    parser.add_argument("--contenders", type=names(CONTENDERS), default=list(CONTENDERS))
    parser.add_argument("--reads", type=int, default=2_000, help="a second; 0 for none")
    parser.add_argument("--seconds", type=float, default=10, help="of reads undisturbed")
    parser.add_argument("--disturbed-seconds", type=float, default=5, help="while catching up")
    parser.add_argument("--brokers", default="", help="a broker that runs, in place of a new one")
    parser.add_argument("--broker-process", type=int, default=os.getpid(), help="its process")
    return parser.parse_args()


def main() -> int:
    """Read the command line, measure, and return the exit code."""
    given = parse_arguments()
    if not given.brokers and (missing := missing_programs()):
        print(f"bench-kafka: a broker needs {' and '.join(missing)}", file=sys.stderr)
        return 2
    print(f"{platform.platform()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    load_floor()
    with tempfile.TemporaryDirectory(prefix="regatta-broker-") as name:
        try:
            with broker_of(given, Path(name)) as source:
                for order in given.orders if given.contenders else []:
                    compare(source, order, given, Certificate.make(Path(name)))
                if given.reads:
                    compare_reads(source, given)
        except (WrongResult, ServerError, BrokerError, KafkaException) as error:
            print(f"bench-kafka: {error}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
