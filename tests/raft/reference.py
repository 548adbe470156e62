"""What the protobuf package makes of the encodings, as the values that the codec makes of them."""

from collections.abc import Callable, Sequence
from enum import IntEnum
from typing import Any

from google.protobuf.message import DecodeError
from google.protobuf.message import Message as PbMessage

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

# From bytes. What protobuf takes and we don't: unknown values of enums, ids out of order, and
# responses of responses.


def read(kind: type[PbMessage], data: bytes) -> object:
    """Return what *data* encodes. Raises MalformedMessage."""
    try:
        parsed = kind.FromString(data)
    except DecodeError as error:
        raise MalformedMessage from error
    return READERS[kind](parsed)


def check(good: object) -> None:
    """Refuse what is no message of ours."""
    if not good:
        raise MalformedMessage


def is_known(value: int, kind: type[IntEnum]) -> bool:
    """Tell whether an enum of ours has a value."""
    return value in list(kind)


def entry(parsed: pb.Entry) -> Entry:
    """Return a parsed entry as ours."""
    check(is_known(parsed.kind, EntryKind))
    return Entry(parsed.term, parsed.index, parsed.kind, parsed.data)


def hard_state(parsed: pb.HardState) -> HardState:
    """Return a parsed hard state as ours."""
    return HardState(parsed.term, parsed.vote, parsed.commit)


def conf_state(parsed: pb.ConfState) -> ConfState:
    """Return a parsed membership as ours."""
    lists = parsed.voters, parsed.voters_outgoing, parsed.learners, parsed.learners_next
    check(all(is_ascending(ids) for ids in lists))
    return ConfState(*lists, auto_leave=parsed.auto_leave)


def is_ascending(ids: Sequence[int]) -> bool:
    """Tell whether ids are in order, each there once and none of them 0."""
    return list(ids) == sorted(set(ids) - {0})


def snapshot(parsed: pb.Snapshot) -> Snapshot:
    """Return a parsed snapshot as ours."""
    return Snapshot(parsed.index, parsed.term, conf_state(parsed.conf_state), parsed.data)


def one_change(parsed: pb.ConfChange) -> ConfChange:
    """Return a parsed change of the older form as ours."""
    check(is_known(parsed.kind, ChangeKind))
    return ConfChange([(parsed.kind, parsed.node)], context=parsed.context, v1=True)


def changes(parsed: pb.ConfChangeV2) -> ConfChange:
    """Return a parsed change of the newer form as ours."""
    check(is_known(parsed.transition, Transition))
    check(all(is_known(one.kind, ChangeKind) for one in parsed.changes))
    operations = [(one.kind, one.node) for one in parsed.changes]
    return ConfChange(operations, parsed.transition, parsed.context)


def message(parsed: pb.Message) -> Message:
    """Return a parsed message as ours."""
    check(is_known(parsed.type, MessageType))
    check(not any(response.responses for response in parsed.responses))
    return Message(
        parsed.type,
        to=parsed.to,
        sender=parsed.sender,
        term=parsed.term,
        log_term=parsed.log_term,
        index=parsed.index,
        entries=[entry(one) for one in parsed.entries],
        commit=parsed.commit,
        vote=parsed.vote,
        snapshot=snapshot(parsed.snapshot) if parsed.HasField("snapshot") else None,
        reject=parsed.reject,
        reject_hint=parsed.reject_hint,
        context=parsed.context,
        responses=[message(response) for response in parsed.responses],
    )


READERS: dict[type[PbMessage], Callable[[Any], object]] = {
    pb.Entry: entry,
    pb.HardState: hard_state,
    pb.ConfState: conf_state,
    pb.Snapshot: snapshot,
    pb.ConfChange: one_change,
    pb.ConfChangeV2: changes,
    pb.Message: message,
}


# And back.


def enum(value: int) -> Any:
    """Return what protobuf's stubs take for a value of any enum."""
    return value


def pb_entry(value: Entry) -> pb.Entry:
    """Return an entry of ours as protobuf's."""
    return pb.Entry(term=value.term, index=value.index, kind=enum(value.kind), data=value.data)


def pb_hard_state(value: HardState) -> pb.HardState:
    """Return a hard state of ours as protobuf's."""
    return pb.HardState(term=value.term, vote=value.vote, commit=value.commit)


def pb_conf_state(value: ConfState) -> pb.ConfState:
    """Return a membership of ours as protobuf's."""
    return pb.ConfState(
        voters=value.voters,
        voters_outgoing=value.voters_outgoing,
        learners=value.learners,
        learners_next=value.learners_next,
        auto_leave=value.auto_leave,
    )


def pb_snapshot(value: Snapshot) -> pb.Snapshot:
    """Return a snapshot of ours as protobuf's; of an empty membership there is nothing to say."""
    made = pb.Snapshot(index=value.index, term=value.term, data=value.data)
    if value.conf_state != ConfState():
        made.conf_state.CopyFrom(pb_conf_state(value.conf_state))
    return made


def pb_conf_change(value: ConfChange) -> pb.ConfChange | pb.ConfChangeV2:
    """Return a change of ours as protobuf's, in the form that it has."""
    if value.v1:
        kind, node = value.changes[0]
        return pb.ConfChange(kind=enum(kind), node=node, context=value.context)
    made = pb.ConfChangeV2(transition=enum(value.transition), context=value.context)
    for kind, node in value.changes:
        made.changes.add(kind=enum(kind), node=node)
    return made


def pb_message(value: Message) -> pb.Message:
    """Return a message of ours as protobuf's."""
    return pb.Message(
        type=enum(value.type),
        to=value.to,
        sender=value.sender,
        term=value.term,
        log_term=value.log_term,
        index=value.index,
        entries=[pb_entry(one) for one in value.entries],
        commit=value.commit,
        vote=value.vote,
        snapshot=None if value.snapshot is None else pb_snapshot(value.snapshot),
        reject=value.reject,
        reject_hint=value.reject_hint,
        context=value.context,
        responses=[pb_message(response) for response in value.responses],
    )
