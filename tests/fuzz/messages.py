"""Protobuf messages: proper ones of a few keys and tables, and what fuzzing makes of them."""

from collections.abc import Callable, Sequence
from random import Random

from regatta.pb.mvcc_pb2 import Command
from regatta.pb.mvcc_pb2 import Compare
from regatta.pb.mvcc_pb2 import KeyValue
from regatta.pb.mvcc_pb2 import RequestOp
from regatta.pb.mvcc_pb2 import Txn
from regatta.pb.regatta_pb2 import RangeRequest
from tests.fuzz.mutation import below
from tests.fuzz.mutation import mutate_bytes
from tests.fuzz.mutation import pick
from tests.fuzz.mutation import shuffle_some

TABLE = b"table"
KEYS = (b"key", b"k", b"key2", b"\0", b"\xff", b"a" * 40, b"z" * 1024)
ENDS = (b"", b"", b"", b"\0", b"kez", b"\xff\xff", b"a")
VALUES = (b"", b"value", b"value" * 30, bytes(5000))
TOPICS = ("topic", "topic", "topic", "t", "t" * 249)
NUMBERS = (0, 1, 2, 1 << 31, (1 << 63) - 1, -1, -(1 << 63))

VARINT, FIXED64, BYTES, GROUP, GROUP_END, FIXED32 = range(6)
MASK = (1 << 64) - 1

# Number, wire type, and the field's bytes without the tag.
Field = tuple[int, int, bytes]


def varint(value: int, excess: int = 0) -> bytes:
    """Return *value* as a varint, *excess* bytes longer than need be."""
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    found.append(value)
    for _ in range(excess):
        found[-1] |= 0x80
        found.append(0)
    return bytes(found)


def split(message: bytes) -> list[Field]:
    """Take a proper message of varints and bytes apart."""
    fields, at = [], 0

    def number() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = message[at]
            value |= (byte & 0x7F) << shift
            at, shift = at + 1, shift + 7
            if byte < 0x80:
                return value

    while at < len(message):
        tag = number()
        start = at
        value = number()
        if tag & 7 == BYTES:
            start, at = at, at + value
        fields.append((tag >> 3, tag & 7, message[start:at]))
    return fields


def join(fields: Sequence[Field], excess: int = 0) -> bytes:
    """Put fields together; *excess* makes lengths of bytes longer than need be."""
    found = []
    for number, kind, content in fields:
        length = varint(len(content), excess) if kind == BYTES else b""
        found.append(varint(number << 3 | kind) + length + content)
    return b"".join(found)


def any_field(chance: Random) -> Field:
    """Return a field that may or may not be known, of any wire type."""
    number = pick(chance, (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 15, 16, 64, 100, (1 << 29) - 1, 0))
    kind = below(chance, 8)
    if kind == VARINT:
        return number, kind, varint(pick(chance, NUMBERS) & MASK, below(chance, 3))
    if kind == BYTES:
        return number, kind, pick(chance, KEYS + ENDS)
    if kind == GROUP:
        end = number if chance.random() < 0.8 else 3
        return number, kind, b"\x08\x01" * below(chance, 3) + varint(end << 3 | GROUP_END)
    return number, kind, bytes({FIXED64: 8, FIXED32: 4}.get(kind, 0))


def change_fields(chance: Random, message: bytes, depth: int = 3) -> bytes:
    """Return *message* with some fields added, lost, moved, of another type or changed inside."""
    fields = split(message)
    for _ in range(1 + below(chance, 3)):
        if not fields or chance.random() < 0.5:
            shuffle_some(chance, fields, lambda: any_field(chance))
            continue
        at = below(chance, len(fields))
        number, kind, content = fields[at]
        if kind == BYTES and depth and looks_whole(content) and chance.random() < 0.7:
            fields[at] = number, kind, change_fields(chance, content, depth - 1)
        elif chance.random() < 0.3:
            fields[at] = number, below(chance, 8), content
        else:
            fields[at] = number, kind, mutate_bytes(chance, content)
    return join(fields, 1 if chance.random() < 0.1 else 0)


def looks_whole(content: bytes) -> bool:
    """Tell whether bytes may be a message of the kind that split() takes apart."""
    try:
        fields = split(content)
    except IndexError:
        return False
    return join(fields) == content and all(kind in (VARINT, BYTES) for _, kind, _ in fields)


def changed(chance: Random, message: bytes) -> bytes:
    """Return *message* as it is, or with changes to its fields, its bytes, or both."""
    turn = chance.random()
    if turn < 0.2:
        return message
    if turn < 0.9:
        message = change_fields(chance, message)
    return mutate_bytes(chance, message) if turn > 0.75 else message


def range_request(chance: Random) -> bytes:
    """Return a proper RangeRequest."""
    request = RangeRequest(table=TABLE if chance.random() < 0.9 else b"none")
    request.key = pick(chance, KEYS)
    if chance.random() < 0.3:
        request.range_end = pick(chance, ENDS)
    if chance.random() < 0.3:
        request.limit = pick(chance, NUMBERS)
    request.linearizable = chance.random() < 0.5
    request.keys_only, request.count_only = chance.random() < 0.2, chance.random() < 0.2
    if chance.random() < 0.1:
        request.min_mod_revision = pick(chance, NUMBERS)
    return request.SerializeToString()


def operation(chance: Random) -> RequestOp:
    """Return an operation of a transaction."""
    turn, key, end = below(chance, 3), pick(chance, KEYS), pick(chance, ENDS)
    flag = chance.random() < 0.3
    if turn == 0:
        ranged = RequestOp.Range(key=key, range_end=end, limit=pick(chance, NUMBERS))
        ranged.keys_only, ranged.count_only = flag, chance.random() < 0.2
        return RequestOp(request_range=ranged)
    if turn == 1:
        put = RequestOp.Put(key=key, value=pick(chance, VALUES), prev_kv=flag)
        return RequestOp(request_put=put)
    delete = RequestOp.DeleteRange(key=key, range_end=end, prev_kv=flag, count=not flag)
    return RequestOp(request_delete_range=delete)


def transaction(chance: Random) -> Txn:
    """Return a transaction."""
    compare = Compare(key=pick(chance, KEYS), result=pick(chance, tuple(range(4))))  # type: ignore[arg-type]
    if chance.random() < 0.7:
        compare.value = pick(chance, VALUES)
    if chance.random() < 0.3:
        compare.range_end = pick(chance, ENDS)
    return Txn(
        compare=[compare] if chance.random() < 0.7 else [],
        success=[operation(chance) for _ in range(below(chance, 3))],
        failure=[operation(chance) for _ in range(below(chance, 3))],
    )


def command(chance: Random, depth: int = 2, *, sourced: bool = False) -> Command:
    """Return a command of any type; *sourced*: it is within one that has a source."""
    kinds = (0, 0, 0, 1, 1, 2, 3, 4, 5, 5, 5, 6 if depth else 0)
    found = Command(table=TABLE, type=pick(chance, kinds))  # type: ignore[arg-type]
    if found.type in (Command.PUT, Command.DELETE):
        found.kv.key, found.kv.value = pick(chance, KEYS), pick(chance, VALUES)
        found.prev_kvs, found.count = chance.random() < 0.3, chance.random() < 0.3
    if found.type == Command.DELETE:
        found.range_end = pick(chance, ENDS)
        if chance.random() < 0.1:
            found.kv.key = found.range_end = b"\0"
    elif found.type in (Command.PUT_BATCH, Command.DELETE_BATCH):
        pair: Callable[[], KeyValue] = lambda: KeyValue(  # noqa: E731
            key=pick(chance, KEYS), value=pick(chance, VALUES)
        )
        found.batch.extend(pair() for _ in range(below(chance, 4)))
    elif found.type == Command.TXN:
        found.txn.CopyFrom(transaction(chance))
    elif found.type == Command.SEQUENCE:
        if not sourced and chance.random() < 0.5:
            found.source.CopyFrom(source(chance))
            sourced = True
        parts = range(below(chance, 3))
        found.sequence.extend(command(chance, depth - 1, sourced=sourced) for _ in parts)
    return found


def source(chance: Random) -> Command.Source:
    """Return where a batch came from, so that it is its turn now and then."""
    return Command.Source(
        topic=pick(chance, TOPICS),
        partition=pick(chance, (0, 0, 1, (1 << 31) - 1)),
        previous=below(chance, 3),
        next=below(chance, 3),
        skipped=pick(chance, (0, 1, (1 << 63) - 1)),
        topic_id=bytes(pick(chance, (0, 16, 64))),
    )
