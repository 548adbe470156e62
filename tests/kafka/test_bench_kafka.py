"""The pieces of the benchmark of catching up, small, so that it measures what it says."""

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.kafka import compare
from bench.kafka import consume
from bench.kafka import topics
from bench.kafka.daemon import Daemons
from bench.kafka.daemon import TopicDaemon
from tests.cluster.harness import Certificate
from tests.kafka.broker import Broker

RECORDS = 20_000
READS_PER_S = 500


@pytest.fixture
def given() -> argparse.Namespace:
    return argparse.Namespace(records=RECORDS, partitions=4, reads=READS_PER_S)


@pytest.fixture
def source(broker: Broker) -> compare.Source:
    return compare.Source(broker.address, broker.process_id)


@pytest.fixture
def certificate() -> Iterator[Certificate]:
    with tempfile.TemporaryDirectory() as name:
        yield Certificate.make(Path(name))


@pytest.mark.parametrize("contender", compare.CONTENDERS)
def test_each_contender_reads_the_whole_topic_and_keeps_what_it_should(
    contender: str,
    source: compare.Source,
    given: argparse.Namespace,
    certificate: Certificate,
) -> None:
    topic = compare.fill(source, "random", given)
    result, _ = compare.run(contender, source, topic, RECORDS, certificate)
    assert result.record_count == RECORDS
    assert result.took_s > 0
    assert result.key_count == (0 if contender == "bare" else RECORDS)
    assert (result.sync_count == 0) == (contender == "bare")
    if isinstance(result, Daemons):
        assert {"main", "kafka", "log", "data"} <= result.threads_s.keys()
    compare.Runs([result], [0.0]).row(contender)


def test_the_floor_makes_checkpoints_and_its_log_syncs_once_a_poll(
    source: compare.Source, given: argparse.Namespace
) -> None:
    topic = compare.fill(source, "ascending", given)
    floor = compare.consume_alone("floor", source, topic, RECORDS)
    logged = compare.consume_alone("logged", source, topic, RECORDS)
    assert 2 <= floor.sync_count < RECORDS // consume.records_max
    assert logged.sync_count >= RECORDS // consume.records_max


def test_a_table_that_lacks_a_record_is_no_result(
    source: compare.Source, certificate: Certificate
) -> None:
    topic = "one-record-twice"
    topics.create(source.address, topic, 1)
    topics.fill(source.address, topic, [*range(RECORDS - 1), 0])
    for contender in ("floor", "daemon"):
        with pytest.raises(compare.WrongResult, match="was to be"):
            compare.run(contender, source, topic, RECORDS, certificate)


def test_reads_are_timed_from_their_schedule_and_find_their_keys(
    source: compare.Source, given: argparse.Namespace, certificate: Certificate, tmp_path: Path
) -> None:
    topic = compare.fill(source, "ascending", given)
    with TopicDaemon(tmp_path, certificate, source.address, [topic]) as daemon:
        daemon.wait_until_applied(topic, RECORDS)
        reads = compare.read(daemon, topic, 1.0, given)
    assert reads.read_count == reads.found_count == READS_PER_S
    assert reads.took_s >= 0.9
    assert 0 < reads.p50_ms <= reads.p99_ms <= reads.longest_ms
    assert 0 < reads.process_cpu_s < reads.took_s


def test_a_digest_tells_one_wrong_value() -> None:
    wrong = topics.key_of(RECORDS - 1)

    def read(key: bytes) -> bytes:
        return b"" if key == wrong else topics.value_of(int(key.removeprefix(b"key-")))

    assert topics.digest(RECORDS, read) != topics.expected_digest(RECORDS)


def test_the_random_order_holds_each_record_once() -> None:
    numbers = topics.numbers_of("random", RECORDS)
    assert numbers != sorted(numbers)
    assert sorted(numbers) == topics.numbers_of("ascending", RECORDS)
