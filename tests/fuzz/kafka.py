"""Polls of Kafka records, held to the model that the tests have."""

from random import Random

from confluent_kafka import KafkaError
from confluent_kafka import Message

from regatta.kafka._batch import Cursor
from regatta.kafka._batch import encode
from tests.fuzz.mutation import below
from tests.fuzz.mutation import pick
from tests.kafka.batch_model import UNBOUNDED
from tests.kafka.batch_model import check_aside
from tests.kafka.batch_model import command_of
from tests.kafka.batch_model import cursors_of
from tests.kafka.batch_model import event
from tests.kafka.batch_model import ids_of
from tests.kafka.batch_model import model_of
from tests.kafka.batch_model import record

KEYS = (b"a", b"key", bytes(127), bytes(128), bytes(1024), bytes(1025), b"", None)
VALUES = (b"", b"value", None, bytes(127), bytes(128), bytes(16_384), bytes((2 << 20) + 1))
TOPICS, PARTITIONS, POSITIONS = (
    ("orders", "invoices.eu"),
    (0, 1, 127, 128, 2**31 - 1),
    (0, 5, 2**40),
)


def message(chance: Random) -> Message:
    """Return a record, now and then an event."""
    if chance.random() < 0.02:
        return event(KafkaError._PARTITION_EOF)
    value = pick(chance, VALUES) if chance.random() < 0.2 else chance.randbytes(below(chance, 200))
    key = pick(chance, KEYS) if chance.random() < 0.2 else chance.randbytes(1 + below(chance, 30))
    return record(key, value, below(chance, 200), pick(chance, PARTITIONS), pick(chance, TOPICS))


def check_batches(chance: Random) -> None:
    """Encode a poll, whole or in small batches, and see that it comes to what the model says."""
    assignment = [
        Cursor(topic, part, pick(chance, POSITIONS), chance.randbytes(below(chance, 17)))
        for topic in TOPICS
        for part in PARTITIONS[: 1 + below(chance, 5)]
    ]
    messages = [message(chance) for _ in range(below(chance, 60))]
    model, topic_ids = model_of(assignment), ids_of(assignment)
    bytes_max = pick(chance, (0, 200, 3000, UNBOUNDED, UNBOUNDED))
    polled = encode(messages, cursors_of(*assignment), bytes_max)
    model.poll(messages, topic_ids)
    check_aside(polled, model, assignment)
    for batch in polled.batches:
        assert len(batch.command) <= bytes_max or batch.record_count + batch.skipped_count == 1
    if bytes_max == UNBOUNDED:
        found = {batch.topic: command_of(batch) for batch in polled.batches}
        assert found == model.commands()
