"""What it costs to make a command of the records of one poll, once there are Message objects.

python -m pytest -s bench/micro/test_kafka_batch.py
"""

import hashlib
import time

import pytest
from confluent_kafka import Message
from pytest_benchmark.fixture import BenchmarkFixture

from regatta.kafka._batch import Cursor
from regatta.kafka._batch import Polled
from regatta.kafka._batch import encode

TOPIC = "table_1"
RECORDS = 1000  # in a poll
VALUE = b"v" * 100
BATCH_BYTES_MAX = 4 << 20
RECORD_NS_MAX = 250
# Of the commands, so that nobody makes them faster by making others.
DIGESTS = {
    (1, False): "4ba43b8599f0ca1e",
    (12, False): "88cab0c21b758b00",
    (12, True): "6627596d791c131b",
}


def polled_records(partition_count: int, mixed: bool) -> list[Message]:
    """Return a poll's records, each partition's in a run, or in turn."""
    found = []
    for number in range(RECORDS):
        partition = number % partition_count if mixed else number * partition_count // RECORDS
        found.append(
            Message(
                topic=TOPIC,
                partition=partition,
                offset=number,
                key=b"key-%012d" % number,
                value=VALUE,
            )
        )
    return found


def digest(polled: Polled) -> str:
    commands = b"".join(batch.command for batch in polled.batches)
    return hashlib.sha256(commands).hexdigest()[:16]


@pytest.mark.parametrize(("partition_count", "mixed"), DIGESTS)
def test_encode_a_poll(benchmark: BenchmarkFixture, partition_count: int, mixed: bool) -> None:
    messages = polled_records(partition_count, mixed)
    cursors = {TOPIC: {number: Cursor(TOPIC, number) for number in range(partition_count)}}
    round_ns: list[int] = []

    def rewind() -> None:
        for cursor in cursors[TOPIC].values():
            cursor.position = cursor.previous = 0

    def one_poll() -> Polled:
        start_ns = time.perf_counter_ns()
        polled = encode(messages, cursors, BATCH_BYTES_MAX)
        round_ns.append(time.perf_counter_ns() - start_ns)
        return polled

    polled = benchmark.pedantic(one_poll, setup=rewind, rounds=1000, warmup_rounds=20)
    assert digest(polled) == DIGESTS[partition_count, mixed]
    record_ns = min(round_ns) / RECORDS
    benchmark.extra_info["ns/record"] = round(record_ns)
    print(f"{partition_count} partitions{', mixed' * mixed}: {record_ns:.0f} ns a record")
    assert record_ns <= RECORD_NS_MAX
