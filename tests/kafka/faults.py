"""What the tests of faults share: daemons that consume, foreign members, how all is judged."""

import json
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

import grpc
import pytest
from confluent_kafka import Consumer

from regatta.pb.regatta_pb2 import RangeRequest
from tests.cluster.harness import KV
from tests.cluster.harness import Certificate
from tests.cluster.harness import Daemon
from tests.kafka.broker import REQUEST_TIMEOUT_S
from tests.kafka.broker import Broker
from tests.kafka.records import Account
from tests.kafka.records import Pair
from tests.kafka.records import Writer

# The quick form leaves out what takes long.
long_form = pytest.mark.skipif(
    not os.environ.get("REGATTA_KAFKA_FAULTS"),
    reason="REGATTA_KAFKA_FAULTS=all for the whole table",
)
is_long = bool(os.environ.get("REGATTA_KAFKA_FAULTS"))

CALL_TIMEOUT_S = 60.0
CONSUME_TIMEOUT_S = 30.0

# A member that was killed keeps its partitions until its session ends.
SESSION_FLAGS = (
    "--kafka.property=session.timeout.ms=2000",
    "--kafka.property=heartbeat.interval.ms=300",
)


class Stored(NamedTuple):
    """What a table's group has stored of a partition."""

    topic: str
    partition: int
    next: int  # offset
    applied: int
    skipped: int


@dataclass(frozen=True)
class Outcome:
    """A line of the table."""

    scene: str
    note: str
    committed: int
    applied: int | None  # None where the records alone do not tell it
    skipped: int | None
    pairs: int
    lost: int
    doubled: int

    def noted(self, note: str) -> Self:
        """Return the same line with a note."""
        return replace(self, note=note)

    def text(self) -> str:
        """Return the line, as a paragraph."""
        counted = f"{self.committed:,} records committed"
        if self.applied is not None:
            counted += f", {self.applied:,} applied, {self.skipped:,} skipped"
        counted += f", {self.pairs:,} pairs; {self.lost} lost, {self.doubled} doubled"
        return f"{self.scene}\n  {counted}\n  {self.note}\n"


class TopicDaemon(Daemon):
    """A daemon that consumes topics."""

    def __init__(
        self,
        directory: Path,
        certificate: Certificate,
        address: str,
        topics: Sequence[str],
        *flags: str,
    ) -> None:
        """Consume *topics* from the broker at *address*, in a group of its own."""
        directory.mkdir(parents=True, exist_ok=True)
        self.group_id = f"group-of-{topics[0]}"
        told = (
            f"--kafka.brokers={address}",
            f"--kafka.group-id={self.group_id}",
            f"--kafka.topics={','.join(topics)}",
        )
        super().__init__(directory, certificate, *told, *SESSION_FLAGS, *flags)
        self._told_before = 0  # characters of the log

    def launch(self) -> None:
        """Start the process without waiting for anything."""
        self._told_before = len(self.stderr)
        super().launch()

    def table(self, name: str) -> dict[bytes, bytes]:
        """Return all that a table holds, nothing if it is not there."""
        everything = RangeRequest(table=name.encode(), key=b"\0", range_end=b"\0")
        with self.channel() as channel:
            try:
                pages = KV(channel).iterate_range(everything, timeout=CALL_TIMEOUT_S)
                return {pair.key: pair.value for page in pages for pair in page.kvs}
            except grpc.RpcError as error:
                if error.code() is grpc.StatusCode.NOT_FOUND:
                    return {}
                raise

    def has_logged(self, text: str, count: int = 1) -> bool:
        """Tell whether so many lines of the log have *text* in them."""
        return sum(text in line for line in self.stderr.splitlines()) >= count

    def wait_until_assigned(self) -> None:
        """Return once the daemon that was launched last has partitions to read."""
        wait_until(
            lambda: "reading partitions" in self.stderr[self._told_before :],
            30,
            lambda: self.stderr,
        )

    def positions(self, table: str) -> list[Stored]:
        """Return the stored positions of a table; the daemon must be down."""
        (data,) = self.directory.glob("state-machine*")
        command = [sys.executable, "-m", "tests.kafka.positions", str(data), table]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        return [Stored(*fields) for fields in json.loads(done.stdout)]


class Scene:
    """A broker, a daemon, and the account that the daemon's tables are held against."""

    def __init__(self, broker: Broker, daemon: TopicDaemon, account: Account) -> None:
        self.broker = broker
        self.daemon = daemon
        self.account = account

    def wait_until_consumed(self, topic: str, timeout_s: float = CONSUME_TIMEOUT_S) -> None:
        """Return once the group has committed every record, which comes after it was applied."""
        ends = self.account.ends(topic)
        deadline_s = time.monotonic() + timeout_s
        while True:
            found = self.broker.committed(self.daemon.group_id, topic)
            if all(found.get(partition, -1) >= end for partition, end in ends.items()):
                return
            told = f"of {ends} only {found} is committed"
            assert time.monotonic() < deadline_s, f"{told}:\n{self.daemon.stderr[-5000:]}"
            time.sleep(0.1)

    def wait_until_equal(self, topic: str, timeout_s: float = CONSUME_TIMEOUT_S) -> None:
        """Return once the table holds what it must."""
        expected = self.account.table(topic)
        wait_until(
            lambda: self.daemon.table(topic) == expected, timeout_s, lambda: self.daemon.stderr
        )

    def judge(self, name: str, topic: str, note: str, counts: bool = True) -> Outcome:
        """Hold the table and the counts against the account, and stop the daemon.

        *counts* False: the contents alone tell, since not every record had to be consumed.
        """
        pairs = self.daemon.table(topic)
        assert_equal(self.account.table(topic), pairs)
        assert self.daemon.stop() == 0
        stored = self.daemon.positions(topic) if counts else []
        return outcome_of(name, self.account, topic, pairs, stored, note)


def assert_equal(expected: dict[bytes, bytes], found: dict[bytes, bytes]) -> None:
    """Fail unless a table holds what it must; tell a few of the keys."""
    keys = expected.keys() | found.keys()
    wrong = [key for key in keys if expected.get(key) != found.get(key)]
    assert not wrong, f"{len(wrong)} of {len(expected)} keys differ: {sorted(wrong)[:5]}"


def outcome_of(
    name: str,
    account: Account,
    topic: str,
    pairs: dict[bytes, bytes],
    stored: Sequence[Stored],
    note: str,
) -> Outcome:
    """Return the table's line; fails if *stored* has lost records or counted them twice."""
    committed = len(account.of(topic))
    if not stored:
        return Outcome(name, note, committed, None, None, len(pairs), 0, 0)
    expected = account.counts(topic)
    differences = [
        position.applied + position.skipped - sum(expected.get(position.partition, (0, 0)))
        for position in stored
    ]
    outcome = Outcome(
        name,
        note,
        committed,
        sum(position.applied for position in stored),
        sum(position.skipped for position in stored),
        len(pairs),
        lost=-sum(difference for difference in differences if difference < 0),
        doubled=sum(difference for difference in differences if difference > 0),
    )
    assert (outcome.lost, outcome.doubled) == (0, 0), outcome.text()
    assert {at.partition: (at.applied, at.skipped) for at in stored} == expected
    return outcome


class Stream:
    """A thread that writes records to some partitions of a topic until it is told to end."""

    def __init__(self, writer: Writer, topic: str, partition_count: int, records_s: int) -> None:
        """Write about *records_s* records a second."""
        self._writer = writer
        self._topic = topic
        self._partition_count = partition_count
        self._burst = records_s // 20
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._write, daemon=True)
        self._failure: BaseException | None = None

    def _write(self) -> None:
        chance = random.Random(self._topic)
        try:
            while not self._ends.wait(0.05):
                partition = chance.randrange(self._partition_count)
                for key, value in records(chance, partition, self._burst):
                    self._writer.send(self._topic, partition, key, value)
            self._writer.flush()
        except BaseException as failure:
            self._failure = failure

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._ends.set()
        self._thread.join()
        assert self._failure is None, self._failure


class ForeignMember:
    """A member of the group that takes its share of the partitions, and does nothing with them."""

    def __init__(self, address: str, group_id: str, topic: str) -> None:
        self._properties = {
            "bootstrap.servers": address,
            "group.id": group_id,
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "session.timeout.ms": 2000,
            "heartbeat.interval.ms": 300,
            "log_level": 0,
        }
        self._topic = topic
        self._leaves = threading.Event()
        self._thread = threading.Thread(target=self._stay, daemon=True)
        self.partition_count_max = 0  # that it held at a time
        self.record_count = 0  # that it read

    def _stay(self) -> None:
        consumer = Consumer(self._properties)
        try:
            consumer.subscribe([self._topic])
            while not self._leaves.is_set():
                self.record_count += len(consumer.consume(100, 0.05))
                held = len(consumer.assignment())
                self.partition_count_max = max(self.partition_count_max, held)
        finally:
            consumer.close()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._leaves.set()
        self._thread.join(REQUEST_TIMEOUT_S)


def wait_until(
    is_done: Callable[[], bool], timeout_s: float, what: str | Callable[[], str]
) -> float:
    """Wait for something; return how long it took, in seconds."""
    began_s = time.monotonic()
    while not is_done():
        if time.monotonic() - began_s > timeout_s:
            pytest.fail(f"not in time: {what if isinstance(what, str) else what()}")
        time.sleep(0.05)
    return time.monotonic() - began_s


def records(
    chance: random.Random, partition: int, record_count: int, key_count: int = 500
) -> Iterator[Pair]:
    """Yield keys and values of one partition, in which everything is that may come.

    Keys come back with other values, are deleted and come again; one record in fifty can't be
    stored.
    """
    for number in range(record_count):
        key: bytes | None = b"%02d/%06d" % (partition, chance.randrange(key_count))
        value: bytes | None = b"%d of %d" % (number, record_count) + bytes(chance.randrange(100))
        kind = chance.random()
        if kind < 0.10:
            value = None
        elif kind < 0.15:
            value = b""
        elif kind < 0.17:
            key = chance.choice((None, b"", b"k" * 1025))
        yield key, value
