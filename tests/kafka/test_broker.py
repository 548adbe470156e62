"""The broker that other tests stand on does what they think it does."""

import random
import time
from collections.abc import Iterator, Mapping

import pytest
from confluent_kafka import Consumer
from confluent_kafka import KafkaException
from confluent_kafka import TopicPartition

from tests.kafka.broker import COMPACTED
from tests.kafka.broker import PASSWORD
from tests.kafka.broker import USER
from tests.kafka.broker import Broker
from tests.kafka.faults import ForeignMember
from tests.kafka.faults import long_form
from tests.kafka.faults import records
from tests.kafka.faults import wait_until
from tests.kafka.records import Account
from tests.kafka.records import Record
from tests.kafka.records import Writer

READ_TIMEOUT_S = 20.0

pytestmark = pytest.mark.timeout(90)


def read(
    address: str,
    topic: str,
    record_count: int,
    partition_count: int = 1,
    properties: Mapping[str, object] | None = None,
) -> list[Record]:
    """Return that many records of a topic from its beginning, partition by partition."""
    consumer = Consumer(
        {
            "bootstrap.servers": address,
            "group.id": "reader",
            "enable.auto.commit": False,
            "log_level": 0,
            **(properties or {}),
        }
    )
    found: list[Record] = []
    try:
        consumer.assign([TopicPartition(topic, number, 0) for number in range(partition_count)])
        deadline_s = time.monotonic() + READ_TIMEOUT_S
        while len(found) < record_count and time.monotonic() < deadline_s:
            for message in consumer.consume(1000, 0.1):
                if (error := message.error()) is not None:
                    raise KafkaException(error)
                found.append(Record.of(message))
    finally:
        consumer.close()
    return sorted(found, key=lambda record: (record.partition, record.offset))


def test_the_account_is_what_a_consumer_reads(
    broker: Broker, topic: str, account: Account, writer: Writer
) -> None:
    broker.create_topic(topic, 3)
    for partition in range(3):
        writer.send_all(topic, partition, records(random.Random(partition), partition, 500))
    # Null and empty are told apart on both sides.
    assert {None, b""} <= {record.key for record in account.records}
    assert {None, b""} <= {record.value for record in account.records}
    assert read(broker.address, topic, 1500, 3) == account.of(topic)


@long_form
def test_records_outlive_a_kill(
    broker: Broker, topic: str, account: Account, writer: Writer
) -> None:
    broker.create_topic(topic)
    writer.send_all(topic, 0, [(b"key", b"%d" % number) for number in range(2000)])
    for number in range(2000, 4000):
        writer.send(topic, 0, b"key", b"%d" % number)
    broker.kill_9()
    began_s = time.monotonic()
    broker.start()
    assert time.monotonic() - began_s < 30
    writer.flush()
    assert read(broker.address, topic, 4000) == account.of(topic)
    assert [record.value for record in account.of(topic)] == [b"%d" % n for n in range(4000)]


@long_form
def test_a_paused_broker_goes_on(
    broker: Broker, topic: str, account: Account, writer: Writer
) -> None:
    broker.create_topic(topic)
    broker.pause()
    writer.send(topic, 0, b"key", b"value")
    time.sleep(2)
    assert not account.records
    broker.resume()
    writer.flush()
    assert read(broker.address, topic, 1) == account.of(topic)


def test_aborted_transactions_are_in_no_account(
    broker: Broker, topic: str, account: Account
) -> None:
    broker.create_topic(topic)
    writer = Writer(broker.address, account, {"transactional.id": topic})
    for number in range(6):
        with writer.transaction(commits=number % 3 != 0):
            writer.send_all(topic, 0, [(b"%d/%d" % (number, of), b"") for of in range(100)])
    assert len(account.records) == 400
    assert read(broker.address, topic, 400) == account.of(topic)
    uncommitted = {"isolation.level": "read_uncommitted"}
    assert len(read(broker.address, topic, 600, properties=uncommitted)) == 600


def test_a_compacted_topic_loses_old_values(broker: Broker, topic: str, writer: Writer) -> None:
    broker.create_topic(topic, config=COMPACTED)
    for turn in range(10):
        writer.send_all(topic, 0, [(b"%d" % number, b"%d" % turn) for number in range(100)])
        time.sleep(0.02)

    def is_compacted() -> bool:
        # A reader stops at the newest record, which is never compacted.
        found = read_to(broker, topic, last_offset=999)
        return len(found) < 900

    wait_until(is_compacted, 30, "the cleaner has run")


def read_to(broker: Broker, topic: str, last_offset: int) -> list[Record]:
    """Return the records of partition 0 up to *last_offset*."""
    found: list[Record] = []
    consumer = Consumer({"bootstrap.servers": broker.address, "group.id": "reader"})
    try:
        consumer.assign([TopicPartition(topic, 0, 0)])
        while not found or found[-1].offset < last_offset:
            for message in consumer.consume(1000, 0.1):
                found.append(Record.of(message))
    finally:
        consumer.close()
    return found


def test_records_can_be_deleted_and_topics_made_anew(
    broker: Broker, topic: str, account: Account, writer: Writer
) -> None:
    broker.create_topic(topic)
    writer.send_all(topic, 0, [(b"key", b"%d" % number) for number in range(100)])
    broker.delete_records(topic, 0, 60)
    assert (
        read(broker.address, topic, 40, properties={"auto.offset.reset": "earliest"})
        == (account.of(topic)[60:])
    )
    broker.delete_topic(topic)
    account.renew(topic)
    broker.create_topic(topic, 2)
    broker.add_partitions(topic, 4)
    anew = Writer(broker.address, account)
    anew.send_all(topic, 3, [(b"key", b"anew")])
    assert read(broker.address, topic, 1, 4) == [Record(topic, 3, 0, b"key", b"anew")]


@long_form
def test_tls_asks_for_a_client_certificate_and_its_host_name_is_no_match(
    broker: Broker, topic: str, account: Account, writer: Writer
) -> None:
    broker.create_topic(topic)
    writer.send_all(topic, 0, [(b"key", b"value")])
    files = broker.certificates
    trusted = {"security.protocol": "ssl", "ssl.ca.location": str(files.authority_path)}
    shown = {
        "ssl.certificate.location": str(files.client_path),
        "ssl.key.location": str(files.client_key_path),
    }
    any_name = {"ssl.endpoint.identification.algorithm": "none"}
    ways = list(refused_ways(trusted, shown, any_name, str(files.stranger_authority_path)))
    assert read(broker.tls_address, topic, 1, properties=trusted | shown | any_name) == (
        account.of(topic)
    )
    for way in ways:
        reader = Consumer(
            {"bootstrap.servers": broker.tls_address, "group.id": "r", "log_level": 0, **way}
        )
        with pytest.raises(KafkaException):
            reader.list_topics(timeout=1)
        reader.close()


def refused_ways(
    trusted: dict[str, str], shown: dict[str, str], any_name: dict[str, str], stranger: str
) -> Iterator[dict[str, str]]:
    """Yield what a broker or a client must refuse."""
    yield trusted | any_name  # no certificate
    yield trusted | shown  # the broker's certificate is for another name
    yield trusted | shown | any_name | {"ssl.ca.location": stranger}


@long_form
def test_a_password_is_checked(broker: Broker, topic: str, account: Account) -> None:
    broker.create_topic(topic)
    login = {
        "security.protocol": "sasl_plaintext",
        "sasl.mechanism": "PLAIN",
        "sasl.username": USER,
        "sasl.password": PASSWORD,
    }
    writer = Writer(broker.password_address, account, login)
    writer.send_all(topic, 0, [(b"key", b"value")])
    assert read(broker.address, topic, 1) == account.of(topic)
    intruder = Consumer(
        {
            "bootstrap.servers": broker.password_address,
            "group.id": "intruder",
            "log_level": 0,
            **login,
            "sasl.password": "another",
        }
    )
    with pytest.raises(KafkaException):
        intruder.list_topics(timeout=1)
    intruder.close()


def test_members_come_and_go_quickly(broker: Broker, topic: str, writer: Writer) -> None:
    broker.create_topic(topic, 4)
    group_id = f"group-{topic}"
    with ForeignMember(broker.address, group_id, topic) as first:
        wait_until(lambda: first.partition_count_max == 4, 10, "one member has everything")
        with ForeignMember(broker.address, group_id, topic) as second:
            wait_until(lambda: second.partition_count_max == 2, 10, "two members share")
            shares = list(broker.members(group_id).values())
            assert [len(share) for share in shares] == [2, 2]
        assert len(broker.members(group_id)) == 1
    assert not broker.members(group_id)
