"""Raft's messages: proper ones, and what fuzzing makes of them."""

from collections.abc import Callable, Sequence
from random import Random
from typing import Any

from google.protobuf.message import Message as PbMessage

from regatta.pb import raft_pb2 as pb
from regatta.raft import EntryKind
from regatta.raft import MalformedMessage
from regatta.raft import decode_conf_change
from regatta.raft import decode_conf_state
from regatta.raft import decode_entry
from regatta.raft import decode_hard_state
from regatta.raft import decode_message
from regatta.raft import decode_snapshot
from tests.fuzz.messages import changed
from tests.fuzz.mutation import below
from tests.fuzz.mutation import pick
from tests.raft import reference

Enum = Sequence[Any]  # protobuf's stubs know no more

# Small ones are what a young group has; the others are where arithmetic goes wrong.
TERMS = (*(0, 1, 1, 2, 2, 3, 4), 1 << 63, (1 << 64) - 1)
INDEXES = (*range(12), *range(12), 1 << 32, (1 << 63) - 1, (1 << 64) - 2, (1 << 64) - 1)
NODES = (*(1, 2, 3), *(1, 2, 3), 0, 4, (1 << 64) - 2, (1 << 64) - 1)
DATA = (b"", b"a", b"data" * 10, bytes(2000))
TYPES: Enum = pb.Message.Type.values()
ENTRY_KINDS: Enum = pb.Entry.Kind.values()
CHANGE_KINDS: Enum = pb.ConfChange.Kind.values()
TRANSITIONS: Enum = pb.ConfChangeV2.Transition.values()


def conf_change(chance: Random) -> pb.ConfChange:
    """Return a change of the older form."""
    kind, node = pick(chance, CHANGE_KINDS), pick(chance, NODES)
    return pb.ConfChange(kind=kind, node=node, context=pick(chance, DATA[:2]))


def conf_change_v2(chance: Random) -> pb.ConfChangeV2:
    """Return a change of the newer form."""
    made = pb.ConfChangeV2(transition=pick(chance, TRANSITIONS), context=pick(chance, DATA[:2]))
    for _ in range(below(chance, 4)):
        made.changes.add(kind=pick(chance, CHANGE_KINDS), node=pick(chance, NODES))
    return made


def entry(chance: Random) -> pb.Entry:
    """Return an entry of any kind; one in ten changes of the membership holds something else."""
    made = pb.Entry(term=pick(chance, TERMS), index=pick(chance, INDEXES))
    made.kind = pick(chance, ENTRY_KINDS)
    if made.kind == pb.Entry.NORMAL or chance.random() < 0.1:
        made.data = pick(chance, DATA)
    elif made.kind == pb.Entry.CONF_CHANGE:
        made.data = conf_change(chance).SerializeToString()
    else:
        made.data = conf_change_v2(chance).SerializeToString()
    return made


def hard_state(chance: Random) -> pb.HardState:
    """Return a hard state."""
    term, vote, commit = pick(chance, TERMS), pick(chance, NODES), pick(chance, INDEXES)
    return pb.HardState(term=term, vote=vote, commit=commit)


def members(chance: Random) -> list[int]:
    """Return ids, mostly in order."""
    found = [pick(chance, NODES) for _ in range(below(chance, 4))]
    return sorted(set(found) - {0}) if chance.random() < 0.9 else found


def conf_state(chance: Random) -> pb.ConfState:
    """Return a membership, whether or not a group could have it."""
    made = pb.ConfState(voters=members(chance), auto_leave=chance.random() < 0.2)
    if chance.random() < 0.3:
        made.learners.extend(members(chance))
    if chance.random() < 0.3:
        made.voters_outgoing.extend(members(chance))
        made.learners_next.extend(members(chance))
    return made


def snapshot(chance: Random) -> pb.Snapshot:
    """Return a snapshot."""
    index, term = pick(chance, INDEXES), pick(chance, TERMS)
    made = pb.Snapshot(index=index, term=term, data=pick(chance, DATA))
    if chance.random() < 0.9:
        made.conf_state.CopyFrom(conf_state(chance))
    return made


def message(chance: Random, depth: int = 1) -> pb.Message:
    """Return a message of any type; what it carries need not fit it."""
    made = pb.Message(type=pick(chance, TYPES), to=pick(chance, NODES), sender=pick(chance, NODES))
    made.term = pick(chance, TERMS)
    made.index, made.log_term = pick(chance, INDEXES), pick(chance, TERMS)
    if chance.random() < 0.5:
        made.commit = pick(chance, INDEXES)
        made.entries.extend(entry(chance) for _ in range(below(chance, 4)))
    if chance.random() < 0.2:
        made.vote, made.context = pick(chance, NODES), pick(chance, DATA)
    if made.type == pb.Message.SNAP or chance.random() < 0.1:
        made.snapshot.CopyFrom(snapshot(chance))
    if chance.random() < 0.3:
        made.reject, made.reject_hint = True, pick(chance, INDEXES)
    if depth and chance.random() < 0.1:
        made.responses.extend(message(chance, depth - 1) for _ in range(below(chance, 3)))
    return made


Case = tuple[type[PbMessage], Callable[[Random], PbMessage], Callable[[bytes], object]]
CASES: tuple[Case, ...] = (
    *[(pb.Message, message, decode_message)] * 6,
    (pb.Entry, entry, decode_entry),
    (pb.HardState, hard_state, decode_hard_state),
    (pb.ConfState, conf_state, decode_conf_state),
    (pb.Snapshot, snapshot, decode_snapshot),
    (pb.ConfChange, conf_change, lambda data: decode_conf_change(EntryKind.CONF_CHANGE, data)),
    (
        pb.ConfChangeV2,
        conf_change_v2,
        lambda data: decode_conf_change(EntryKind.CONF_CHANGE_V2, data),
    ),
)


def outcome(decode: Callable[[bytes], object], data: bytes) -> object:
    """Return what *data* is decoded to, None if it is refused."""
    try:
        return decode(data)
    except MalformedMessage:
        return None


def check_decoders(chance: Random) -> None:
    """See that a decoder makes of an input what the protobuf package makes of it."""
    kind, make, decode = pick(chance, CASES)
    data = changed(chance, make(chance).SerializeToString())
    assert outcome(decode, data) == outcome(lambda data: reference.read(kind, data), data)
