"""The consumer's thread over a real engine and a broker inside librdkafka."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from confluent_kafka import OFFSET_BEGINNING
from confluent_kafka import Message
from confluent_kafka import TopicPartition

from regatta import limits
from regatta.engine import Engine
from regatta.engine import Position
from regatta.kafka import Consumer
from regatta.pb.mvcc_pb2 import Command
from regatta.pb.mvcc_pb2 import KeyValue
from tests.kafka.mock_cluster import MockCluster
from tests.table.nodes import apply_batch
from tests.table.nodes import engine_in
from tests.table.nodes import pairs

TOPIC, TABLE, GROUP = "orders", b"orders", "regatta-test"
PROPERTIES = {
    "enable.auto.commit": False,
    "auto.offset.reset": "error",
    "enable.partition.eof": True,
    "session.timeout.ms": 6000,
    "topic.metadata.refresh.interval.ms": 500,
    "statistics.interval.ms": 500,
}


@pytest.fixture
def cluster() -> MockCluster:
    return MockCluster()


@asynccontextmanager
async def consuming(
    engine: Engine, cluster: MockCluster, group: str = GROUP
) -> AsyncIterator[Consumer]:
    properties = {**PROPERTIES, "bootstrap.servers": cluster.address, "group.id": group}
    loop = asyncio.get_running_loop()
    consumer = Consumer(properties, [TOPIC], engine, loop, lambda _: {})
    consumer.start()
    try:
        yield consumer
    finally:
        await consumer.stop()


async def until(condition: Callable[[], bool], timeout_s: float = 30.0) -> None:
    """Return when *condition* holds."""
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline_s, "waited too long"
        await asyncio.sleep(0.02)


def position(engine: Engine, partition: int = 0) -> Position:
    found = {stored.partition: stored for stored in engine.positions(TABLE)}
    return found.get(partition, Position(TOPIC, partition, 0, 0, 0, b""))


def numbered(begin: int, end: int) -> list[tuple[bytes, bytes]]:
    return [(b"key_%d" % i, b"value_%d" % i) for i in range(begin, end)]


def run(scene: Callable[[], object]) -> None:
    asyncio.run(asyncio.wait_for(scene(), 90))  # type: ignore[arg-type]


def test_a_topic_becomes_a_table(tmp_path: Path, cluster: MockCluster) -> None:
    cluster.produce(TOPIC, [(b"gone", b"1"), (b"kept", b"1"), (b"gone", None), (b"empty", b"")])
    cluster.produce(TOPIC, [(None, b"no key"), (b"", b"no key"), (b"k" * 1025, b"long")])
    cluster.produce(TOPIC, numbered(0, 5000), partition=1)

    async def scene() -> None:
        async with engine_in(tmp_path) as engine, consuming(engine, cluster) as consumer:
            await until(lambda: position(engine).next == 7 and position(engine, 1).next == 5000)
            expected = {b"kept": b"1", b"empty": b""} | dict(numbered(0, 5000))
            assert pairs(engine, TABLE) == expected
            assert position(engine)[3:5] == (4, 3)
            assert position(engine, 1)[3:5] == (5000, 0)
            await until(
                lambda: bool(consumer.reading.topics and consumer.reading.topics[0].lag == 0)
            )
            [reading] = consumer.reading.topics
            assert (reading.record_count, reading.skipped_count) == (5007, 3)
            assert reading.offset == 5007
            await until(
                lambda: consumer.reading.dial_count > 0 and consumer.reading.fetch_count > 0
            )
        assert cluster.committed(GROUP, TOPIC) == 7
        assert cluster.committed(GROUP, TOPIC, 1) == 5000

    run(scene)


def test_reading_goes_on_from_the_stored_position_whatever_the_group_has_committed(
    tmp_path: Path, cluster: MockCluster
) -> None:
    cluster.produce(TOPIC, numbered(0, 100))
    cluster.commit("first", TOPIC, 50)

    async def consume_to(end: int, group: str) -> None:
        async with engine_in(tmp_path) as engine, consuming(engine, cluster, group):
            await until(lambda: position(engine).next == end)
            assert pairs(engine, TABLE) == dict(numbered(0, end))
            assert position(engine).applied == end

    run(lambda: consume_to(100, "first"))
    cluster.produce(TOPIC, numbered(100, 200))
    cluster.commit("second", TOPIC, 200)
    run(lambda: consume_to(200, "second"))


def test_a_position_that_others_move_is_taken_over(tmp_path: Path, cluster: MockCluster) -> None:
    cluster.produce(TOPIC, numbered(0, 10))

    async def scene() -> None:
        async with engine_in(tmp_path) as engine, consuming(engine, cluster):
            await until(lambda: position(engine).next == 10)
            await apply_batch(engine, TABLE, foreign_batch(10, 12))
            cluster.produce(TOPIC, numbered(10, 14))
            await until(lambda: position(engine).next == 14)
            assert position(engine).applied == 10 + 1 + 2
            expected = dict(numbered(0, 10) + numbered(12, 14)) | {b"foreign": b"10"}
            assert pairs(engine, TABLE) == expected

    run(scene)


def foreign_batch(previous: int, following: int) -> bytes:
    """Return a batch that another node might propose, with a pair of its own."""
    source = Command.Source(topic=TOPIC, partition=0, previous=previous, next=following)
    pair = KeyValue(key=b"foreign", value=b"%d" % previous)
    batch = Command(type=Command.PUT_BATCH, batch=[pair])
    part = Command(type=Command.SEQUENCE, source=source, sequence=[batch])
    return Command(type=Command.SEQUENCE, sequence=[part]).SerializeToString()


def test_a_table_that_was_emptied_is_filled_anew(tmp_path: Path, cluster: MockCluster) -> None:
    cluster.produce(TOPIC, numbered(0, 2500))

    async def scene() -> None:
        async with engine_in(tmp_path) as engine, consuming(engine, cluster):
            await until(lambda: position(engine).next == 2500)
            await engine.empty_all_tables()
            assert pairs(engine, TABLE) == {}
            await until(lambda: position(engine).next == 2500)
            assert pairs(engine, TABLE) == dict(numbered(0, 2500))
            assert position(engine).applied == 2500

    run(scene)


def test_writes_that_are_refused_are_tried_until_they_work(
    tmp_path: Path, cluster: MockCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster.produce(TOPIC, numbered(0, 50_000))

    async def scene() -> None:
        async with engine_in(tmp_path) as engine, consuming(engine, cluster):
            await until(lambda: position(engine).next > 0)
            with monkeypatch.context() as patch:
                patch.setattr(limits, "queue_bytes_max", 0)
                await asyncio.sleep(1.5)
                stuck_at = position(engine).next
                await asyncio.sleep(0.2)
                assert position(engine).next == stuck_at
            await until(lambda: position(engine).next == 50_000)
            assert pairs(engine, TABLE) == dict(numbered(0, 50_000))
            assert position(engine).applied == 50_000

    run(scene)


class Rebalancing:
    """A client whose partition is taken away and given back between two records.

    librdkafka can't be made to do that at a given moment.
    """

    def __init__(self, consumer: Consumer, stored: int) -> None:
        self.consumer = consumer
        self.assigned: list[TopicPartition] = []
        self.consumer._on_assign(self, [TopicPartition(TOPIC, 0)])  # type: ignore[arg-type]
        self.consumer._topics[TOPIC].cursors[0].position = stored + 5  # records that are in flight

    def poll(self, timeout: float) -> Message:
        return Message(topic=TOPIC, partition=0, offset=5, key=b"from before", value=b"")

    def consume(self, count: int, timeout: float) -> list[Message]:
        self.consumer._on_lost(self, [])  # type: ignore[arg-type]
        self.consumer._on_assign(self, [TopicPartition(TOPIC, 0)])  # type: ignore[arg-type]
        self.assigned = []
        return []

    def assign(self, partitions: list[TopicPartition]) -> None:
        self.assigned = partitions

    def unassign(self) -> None:
        pass

    def resume(self, partitions: list[TopicPartition]) -> None:
        pass


def test_a_record_from_before_a_rebalance_is_not_taken(tmp_path: Path) -> None:
    async def scene() -> None:
        async with engine_in(tmp_path) as engine:
            properties = {**PROPERTIES, "group.id": GROUP}
            loop = asyncio.get_running_loop()
            consumer = Consumer(properties, [TOPIC], engine, loop, lambda _: {})
            client = Rebalancing(consumer, stored=0)
            assert not consumer._poll(client)  # type: ignore[arg-type]
            assert consumer._feed.is_empty
            assert [place.offset for place in client.assigned] == [OFFSET_BEGINNING]

    run(scene)
