"""The topics that are caught up with: what is in them, and how they are filled."""

import hashlib
import random
from collections.abc import Callable, Iterable

from confluent_kafka import Consumer
from confluent_kafka import KafkaError
from confluent_kafka import KafkaException
from confluent_kafka import Message
from confluent_kafka import Producer
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

ORDERS = ("ascending", "random")
VALUE_BYTES = 100
SAMPLE_COUNT = 2_000
FLUSH_TIMEOUT_S = 120.0
ASK_TIMEOUT_S = 20.0
SEED = 4711


def key_of(number: int) -> bytes:
    """Return the 16-byte key of record *number*."""
    return b"key-%012d" % number


def value_of(number: int) -> bytes:
    """Return the 100-byte value of record *number*."""
    return (b"%012d" % number).ljust(VALUE_BYTES, b"v")


def numbers_of(order: str, record_count: int) -> list[int]:
    """Return the records' numbers in the order in which they are produced; each comes once."""
    numbers = list(range(record_count))
    if order == "random":
        random.Random(SEED).shuffle(numbers)
    return numbers


def create(address: str, topic: str, partition_count: int) -> None:
    """Make an empty topic."""
    admin = AdminClient({"bootstrap.servers": address})
    (made,) = admin.create_topics([NewTopic(topic, partition_count, 1)]).values()
    made.result(ASK_TIMEOUT_S)


def fill(address: str, topic: str, numbers: Iterable[int]) -> None:
    """Produce the records; the client's own partitioner picks the partition by the key."""
    failures: list[KafkaError] = []

    def on_delivery(error: KafkaError | None, _: Message) -> None:
        if error is not None:
            failures.append(error)

    producer = Producer(
        {
            "bootstrap.servers": address,
            "linger.ms": 20,
            "batch.num.messages": 10_000,
            "queue.buffering.max.messages": 200_000,
            "partitioner": "murmur2",
        }
    )
    for number in numbers:
        while True:
            try:
                producer.produce(topic, value_of(number), key_of(number), on_delivery=on_delivery)
                break
            except BufferError:
                producer.poll(0.05)
        producer.poll(0)
    if producer.flush(FLUSH_TIMEOUT_S) or failures:
        raise KafkaException(failures[0] if failures else KafkaError(KafkaError._TIMED_OUT))


def record_count_of(address: str, topic: str) -> int:
    """Return how many records a topic holds, 0 if it is not there."""
    asking = Consumer({"bootstrap.servers": address, "group.id": "count", "log_level": 0})
    try:
        found = asking.list_topics(topic, ASK_TIMEOUT_S).topics[topic]
        ends = [
            asking.get_watermark_offsets(TopicPartition(topic, partition), ASK_TIMEOUT_S)
            for partition in found.partitions
        ]
        return sum(high - low for low, high in ends)
    finally:
        asking.close()


def sample(record_count: int) -> list[int]:
    """Return the numbers of the records whose values are checked, the last one among them."""
    chance = random.Random(SEED + 1)  # another one, or it would draw as the shuffling does
    return [record_count - 1, *(chance.randrange(record_count) for _ in range(SAMPLE_COUNT - 1))]


def digest(record_count: int, read: Callable[[bytes], bytes | None]) -> str:
    """Return a digest of the values that *read* finds for the keys of the sample."""
    found = hashlib.sha256()
    for number in sample(record_count):
        found.update(b"%d:%b\n" % (number, read(key_of(number)) or b"missing"))
    return found.hexdigest()[:16]


def expected_digest(record_count: int) -> str:
    """Return what digest() is for a table that holds every record."""
    return digest(record_count, lambda key: value_of(int(key.removeprefix(b"key-"))))
