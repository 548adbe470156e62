"""The encodings of messages, entries and memberships are held to the protobuf package."""

from collections.abc import Callable
from typing import Any

import pytest
from google.protobuf.message import Message as PbMessage
from hypothesis import given, settings
from hypothesis import strategies as st

from regatta.pb import raft_pb2 as pb
from regatta.raft import ChangeKind
from regatta.raft import ConfChange
from regatta.raft import ConfState
from regatta.raft import Entry
from regatta.raft import EntryKind
from regatta.raft import HardState
from regatta.raft import MalformedMessage
from regatta.raft import Message
from regatta.raft import MessageType
from regatta.raft import Snapshot
from regatta.raft import Transition
from regatta.raft import decode_conf_change
from regatta.raft import decode_conf_state
from regatta.raft import decode_entry
from regatta.raft import decode_hard_state
from regatta.raft import decode_message
from regatta.raft import decode_snapshot
from regatta.raft import encode_conf_change
from regatta.raft import encode_conf_state
from regatta.raft import encode_entry
from regatta.raft import encode_hard_state
from regatta.raft import encode_message
from regatta.raft import encode_snapshot
from tests.raft import reference
from tests.wire.encodings import bytes_field
from tests.wire.encodings import cuts
from tests.wire.encodings import flags
from tests.wire.encodings import number_field
from tests.wire.encodings import numbers
from tests.wire.encodings import odd_messages
from tests.wire.encodings import small
from tests.wire.encodings import unknown
from tests.wire.encodings import varint

members_max, changes_max, responses_max, entries_max = 1024, 1024, 65_536, 1_048_576

Decoder = Callable[[bytes], object]

DECODERS: dict[type[PbMessage], Decoder] = {
    pb.Entry: decode_entry,
    pb.HardState: decode_hard_state,
    pb.ConfState: decode_conf_state,
    pb.Snapshot: decode_snapshot,
    pb.ConfChange: lambda data: decode_conf_change(EntryKind.CONF_CHANGE, data),
    pb.ConfChangeV2: lambda data: decode_conf_change(EntryKind.CONF_CHANGE_V2, data),
    pb.Message: decode_message,
}

data = st.one_of(small, st.binary(min_size=120, max_size=300))
entries = st.builds(Entry, numbers, numbers, st.sampled_from(EntryKind), data)
hard_states = st.builds(HardState, numbers, numbers, numbers)
ids = st.sets(st.integers(1, 2**64 - 1) | st.integers(1, 9), max_size=4)
conf_states = st.builds(ConfState, ids, ids, ids, ids, flags)
snapshots = st.builds(Snapshot, numbers, numbers, conf_states, data)
operations = st.tuples(st.sampled_from(ChangeKind), numbers)
one_change = st.builds(
    ConfChange, st.lists(operations, min_size=1, max_size=1), context=small, v1=st.just(True)
)
several_changes = st.builds(
    ConfChange, st.lists(operations, max_size=3), st.sampled_from(Transition), small
)
conf_changes = st.one_of(one_change, several_changes)


def messages(responses: st.SearchStrategy[list[Message]]) -> st.SearchStrategy[Message]:
    """Generate messages of every type, with any fields set."""
    return st.builds(
        Message,
        st.sampled_from(MessageType),
        to=numbers,
        sender=numbers,
        term=numbers,
        log_term=numbers,
        index=numbers,
        entries=st.lists(entries, max_size=3),
        commit=numbers,
        vote=numbers,
        snapshot=st.none() | snapshots,
        reject=flags,
        reject_hint=numbers,
        context=small,
        responses=responses,
    )


responses = messages(st.just([]))
all_messages = messages(st.lists(responses, max_size=2))


def outcome(decode: Decoder, encoded: bytes) -> object:
    """Return what a decoder makes of bytes, None if it refuses them."""
    try:
        return decode(encoded)
    except MalformedMessage:
        return None


def assert_read_as_protobuf_reads_it(kind: type[PbMessage], encoded: bytes) -> None:
    expected = outcome(lambda whole: reference.read(kind, whole), encoded)
    assert outcome(DECODERS[kind], encoded) == expected


# Both ways.


@settings(max_examples=300)
@given(entries)
def test_entries_come_back_and_are_written_as_protobuf_writes_them(entry: Entry) -> None:
    encoded = encode_entry(entry)
    assert decode_entry(encoded) == entry
    assert encoded == reference.pb_entry(entry).SerializeToString()
    assert entry.size == len(encoded)


@given(hard_states)
def test_hard_states_come_back_and_are_written_as_protobuf_writes_them(state: HardState) -> None:
    encoded = encode_hard_state(state)
    assert decode_hard_state(encoded) == state
    assert encoded == reference.pb_hard_state(state).SerializeToString()


@given(conf_states)
def test_memberships_come_back_and_are_written_as_protobuf_writes_them(state: ConfState) -> None:
    encoded = encode_conf_state(state)
    assert decode_conf_state(encoded) == state
    assert encoded == reference.pb_conf_state(state).SerializeToString()


@given(snapshots)
def test_snapshots_come_back_and_are_written_as_protobuf_writes_them(snapshot: Snapshot) -> None:
    encoded = encode_snapshot(snapshot)
    assert decode_snapshot(encoded) == snapshot
    assert encoded == reference.pb_snapshot(snapshot).SerializeToString()


@given(conf_changes)
def test_changes_come_back_and_are_written_as_protobuf_writes_them(change: ConfChange) -> None:
    kind, encoded = encode_conf_change(change)
    assert kind is (EntryKind.CONF_CHANGE if change.v1 else EntryKind.CONF_CHANGE_V2)
    assert decode_conf_change(kind, encoded) == change
    assert encoded == reference.pb_conf_change(change).SerializeToString()


@settings(max_examples=400)
@given(all_messages)
def test_messages_come_back_and_are_written_as_protobuf_writes_them(message: Message) -> None:
    encoded = encode_message(message)
    assert decode_message(encoded) == message
    assert encoded == reference.pb_message(message).SerializeToString()


def test_a_change_with_nothing_in_it_is_no_bytes() -> None:
    assert encode_conf_change(ConfChange()) == (EntryKind.CONF_CHANGE_V2, b"")
    assert decode_conf_change(EntryKind.CONF_CHANGE_V2, b"") == ConfChange()
    assert encode_conf_state(ConfState()) == b""


def test_an_empty_snapshot_is_not_the_same_as_none() -> None:
    with_one = Message(MessageType.SNAP, snapshot=Snapshot())
    assert decode_message(encode_message(with_one)).snapshot == Snapshot()
    assert decode_message(encode_message(Message(MessageType.SNAP))).snapshot is None


def test_large_data_come_back() -> None:
    entry = Entry(1, 2, EntryKind.NORMAL, bytes(range(256)) * 20_000)
    message = Message(MessageType.APP, entries=[entry, Entry(1, 3), entry])
    assert decode_message(encode_message(message)) == message
    assert entry.size == len(encode_entry(entry))


# Bytes that no encoder of ours writes: what protobuf reads, we read; what it refuses, we refuse.


@settings(max_examples=400)
@given(all_messages, unknown, unknown, cuts)
def test_damaged_messages(message: Message, before: bytes, after: bytes, cut: int) -> None:
    encoded = before + encode_message(message) + after
    encoded = encoded[: max(0, len(encoded) - cut)] if cut < 4 else encoded
    assert_read_as_protobuf_reads_it(pb.Message, encoded)


@settings(max_examples=30, deadline=None)
@given(all_messages, conf_changes)
def test_messages_cut_short_at_every_byte(message: Message, change: ConfChange) -> None:
    encoded = encode_message(message)
    for size in range(len(encoded)):
        assert_read_as_protobuf_reads_it(pb.Message, encoded[:size])
    _, encoded = encode_conf_change(change)
    for size in range(len(encoded)):
        assert_read_as_protobuf_reads_it(pb.ConfChange, encoded[:size])
        assert_read_as_protobuf_reads_it(pb.ConfChangeV2, encoded[:size])


odd_entries = odd_messages(1, 2, 3, 4)
odd_ids = st.lists(numbers, max_size=4).map(lambda some: b"".join(map(varint, sorted(some))))
odd_conf_states = odd_messages(5, nested=dict.fromkeys([1, 2, 3, 4], odd_ids))
odd_snapshots = odd_messages(1, 2, 4, nested={3: odd_conf_states})
odd_changes = odd_messages(1, 3, nested={2: odd_messages(1, 2)})
odd_nested = {7: odd_entries, 10: odd_snapshots}
message_numbers = (1, 2, 3, 4, 5, 6, 8, 9, 11, 12, 13)
odd_responses = odd_messages(*message_numbers, nested={7: odd_entries})
odd_all = odd_messages(*message_numbers, nested={**odd_nested, 14: odd_responses})

ODD: list[tuple[type[PbMessage], st.SearchStrategy[bytes]]] = [
    (pb.Entry, odd_entries),
    (pb.HardState, odd_messages(1, 2, 3)),
    (pb.ConfState, odd_conf_states),
    (pb.Snapshot, odd_snapshots),
    (pb.ConfChange, odd_messages(1, 2, 3)),
    (pb.ConfChangeV2, odd_changes),
    (pb.Message, odd_all),
]


@pytest.mark.parametrize(("kind", "odd"), ODD, ids=lambda value: getattr(value, "__name__", ""))
def test_odd_messages_are_read_as_protobuf_reads_them(
    kind: type[PbMessage], odd: st.SearchStrategy[bytes]
) -> None:
    @settings(max_examples=200, deadline=None)
    @given(odd)
    def hold(encoded: bytes) -> None:
        assert_read_as_protobuf_reads_it(kind, encoded)

    hold()


@pytest.mark.parametrize("kind", DECODERS, ids=lambda kind: kind.__name__)
def test_any_bytes_are_read_or_refused_as_protobuf_does(kind: type[PbMessage]) -> None:
    @settings(max_examples=300)
    @given(st.binary(max_size=40))
    def hold(encoded: bytes) -> None:
        assert_read_as_protobuf_reads_it(kind, encoded)

    hold()


def test_of_a_field_that_comes_twice_the_last_one_counts() -> None:
    assert decode_entry(b"\x08\x01\x08\x02\x22\x01a\x22\x01b") == Entry(2, 0, 0, b"b")
    # A value that is not known does no harm where a known one takes its place.
    assert decode_entry(b"\x18\x09\x18\x01").kind == EntryKind.CONF_CHANGE


def test_a_snapshot_that_comes_in_pieces_is_put_together() -> None:
    first = encode_snapshot(Snapshot(5, 0, ConfState([1, 2]), b"lost"))
    second = encode_snapshot(Snapshot(0, 7, ConfState([3], [4], auto_leave=True), b"kept"))
    encoded = bytes_field(10, first, 0) + bytes_field(10, second, 0)
    assert decode_message(encoded).snapshot == Snapshot(
        5, 7, ConfState([1, 2, 3], [4], auto_leave=True), b"kept"
    )


def test_ids_are_read_packed_and_one_by_one() -> None:
    encoded = number_field(1, 3, 0) + bytes_field(1, b"\x04\x05", 0) + number_field(1, 9, 2)
    assert decode_conf_state(encoded) == ConfState([3, 4, 5, 9])


# What protobuf would take.


@pytest.mark.parametrize("packed", [b"\x02\x01", b"\x01\x01", b"\x00", b"\x01\x00"])
def test_ids_out_of_order_and_nobodys_id_are_malformed(packed: bytes) -> None:
    with pytest.raises(MalformedMessage, match="ascending"):
        decode_conf_state(bytes_field(1, packed, 0))


def test_values_that_no_enum_has_are_malformed() -> None:
    with pytest.raises(MalformedMessage, match="type of message 24"):
        decode_message(number_field(1, 24, 0))
    with pytest.raises(MalformedMessage, match="type of message -1"):
        decode_message(number_field(1, 2**64 - 1, 0))
    with pytest.raises(MalformedMessage, match="kind of entry 3"):
        decode_message(bytes_field(7, number_field(3, 3, 0), 0))
    with pytest.raises(MalformedMessage, match="kind of change 4"):
        decode_conf_change(EntryKind.CONF_CHANGE, number_field(1, 4, 0))
    with pytest.raises(MalformedMessage, match="kind of change 4"):
        decode_conf_change(EntryKind.CONF_CHANGE_V2, bytes_field(2, number_field(1, 4, 0), 0))
    with pytest.raises(MalformedMessage, match="transition 3"):
        decode_conf_change(EntryKind.CONF_CHANGE_V2, number_field(1, 3, 0))


def nested_responses(depth: int) -> bytes:
    encoded = b""
    for _ in range(depth):
        encoded = bytes_field(14, encoded, 0)
    return encoded


@pytest.mark.parametrize("depth", [2, 3, 5_000])
def test_responses_nest_no_deeper_than_one_level(depth: int) -> None:
    assert decode_message(nested_responses(1)) == Message(responses=[Message()])
    with pytest.raises(MalformedMessage, match="responses"):
        decode_message(nested_responses(depth))
    with pytest.raises(ValueError, match="responses of a response"):
        encode_message(Message(responses=[Message(responses=[Message()])]))


def packed_ids(count: int) -> bytes:
    return bytes_field(1, b"".join(map(varint, range(1, count + 1))), 0)


BOUNDS: list[tuple[Decoder, Callable[[int], bytes], int]] = [
    (decode_message, lambda count: b"\x3a\x00" * count, entries_max),
    (decode_message, lambda count: b"\x72\x00" * count, responses_max),
    (decode_conf_state, packed_ids, members_max),
    (DECODERS[pb.ConfChangeV2], lambda count: b"\x12\x00" * count, changes_max),
]


@pytest.mark.parametrize(("decode", "encoded", "count_max"), BOUNDS)
def test_longer_lists_than_the_bound_are_malformed(
    decode: Decoder, encoded: Callable[[int], bytes], count_max: int
) -> None:
    decode(encoded(count_max))
    with pytest.raises(MalformedMessage, match=f"more than {count_max}"):
        decode(encoded(count_max + 1))


def test_what_no_decoder_would_take_is_not_encoded() -> None:
    entry, response = Entry(), Message()
    with pytest.raises(ValueError, match="1048577 entries"):
        encode_message(Message(entries=[entry] * (entries_max + 1)))
    with pytest.raises(ValueError, match="65537 responses"):
        encode_message(Message(responses=[response] * (responses_max + 1)))
    with pytest.raises(ValueError, match="1025 members"):
        encode_conf_state(ConfState(learners=range(1, members_max + 2)))
    with pytest.raises(ValueError, match="1025 changes"):
        encode_conf_change(ConfChange([(ChangeKind.ADD_NODE, 1)] * (changes_max + 1)))
    with pytest.raises(ValueError, match="nobody"):
        encode_conf_state(ConfState([0]))


def test_lists_of_other_things_are_not_encoded() -> None:
    wrong: Any = [Message()]
    with pytest.raises(TypeError):
        encode_message(Message(MessageType.APP, entries=wrong))
    none: Any = None
    message = Message(MessageType.APP)
    message.entries = none
    with pytest.raises(TypeError):
        encode_message(message)


def test_entries_of_other_kinds_hold_no_change() -> None:
    with pytest.raises(ValueError, match="kind 0"):
        decode_conf_change(EntryKind.NORMAL, b"")
