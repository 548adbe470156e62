cimport cython

from enum import IntEnum


class EntryKind(IntEnum):
    """What an entry's data is."""

    NORMAL = 0
    CONF_CHANGE = 1
    CONF_CHANGE_V2 = 2


class MessageType(IntEnum):
    """What a message asks or answers."""

    HUP = 0
    BEAT = 1
    PROP = 2
    APP = 3
    APP_RESP = 4
    VOTE = 5
    VOTE_RESP = 6
    SNAP = 7
    HEARTBEAT = 8
    HEARTBEAT_RESP = 9
    UNREACHABLE = 10
    SNAP_STATUS = 11
    CHECK_QUORUM = 12
    TRANSFER_LEADER = 13
    TIMEOUT_NOW = 14
    READ_INDEX = 15
    READ_INDEX_RESP = 16
    PRE_VOTE = 17
    PRE_VOTE_RESP = 18
    STORAGE_APPEND = 19
    STORAGE_APPEND_RESP = 20
    STORAGE_APPLY = 21
    STORAGE_APPLY_RESP = 22
    FORGET_LEADER = 23


class Role(IntEnum):
    """What a replica is at the moment."""

    FOLLOWER = 0
    CANDIDATE = 1
    LEADER = 2
    PRE_CANDIDATE = 3


class ProgressState(IntEnum):
    """How a leader sends to a peer."""

    PROBE = 0
    REPLICATE = 1
    SNAPSHOT = 2


class Transition(IntEnum):
    """How a change of the membership is carried out."""

    AUTO = 0
    JOINT_IMPLICIT = 1
    JOINT_EXPLICIT = 2


class ChangeKind(IntEnum):
    """What is to become of one node."""

    ADD_NODE = 0
    REMOVE_NODE = 1
    UPDATE_NODE = 2
    ADD_LEARNER_NODE = 3


NO_NODE = no_node()
APPEND_THREAD = append_thread()
APPLY_THREAD = apply_thread()


class MalformedMessage(ValueError):
    """Bytes that are no encoding of what they were said to be."""


@cython.final
@cython.freelist(1024)
@cython.no_gc
cdef class Entry:

    def __init__(self, uint64_t term=0, uint64_t index=0, int kind=ENTRY_NORMAL,
                 bytes data not None=b""):
        _check_range("kind", kind, ENTRY_CONF_CHANGE_V2)
        self.term = term
        self.index = index
        self.kind = kind
        self.data = data

    @property
    def size(self):
        """Return the number of bytes of its encoding."""
        return entry_size(self)

    def __eq__(self, other):
        if not isinstance(other, Entry):
            return NotImplemented
        cdef Entry entry = other
        return (self.term == entry.term and self.index == entry.index
                and self.kind == entry.kind and self.data == entry.data)

    def __repr__(self):
        return f"Entry(term={self.term}, index={self.index}, kind={self.kind}, data={self.data!r})"


cdef Entry entry_new(uint64_t term, uint64_t index, int kind, bytes data):
    cdef Entry entry = Entry.__new__(Entry)
    entry.term = term
    entry.index = index
    entry.kind = kind
    entry.data = data
    return entry


@cython.final
cdef class HardState:

    def __init__(self, uint64_t term=0, uint64_t vote=0, uint64_t commit=0):
        self.term = term
        self.vote = vote
        self.commit = commit

    def __eq__(self, other):
        if not isinstance(other, HardState):
            return NotImplemented
        cdef HardState state = other
        return (self.term == state.term and self.vote == state.vote
                and self.commit == state.commit)

    def __bool__(self):
        return not hard_state_is_empty(self)

    def __repr__(self):
        return f"HardState(term={self.term}, vote={self.vote}, commit={self.commit})"


cdef HardState hard_state_new(uint64_t term, uint64_t vote, uint64_t commit):
    cdef HardState state = HardState.__new__(HardState)
    state.term = term
    state.vote = vote
    state.commit = commit
    return state


@cython.final
cdef class ConfState:

    def __init__(self, voters=(), voters_outgoing=(), learners=(), learners_next=(),
                 bint auto_leave=False):
        self.voters = _sorted_ids(voters)
        self.voters_outgoing = _sorted_ids(voters_outgoing)
        self.learners = _sorted_ids(learners)
        self.learners_next = _sorted_ids(learners_next)
        self.auto_leave = auto_leave

    def __eq__(self, other):
        if not isinstance(other, ConfState):
            return NotImplemented
        cdef ConfState state = other
        return (self.voters == state.voters and self.voters_outgoing == state.voters_outgoing
                and self.learners == state.learners
                and self.learners_next == state.learners_next
                and self.auto_leave == state.auto_leave)

    def __repr__(self):
        return (f"ConfState(voters={self.voters}, voters_outgoing={self.voters_outgoing}, "
                f"learners={self.learners}, learners_next={self.learners_next}, "
                f"auto_leave={self.auto_leave})")


cdef tuple _sorted_ids(ids):
    cdef uint64_t node
    cdef list checked = []
    for node in set(ids):       # the assignment refuses what is no id
        checked.append(node)
    return tuple(sorted(checked))


@cython.final
cdef class Snapshot:

    def __init__(self, uint64_t index=0, uint64_t term=0, ConfState conf_state=None,
                 bytes data not None=b""):
        self.index = index
        self.term = term
        self.conf_state = ConfState() if conf_state is None else conf_state
        self.data = data

    def __eq__(self, other):
        if not isinstance(other, Snapshot):
            return NotImplemented
        cdef Snapshot snapshot = other
        return (self.index == snapshot.index and self.term == snapshot.term
                and self.conf_state == snapshot.conf_state and self.data == snapshot.data)

    def __repr__(self):
        return (f"Snapshot(index={self.index}, term={self.term}, "
                f"conf_state={self.conf_state!r}, data={self.data!r})")


@cython.final
cdef class ConfChange:

    def __init__(self, changes=(), int transition=TRANSITION_AUTO, bytes context not None=b"",
                 bint v1=False):
        cdef int kind
        cdef uint64_t node
        cdef list checked = []
        _check_range("transition", transition, TRANSITION_JOINT_EXPLICIT)
        for kind, node in changes:
            checked.append((ChangeKind(kind), node))
        if v1 and (len(checked) != 1 or transition != TRANSITION_AUTO):
            raise ValueError("a v1 change has exactly one operation and no transition")
        self.changes = tuple(checked)
        self.transition = transition
        self.context = context
        self.v1 = v1

    def __eq__(self, other):
        if not isinstance(other, ConfChange):
            return NotImplemented
        cdef ConfChange change = other
        return (self.changes == change.changes and self.transition == change.transition
                and self.context == change.context and self.v1 == change.v1)

    def __repr__(self):
        changes = ", ".join(f"({kind.name}, {node})" for kind, node in self.changes)
        return (f"ConfChange(changes=({changes}), transition={self.transition}, "
                f"context={self.context!r}, v1={self.v1})")


@cython.final
@cython.freelist(256)
cdef class Message:

    def __cinit__(self):
        self.entries = []
        self.responses = []
        self.context = b""

    def __init__(self, int type=MSG_HUP, *, uint64_t to=0, uint64_t sender=0, uint64_t term=0,
                 uint64_t log_term=0, uint64_t index=0, list entries=None, uint64_t commit=0,
                 uint64_t vote=0, Snapshot snapshot=None, bint reject=False,
                 uint64_t reject_hint=0, bytes context not None=b"", list responses=None):
        _check_range("type", type, MSG_FORGET_LEADER)
        self.type = type
        self.to = to
        self.sender = sender
        self.term = term
        self.log_term = log_term
        self.index = index
        self.commit = commit
        self.vote = vote
        self.snapshot = snapshot
        self.reject = reject
        self.reject_hint = reject_hint
        self.context = context
        if entries is not None:
            self.entries = entries
        if responses is not None:
            self.responses = responses

    def __eq__(self, other):
        if not isinstance(other, Message):
            return NotImplemented
        cdef Message message = other
        return (self.type == message.type and self.to == message.to
                and self.sender == message.sender and self.term == message.term
                and self.log_term == message.log_term and self.index == message.index
                and self.commit == message.commit and self.vote == message.vote
                and self.reject == message.reject and self.reject_hint == message.reject_hint
                and self.entries == message.entries and self.context == message.context
                and self.snapshot == message.snapshot and self.responses == message.responses)

    def __repr__(self):
        shown = [f"MessageType.{MessageType(self.type).name}"]
        for name in ("to", "sender", "term", "log_term", "index", "entries", "commit", "vote",
                     "snapshot", "reject", "reject_hint", "context", "responses"):
            value = getattr(self, name)
            if value:
                shown.append(f"{name}={value!r}")
        return f"Message({', '.join(shown)})"


cdef Message message_new(int type, uint64_t to):
    cdef Message message = Message.__new__(Message)
    message.type = type
    message.to = to
    return message


cdef int _check_range(str name, int value, int value_max) except -1:
    if not 0 <= value <= value_max:
        raise ValueError(f"{name} is {value}, not one of 0 to {value_max}")
    return 0
