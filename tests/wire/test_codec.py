"""The C-level codecs are held to the protobuf package."""

from types import ModuleType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regatta.pb.mvcc_pb2 import Command
from regatta.pb.mvcc_pb2 import CommandResult
from regatta.pb.mvcc_pb2 import Compare
from regatta.pb.mvcc_pb2 import KeyValue
from regatta.pb.mvcc_pb2 import RequestOp
from regatta.pb.mvcc_pb2 import ResponseOp
from regatta.pb.mvcc_pb2 import Txn
from tests.wire.encodings import cuts
from tests.wire.encodings import damaged
from tests.wire.encodings import flags
from tests.wire.encodings import numbers
from tests.wire.encodings import odd_messages
from tests.wire.encodings import parse
from tests.wire.encodings import small
from tests.wire.encodings import unknown
from tests.wire.encodings import varint


@given(numbers)
def test_varints_come_back(codec: ModuleType, number: int) -> None:
    written = codec.write_one_varint(number)
    assert codec.read_varint(written + b"rest") == (number, len(written))
    for size in range(len(written)):
        assert codec.read_varint(written[:size]) is None


def test_a_varint_has_ten_bytes_at_most(codec: ModuleType) -> None:
    assert codec.read_varint(b"\x80" * 9 + b"\x01") == (1 << 63, 10)
    assert codec.read_varint(b"\x80" * 10 + b"\x01") is None


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


def source_of(command: Command) -> tuple[bytes, int, int, int, int, bytes] | None:
    """Return what the codec should make of a command's source."""
    if not command.HasField("source"):
        return None
    one = command.source
    topic = one.topic.encode()
    return topic, one.partition, one.previous, one.next, one.skipped, one.topic_id


positions = st.one_of(st.integers(-1, 300), st.integers(-(2**63), 2**63 - 1))
sources = st.builds(
    Command.Source,
    topic=st.text(max_size=6),
    partition=st.one_of(st.integers(0, 300), st.integers(-(2**31), 2**31 - 1)),
    previous=positions,
    next=positions,
    skipped=positions,
    topic_id=small,
)


@settings(max_examples=400)
@given(st.one_of(st.none(), sources), unknown, unknown, cuts)
def test_sources(
    codec: ModuleType, source: Command.Source | None, before: bytes, after: bytes, cut: int
) -> None:
    data = damaged(Command(table=b"t", source=source), before, after, cut)
    expected = parse(Command, data)
    assert codec.source(data) == (False if expected is None else source_of(expected))


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


# A topic that is no text makes protobuf refuse the whole command; who uses the codec looks at it.
topics = st.text(max_size=3).map(str.encode)
odd_sources = odd_messages(2, 3, 4, 5, 6, nested={1: topics})


@settings(max_examples=150, deadline=None)
@given(odd_messages(2, nested={100: odd_sources}))
def test_odd_sources_are_read_as_protobuf_reads_them(codec: ModuleType, data: bytes) -> None:
    assert codec.source(data) == source_of(Command.FromString(data))


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
