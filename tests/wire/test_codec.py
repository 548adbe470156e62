"""The C-level codecs are held to the protobuf package."""

from types import ModuleType
from typing import TypeVar

import pytest
from google.protobuf.message import DecodeError
from google.protobuf.message import Message
from hypothesis import given, settings
from hypothesis import strategies as st

from regatta.pb.mvcc_pb2 import Command
from regatta.pb.mvcc_pb2 import CommandResult
from regatta.pb.mvcc_pb2 import Compare
from regatta.pb.mvcc_pb2 import KeyValue
from regatta.pb.mvcc_pb2 import RequestOp
from regatta.pb.mvcc_pb2 import ResponseOp
from regatta.pb.mvcc_pb2 import Txn

small = st.binary(max_size=6)
numbers = st.one_of(st.integers(0, 300), st.integers(0, 2**64 - 1))
flags = st.booleans()


@given(numbers)
def test_varints_come_back(codec: ModuleType, number: int) -> None:
    written = codec.write_one_varint(number)
    assert codec.read_varint(written + b"rest") == (number, len(written))
    for size in range(len(written)):
        assert codec.read_varint(written[:size]) is None


def test_a_varint_has_ten_bytes_at_most(codec: ModuleType) -> None:
    assert codec.read_varint(b"\x80" * 9 + b"\x01") == (1 << 63, 10)
    assert codec.read_varint(b"\x80" * 10 + b"\x01") is None


# Whatever bytes: unknown fields, groups, and what is no message at all.
unknown = st.sampled_from(
    [
        b"",
        b"\xf8\x07\x01",
        b"\xfa\x07\x03abc",
        b"\xf9\x07" + bytes(8),
        b"\xfd\x07" + bytes(4),
        b"\xfb\x07\xfc\x07",
        b"\xfb\x07\x0b\x08\x01\x0c\x12\x01x\xfc\x07",
        b"\xfb\x07\xfb\x07\xfc\x07",  # a group that is not closed
        b"\xfb\x07\x0c",  # closed as another one
        b"\xfc\x07",
        b"\x07",
        b"\x06\x00",
        b"\x00\x00",
    ]
)


T = TypeVar("T", bound=Message)


def parse(kind: type[T], data: bytes) -> T | None:
    try:
        return kind.FromString(data)
    except DecodeError:
        return None


def damaged(message: Message, before: bytes, after: bytes, cut: int) -> bytes:
    data = before + message.SerializeToString() + after
    return data[: max(0, len(data) - cut)] if cut < 4 else data


cuts = st.integers(0, 12)
commands = st.builds(
    Command,
    table=small,
    type=st.sampled_from(list(Command.CommandType.values())),
    kv=st.builds(KeyValue, key=small, value=small),
    leader_index=numbers,
    range_end=st.one_of(st.none(), small),
    prev_kvs=flags,
    count=flags,
    batch=st.lists(st.builds(KeyValue, key=small, value=small), max_size=3),
    sequence=st.lists(st.builds(Command, table=small), max_size=2),
)


@settings(max_examples=400)
@given(commands, unknown, unknown, cuts)
def test_commands(
    codec: ModuleType, command: Command, before: bytes, after: bytes, cut: int
) -> None:
    data = damaged(command, before, after, cut)
    expected, found = parse(Command, data), codec.command(data)
    if expected is None:
        # Batches and sequences are walked by themselves: what is wrong inside shows there.
        assert found is None or cut < 4
        return
    assert found == (
        expected.type,
        expected.kv.key,
        expected.kv.value,
        expected.range_end,
        expected.prev_kvs,
        expected.count,
        b"",
    )
    assert codec.messages(data, 6) == [kv.SerializeToString() for kv in expected.batch]
    assert len(codec.messages(data, 10)) == len(expected.sequence)


operations = st.one_of(
    st.just(RequestOp()),
    st.builds(
        lambda **fields: RequestOp(request_range=RequestOp.Range(**fields)),
        key=small,
        range_end=small,
        limit=st.integers(-(2**63), 2**63 - 1),
        keys_only=flags,
        count_only=flags,
    ),
    st.builds(
        lambda **fields: RequestOp(request_put=RequestOp.Put(**fields)),
        key=small,
        value=small,
        prev_kv=flags,
    ),
    st.builds(
        lambda **fields: RequestOp(request_delete_range=RequestOp.DeleteRange(**fields)),
        key=small,
        range_end=small,
        prev_kv=flags,
        count=flags,
    ),
)


@settings(max_examples=400)
@given(st.lists(operations, min_size=1, max_size=3), unknown, cuts)
def test_operations_of_which_the_last_counts(
    codec: ModuleType, several: list[RequestOp], after: bytes, cut: int
) -> None:
    before = b"".join(one.SerializeToString() for one in several[:-1])
    data = damaged(several[-1], before, after, cut)
    expected, found = parse(RequestOp, data), codec.operation(data)
    if expected is None:
        assert found is None
        return
    kind = expected.WhichOneof("request")
    body = getattr(expected, kind) if kind else None

    def field(name: str, default: object) -> object:
        return getattr(body, name, default)

    assert found == (
        [None, "request_range", "request_put", "request_delete_range"].index(kind),
        field("key", b""),
        field("range_end", b""),
        field("value", b""),
        field("limit", 0),
        field("keys_only", False),
        field("count_only", False),
        field("prev_kv", False),
        field("count", False),
    )


@given(
    st.builds(Compare, key=small, range_end=small, result=st.integers(0, 3)),
    st.one_of(st.none(), small),
    unknown,
    cuts,
)
def test_comparisons(
    codec: ModuleType, compare: Compare, value: bytes | None, after: bytes, cut: int
) -> None:
    if value is not None:
        compare.value = value
    data = damaged(compare, b"", after, cut)
    expected, found = parse(Compare, data), codec.comparison(data)
    if expected is None:
        assert found is None
        return
    assert found == (
        expected.result,
        expected.key,
        expected.range_end,
        expected.HasField("value"),
        expected.value,
    )


@settings(max_examples=500)
@given(st.binary(max_size=40))
def test_any_bytes_are_a_message_or_not_as_protobuf_says(codec: ModuleType, data: bytes) -> None:
    # Txn's fields are messages: to see the outer level alone, a type without any is asked.
    assert (parse(RequestOp.Put, data) is None) == (codec.fields(data) is None)


@pytest.mark.parametrize("spare", range(8))
def test_a_tag_has_five_bytes_at_most(codec: ModuleType, spare: int) -> None:
    data = varint(1 << 3, spare) + b"\1"
    assert (parse(RequestOp.Put, data) is None) == (codec.fields(data) is None) == (spare > 4)


# Encodings that no encoder writes and every decoder must read: fields in any order and number,
# varints with bytes to spare, values wider than their type, known fields of another wire type.


def varint(value: int, spare: int = 0) -> bytes:
    """Return *value* in up to *spare* bytes more than it needs, ten in all."""
    encoded = bytearray()
    while value >= 0x80:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    spare = min(spare, 9 - len(encoded))
    if not spare:
        return bytes([*encoded, value])
    return bytes([*encoded, value | 0x80, *[0x80] * (spare - 1), 0])


def number_field(number: int, value: int, spare: int) -> bytes:
    return varint(number << 3) + varint(value, spare)


def bytes_field(number: int, data: bytes, spare: int) -> bytes:
    return varint(number << 3 | 2) + varint(len(data), spare) + data


def fixed_field(number: int, wide: bool) -> bytes:
    return varint(number << 3 | (1 if wide else 5)) + bytes(range(8 if wide else 4))


def odd_messages(
    *numbers_taken: int, nested: dict[int, st.SearchStrategy[bytes]] | None = None
) -> st.SearchStrategy[bytes]:
    """Generate messages out of fields of these numbers; *nested* ones hold such messages."""
    of_messages = nested or {}
    taken = st.sampled_from([*numbers_taken, 17, 1000])
    some = [
        st.builds(number_field, taken, numbers, st.integers(0, 9)),
        st.builds(bytes_field, taken, small, st.integers(0, 3)),
        st.builds(fixed_field, st.sampled_from([*numbers_taken, *of_messages]), st.booleans()),
        *[
            st.builds(bytes_field, st.just(number), inside, st.integers(0, 3))
            for number, inside in of_messages.items()
        ],
    ]
    return st.lists(st.one_of(some), max_size=8).map(b"".join)


@settings(max_examples=150, deadline=None)
@given(odd_messages(1, 2, 5, 8, 9, 11, nested={3: odd_messages(1, 2, 3, 4)}))
def test_odd_commands_are_read_as_protobuf_reads_them(codec: ModuleType, data: bytes) -> None:
    expected = Command.FromString(data)
    assert codec.command(data) == (
        expected.type,
        expected.kv.key,
        expected.kv.value,
        expected.range_end,
        expected.prev_kvs,
        expected.count,
        b"",
    )


@settings(max_examples=150, deadline=None)
@given(odd_messages(4, nested=dict.fromkeys([1, 2, 3], odd_messages(1, 2, 3, 4, 5))))
def test_odd_operations_are_read_as_protobuf_reads_them(codec: ModuleType, data: bytes) -> None:
    expected = RequestOp.FromString(data)
    kind = expected.WhichOneof("request")
    body = getattr(expected, kind) if kind else None
    names = ["key", "range_end", "value", "limit", "keys_only", "count_only", "prev_kv", "count"]
    defaults = [b"", b"", b"", 0, False, False, False, False]
    assert codec.operation(data) == (
        [None, "request_range", "request_put", "request_delete_range"].index(kind),
        *[getattr(body, name, default) for name, default in zip(names, defaults, strict=True)],
    )


@settings(max_examples=150, deadline=None)
@given(odd_messages(1, 2, 3, 4, 64))
def test_odd_comparisons_are_read_as_protobuf_reads_them(codec: ModuleType, data: bytes) -> None:
    expected = Compare.FromString(data)
    assert codec.comparison(data) == (
        expected.result,
        expected.key,
        expected.range_end,
        expected.HasField("value"),
        expected.value,
    )


def test_groups_nest_a_hundred_deep_and_no_deeper(codec: ModuleType) -> None:
    assert codec.fields(b"\x0b" * 100 + b"\x0c" * 100) == [(1, 3, None)]
    assert codec.fields(b"\x0b" * 101 + b"\x0c" * 101) is None


sizes = st.sampled_from([0, 1, 100, 127, 128, 5000, 16_384])


@given(st.lists(st.tuples(sizes, sizes), max_size=4), st.integers(0, 2**63 - 1))
def test_nested_messages_are_written_as_protobuf_writes_them(
    codec: ModuleType, pairs: list[tuple[int, int]], count: int
) -> None:
    key_values = [KeyValue(key=b"k" * key, value=b"v" * value) for key, value in pairs]
    body = ResponseOp.Range(kvs=key_values, more=bool(count % 2), count=count)
    expected = CommandResult(responses=[ResponseOp(response_range=body)], revision=count)
    kvs = [(1, [(1, kv.key), (4, kv.value)]) for kv in key_values]
    tree = [(1, [(1, [*kvs, (2, count % 2), (3, count)])]), (2, count)]
    assert codec.write(tree) == expected.SerializeToString()


def test_the_parts_of_a_transaction_are_found(codec: ModuleType) -> None:
    txn = Txn(
        compare=[Compare(key=b"a"), Compare(key=b"b")],
        success=[RequestOp(request_put=RequestOp.Put(key=b"c"))],
    )
    data = txn.SerializeToString()
    assert codec.messages(data, 1) == [one.SerializeToString() for one in txn.compare]
    assert codec.messages(data, 2) == [one.SerializeToString() for one in txn.success]
    assert codec.messages(data, 3) == []
