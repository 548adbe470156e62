"""A broker inside librdkafka, for the tests that need no real one."""

import time
from collections.abc import Callable

from confluent_kafka import Consumer
from confluent_kafka import KafkaError
from confluent_kafka import Message
from confluent_kafka import Producer
from confluent_kafka import TopicPartition

partition_count = 4  # of a topic, which its first record makes


class MockCluster:
    """One broker that lives as long as this object."""

    def __init__(self) -> None:
        self._producer = Producer({"bootstrap.servers": "mock", "test.mock.num.brokers": 1})
        [broker] = self._producer.list_topics(timeout=10).brokers.values()
        self.address = f"{broker.host}:{broker.port}"

    def produce(
        self, topic: str, records: list[tuple[bytes | None, bytes | None]], partition: int = 0
    ) -> None:
        """Store records, and return when the broker has them."""
        failures: list[KafkaError] = []

        def delivered(error: KafkaError | None, _: Message) -> None:
            if error is not None:
                failures.append(error)

        for key, value in records:
            self._producer.produce(topic, value, key, partition, on_delivery=delivered)
        left = self._producer.flush(30)
        assert (failures, left) == ([], 0)

    def commit(self, group: str, topic: str, offset: int, partition: int = 0) -> None:
        """Set what *group* has committed; nobody may be in it."""
        with_client(
            self.address,
            group,
            lambda client: client.commit(
                offsets=[TopicPartition(topic, partition, offset)], asynchronous=False
            ),
        )

    def committed(self, group: str, topic: str, partition: int = 0) -> int:
        """Return what *group* has committed, negative for nothing."""
        found: list[int] = []

        def ask(client: Consumer) -> None:
            [place] = client.committed([TopicPartition(topic, partition)], timeout=10)
            found.append(place.offset)

        with_client(self.address, group, ask)
        return found[0]


def with_client(address: str, group: str, act: Callable[[Consumer], object]) -> None:
    """Call *act* with a consumer that joins no group."""
    client = Consumer({"bootstrap.servers": address, "group.id": group})
    try:
        act(client)
    finally:
        client.close()


def wait_until(condition: Callable[[], bool], timeout_s: float = 30.0) -> None:
    """Return when *condition* holds."""
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline_s, "waited too long"
        time.sleep(0.02)
