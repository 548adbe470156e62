"""What a poll's records should come to, made of dictionaries and the protobuf package."""

from dataclasses import dataclass, field

from confluent_kafka import KafkaError
from confluent_kafka import Message

from regatta.kafka._batch import Batch
from regatta.kafka._batch import Cursor
from regatta.kafka._batch import Polled
from regatta.pb.mvcc_pb2 import Command
from regatta.pb.mvcc_pb2 import KeyValue

UNBOUNDED = 1 << 30

Cursors = dict[str, dict[int, Cursor]]
Place = tuple[str, int]


def record(
    key: bytes | None,
    value: bytes | None = b"value",
    offset: int = 0,
    partition: int = 0,
    topic: str = "orders",
) -> Message:
    return Message(topic=topic, partition=partition, offset=offset, key=key, value=value)


def event(code: int = KafkaError._PARTITION_EOF, topic: str = "orders") -> Message:
    return Message(topic=topic, partition=0, offset=0, error=KafkaError(code))


def cursors_of(*cursors: Cursor) -> Cursors:
    found: Cursors = {}
    for cursor in cursors:
        found.setdefault(cursor.topic, {})[cursor.partition] = cursor
    return found


def command_of(batch: Batch) -> Command:
    return Command.FromString(batch.command)


def operations(piece: Command) -> list[tuple[bytes, bytes | None]]:
    """Return a partition's puts, and its deletes as pairs with None, in order."""
    found: list[tuple[bytes, bytes | None]] = []
    for run in piece.sequence:
        assert run.type in (Command.PUT_BATCH, Command.DELETE_BATCH)
        is_put = run.type == Command.PUT_BATCH
        found += [(pair.key, pair.value if is_put else None) for pair in run.batch]
    return found


def reason_of(key: bytes | None, value: bytes | None) -> str | None:
    """Return why a record can't be stored, or None if it can."""
    if key is None:
        return "its key is null"
    if not key:
        return "its key is empty"
    if len(key) > 1024:
        return f"its key has {len(key):,} bytes"
    if value is not None and len(value) > 2 * 1024 * 1024:
        return f"its value has {len(value):,} bytes"
    return None


@dataclass
class Model:
    """What one poll should come to."""

    next: dict[Place, int]  # the offset behind each partition's records
    stored: dict[Place, int]  # the position that is stored once they are applied
    pieces: dict[str, dict[int, Command]] = field(default_factory=dict)
    skips: list[tuple[str, int, int, str]] = field(default_factory=list)
    events: list[Message] = field(default_factory=list)

    def poll(self, messages: list[Message], topic_ids: dict[Place, bytes]) -> None:
        for message in messages:
            if message.error() is not None:
                self.events.append(message)
                continue
            place, offset = (message.topic(), message.partition()), message.offset()
            if offset >= self.next.get(place, UNBOUNDED):
                self.add(message, place, topic_ids[place])

    def add(self, message: Message, place: Place, topic_id: bytes) -> None:
        (topic, partition), offset = place, message.offset()
        pieces = self.pieces.setdefault(topic, {})
        if partition not in pieces:
            pieces[partition] = Command(type=Command.SEQUENCE)
            source = pieces[partition].source
            source.topic, source.partition, source.topic_id = topic, partition, topic_id
            source.previous = self.stored[place]
        piece = pieces[partition]
        piece.source.next = self.next[place] = self.stored[place] = offset + 1
        key, value = message.key(), message.value()
        if (reason := reason_of(key, value)) is not None:
            piece.source.skipped += 1
            self.skips.append((topic, partition, offset, reason))
            return
        kind = Command.DELETE_BATCH if value is None else Command.PUT_BATCH
        if not piece.sequence or piece.sequence[-1].type != kind:
            piece.sequence.add(type=kind)
        piece.sequence[-1].batch.append(KeyValue(key=key, value=value or b""))

    def commands(self) -> dict[str, Command]:
        return {
            topic: Command(table=topic.encode(), type=Command.SEQUENCE, sequence=pieces.values())
            for topic, pieces in self.pieces.items()
        }


def model_of(cursors: list[Cursor]) -> Model:
    return Model(
        {(cursor.topic, cursor.partition): cursor.position for cursor in cursors},
        {(cursor.topic, cursor.partition): cursor.previous for cursor in cursors},
    )


def ids_of(cursors: list[Cursor]) -> dict[Place, bytes]:
    return {(cursor.topic, cursor.partition): cursor.topic_id for cursor in cursors}


def check_aside(polled: Polled, model: Model, cursors: list[Cursor]) -> None:
    """Hold everything but the batches to the model."""
    found = [(skip.topic, skip.partition, skip.offset, skip.reason) for skip in polled.skips]
    assert found == model.skips
    assert [id(one) for one in polled.events] == [id(one) for one in model.events]
    assert {(one.topic, one.partition): one.position for one in cursors} == model.next
    assert {(one.topic, one.partition): one.previous for one in cursors} == model.stored
