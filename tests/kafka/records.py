"""Produces records, and keeps what the broker says it has committed.

That account is what tables are held against: it comes from the delivery reports alone.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple, Self

from confluent_kafka import KafkaError
from confluent_kafka import Message
from confluent_kafka import Producer

from tests.kafka.broker import MESSAGE_BYTES_MAX

Pair = tuple[bytes | None, bytes | None]  # key and value

FLUSH_TIMEOUT_S = 60.0
KEY_BYTES_MAX = 1024
VALUE_BYTES_MAX = 2 << 20


class Record(NamedTuple):
    """A record that the broker has."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None

    @classmethod
    def of(cls, message: Message) -> Self:
        """Return what a delivery report or a consumer's message tells."""
        topic, partition, offset = message.topic(), message.partition(), message.offset()
        assert topic is not None
        assert partition is not None
        assert offset is not None
        return cls(topic, partition, offset, message.key(), message.value())

    @property
    def is_storable(self) -> bool:
        """Whether a table can hold it."""
        key_fits = self.key is not None and 1 <= len(self.key) <= KEY_BYTES_MAX
        return key_fits and len(self.value or b"") <= VALUE_BYTES_MAX


@dataclass
class Account:
    """Every record that was committed."""

    records: list[Record] = field(default_factory=list)  # in no order
    former: dict[str, list[Record]] = field(default_factory=dict)  # of topics that were made anew

    def of(self, topic: str) -> list[Record]:
        """Return a topic's records, in the order of their offsets within a partition."""
        mine = [record for record in self.records if record.topic == topic]
        mine.sort(key=lambda record: (record.partition, record.offset))
        return self.former.get(topic, []) + mine

    def table(self, topic: str) -> dict[bytes, bytes]:
        """Return what the table of a topic must hold: the last value of each key.

        Each key is of one partition, or there would be no last one.
        """
        pairs: dict[bytes, bytes] = {}
        for record in self.of(topic):
            if record.key is None or not record.is_storable:
                continue
            if record.value is None:
                pairs.pop(record.key, None)
            else:
                pairs[record.key] = record.value
        return pairs

    def counts(self, topic: str) -> dict[int, tuple[int, int]]:
        """Return for each partition how many records are to be applied, and skipped."""
        counts: dict[int, tuple[int, int]] = {}
        for record in self.of(topic):
            applied, skipped = counts.get(record.partition, (0, 0))
            is_applied = record.is_storable
            counts[record.partition] = (applied + is_applied, skipped + (not is_applied))
        return counts

    def ends(self, topic: str) -> dict[int, int]:
        """Return for each partition the offset after its last record."""
        ends: dict[int, int] = {}
        for record in self.records:
            if record.topic == topic:
                ends[record.partition] = max(ends.get(record.partition, 0), record.offset + 1)
        return ends

    def renew(self, topic: str) -> None:
        """Take note that a topic was deleted: its offsets begin anew, after all that was there."""
        self.former[topic] = self.of(topic)
        self.records = [record for record in self.records if record.topic != topic]

    def drop(self, topic: str, partition: int, offsets: range) -> None:
        """Drop records that were deleted before anybody could read them."""
        place = (topic, partition)
        self.records = [
            record
            for record in self.records
            if (record.topic, record.partition) != place or record.offset not in offsets
        ]


class Writer:
    """A producer whose every record goes to a partition that the caller names.

    Nothing is sent twice: the broker recognises what is repeated after a lost answer.
    """

    def __init__(
        self, address: str, account: Account, properties: Mapping[str, object] | None = None
    ) -> None:
        """Put what is committed into *account*; *properties* are librdkafka's."""
        self._account = account
        self._pending: list[Record] | None = None  # of the transaction that is open
        self._failures: list[KafkaError] = []
        self._producer = Producer(
            {
                "bootstrap.servers": address,
                "enable.idempotence": True,
                "message.max.bytes": MESSAGE_BYTES_MAX,
                "queue.buffering.max.messages": 1_000_000,
                "linger.ms": 5,
                "message.timeout.ms": int(FLUSH_TIMEOUT_S * 1000),
                "reconnect.backoff.max.ms": 500,
                "log_level": 0,
                **(properties or {}),
            }
        )

    def send(self, topic: str, partition: int, key: bytes | None, value: bytes | None) -> None:
        """Hand one record to the producer; flush() waits for it."""
        while True:
            try:
                self._producer.produce(topic, value, key, partition, on_delivery=self._on_delivery)
            except BufferError:
                self._producer.poll(0.1)
            else:
                self._producer.poll(0)
                return

    def send_all(self, topic: str, partition: int, pairs: Iterable[Pair]) -> None:
        """Send many records and wait until all are committed."""
        for key, value in pairs:
            self.send(topic, partition, key, value)
        self.flush()

    def flush(self) -> None:
        """Wait until every record is committed; fails if one is not."""
        left = self._producer.flush(FLUSH_TIMEOUT_S)
        assert left == 0, f"{left} records are not delivered"
        assert not self._failures, self._failures

    @contextmanager
    def transaction(self, commits: bool = True) -> Iterator[None]:
        """What is sent within is one transaction, which ends in a commit or is aborted.

        Needs the property "transactional.id".
        """
        if self._pending is None:
            self._producer.init_transactions(FLUSH_TIMEOUT_S)
        self._pending = []
        self._producer.begin_transaction()
        yield
        self.flush()
        if commits:
            self._producer.commit_transaction(FLUSH_TIMEOUT_S)
            self._account.records.extend(self._pending)
        else:
            self._producer.abort_transaction(FLUSH_TIMEOUT_S)
        self._pending = []

    def _on_delivery(self, error: KafkaError | None, message: Message) -> None:
        if error is not None:
            self._failures.append(error)
            return
        target = self._account.records if self._pending is None else self._pending
        target.append(Record.of(message))
