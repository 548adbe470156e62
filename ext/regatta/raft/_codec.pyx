cimport cython
from cpython.bytes cimport PyBytes_AS_STRING
from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport uint64_t

from regatta.raft._message cimport CHANGE_ADD_LEARNER_NODE
from regatta.raft._message cimport ENTRY_CONF_CHANGE
from regatta.raft._message cimport ENTRY_CONF_CHANGE_V2
from regatta.raft._message cimport MSG_FORGET_LEADER
from regatta.raft._message cimport TRANSITION_JOINT_EXPLICIT
from regatta.raft._message cimport ConfChange
from regatta.raft._message cimport ConfState
from regatta.raft._message cimport HardState
from regatta.raft._message cimport Snapshot
from regatta.raft._message cimport entry_new
from regatta.raft._message cimport entry_size
from regatta.raft._message cimport hard_state_new
from regatta.wire._reader cimport KIND_BYTES
from regatta.wire._reader cimport KIND_VARINT
from regatta.wire._reader cimport Field
from regatta.wire._reader cimport field_next
from regatta.wire._sized cimport bytes_size
from regatta.wire._sized cimport bytes_write
from regatta.wire._sized cimport head_write
from regatta.wire._sized cimport message_field_size
from regatta.wire._sized cimport number_size
from regatta.wire._sized cimport number_write
from regatta.wire._varint cimport varint_read
from regatta.wire._varint cimport varint_size
from regatta.wire._varint cimport varint_write

from regatta.raft._message import EntryKind
from regatta.raft._message import MalformedMessage

cdef enum:                      # field numbers of Message that are needed in more than one place
    MESSAGE_ENTRIES = 7
    MESSAGE_SNAPSHOT = 10
    MESSAGE_RESPONSES = 14
    SNAPSHOT_CONF_STATE = 3
    CHANGE_CHANGES = 2


# Between here and Python.

def encode_message(Message message not None):
    cdef bytes made = room(message_size(message))
    message_write(start(made), message)
    return made


def decode_message(bytes data not None):
    return message_decode(slice_of(data))


def encode_entry(Entry entry not None):
    cdef bytes made = room(entry_size(entry))
    entry_write(start(made), entry)
    return made


def decode_entry(bytes data not None):
    return entry_decode(slice_of(data))


def encode_hard_state(HardState state not None):
    cdef bytes made = room(number_size(state.term) + number_size(state.vote)
                           + number_size(state.commit))
    cdef uint8_t *at = number_write(start(made), 1, state.term)
    at = number_write(at, 2, state.vote)
    number_write(at, 3, state.commit)
    return made


def decode_hard_state(bytes data not None):
    cdef Slice encoded = slice_of(data)
    cdef Field field
    cdef uint64_t term = 0, vote = 0, commit = 0
    while take_field(&encoded, &field):
        if field.kind == KIND_VARINT:
            if field.number == 1:
                term = field.value
            elif field.number == 2:
                vote = field.value
            elif field.number == 3:
                commit = field.value
    return hard_state_new(term, vote, commit)


def encode_conf_state(ConfState state not None):
    cdef bytes made = room(conf_state_size(state))
    conf_state_write(start(made), state)
    return made


def decode_conf_state(bytes data not None):
    cdef Parts parts = Parts()
    parts.add_conf_state(slice_of(data))
    return parts.conf_state()


def encode_snapshot(Snapshot snapshot not None):
    cdef bytes made = room(snapshot_size(snapshot))
    snapshot_write(start(made), snapshot)
    return made


def decode_snapshot(bytes data not None):
    cdef Parts parts = Parts()
    parts.add_snapshot(slice_of(data))
    return parts.snapshot()


def encode_conf_change(ConfChange change not None):
    cdef bytes made
    if change.v1:
        kind, node = change.changes[0]
        made = room(operation_size(kind, node) + bytes_size(len(change.context)))
        data_write(operation_write(start(made), kind, node), 3, change.context)
        return EntryKind.CONF_CHANGE, made
    made = room(changes_size(change))
    changes_write(start(made), change)
    return EntryKind.CONF_CHANGE_V2, made


def decode_conf_change(int kind, bytes data not None):
    if kind == ENTRY_CONF_CHANGE:
        return one_change_decode(slice_of(data))
    if kind == ENTRY_CONF_CHANGE_V2:
        return changes_decode(slice_of(data))
    raise ValueError(f"entries of kind {kind} hold no change of the membership")


# Sizes, and what may be encoded at all.

cdef size_t message_size(Message message) except? 0:
    cdef size_t size = numbers_size(message)
    cdef Entry entry
    cdef Message response
    check_count(len(message.entries), ENTRIES_MAX, "entries")
    for entry in message.entries:
        size += message_field_size(entry_size(entry))
    if message.snapshot is not None:
        size += message_field_size(snapshot_size(message.snapshot))
    check_count(len(message.responses), RESPONSES_MAX, "responses")
    for response in message.responses:
        check_count(len(response.responses), 0, "responses of a response")
        size += message_field_size(message_size(response))
    return size


cdef inline size_t numbers_size(Message message) except? 0:
    return (number_size(<uint64_t>message.type) + number_size(message.to)
            + number_size(message.sender) + number_size(message.term)
            + number_size(message.log_term) + number_size(message.index)
            + number_size(message.commit) + number_size(message.vote)
            + number_size(message.reject) + number_size(message.reject_hint)
            + bytes_size(len(message.context)))


cdef size_t snapshot_size(Snapshot snapshot) except? 0:
    return (number_size(snapshot.index) + number_size(snapshot.term)
            + bytes_size(conf_state_size(snapshot.conf_state)) + bytes_size(len(snapshot.data)))


cdef size_t conf_state_size(ConfState state) except? 0:
    return (bytes_size(members_size(state.voters)) + bytes_size(members_size(state.voters_outgoing))
            + bytes_size(members_size(state.learners))
            + bytes_size(members_size(state.learners_next)) + number_size(state.auto_leave))


cdef size_t members_size(tuple members) except? 0:
    cdef size_t size = 0
    cdef uint64_t node
    check_count(len(members), MEMBERS_MAX, "members")
    for node in members:
        if node == 0:
            raise ValueError("0 is nobody's id")
        size += varint_size(node)
    return size


cdef size_t changes_size(ConfChange change) except? 0:
    cdef size_t size = number_size(<uint64_t>change.transition) + bytes_size(len(change.context))
    check_count(len(change.changes), CHANGES_MAX, "changes")
    for kind, node in change.changes:
        size += message_field_size(operation_size(kind, node))
    return size


cdef size_t operation_size(uint64_t kind, uint64_t node) noexcept:
    return number_size(kind) + number_size(node)


cdef int check_count(Py_ssize_t count, Py_ssize_t count_max, str what) except -1:
    if count > count_max:
        raise ValueError(f"{count} {what}; at most {count_max} can be encoded")
    return 0


# Bytes.

cdef uint8_t *message_write(uint8_t *at, Message message) except NULL:
    cdef Entry entry
    cdef Message response
    at = number_write(at, 1, <uint64_t>message.type)
    at = number_write(at, 2, message.to)
    at = number_write(at, 3, message.sender)
    at = number_write(at, 4, message.term)
    at = number_write(at, 5, message.log_term)
    at = number_write(at, 6, message.index)
    for entry in message.entries:
        at = entry_write(head_write(at, MESSAGE_ENTRIES, entry_size(entry)), entry)
    at = number_write(at, 8, message.commit)
    at = number_write(at, 9, message.vote)
    if message.snapshot is not None:
        at = head_write(at, MESSAGE_SNAPSHOT, snapshot_size(message.snapshot))
        at = snapshot_write(at, message.snapshot)
    at = number_write(at, 11, message.reject)
    at = number_write(at, 12, message.reject_hint)
    at = data_write(at, 13, message.context)
    for response in message.responses:
        at = head_write(at, MESSAGE_RESPONSES, message_size(response))
        at = message_write(at, response)
    return at


cdef uint8_t *entry_write(uint8_t *at, Entry entry) except NULL:
    at = number_write(at, 1, entry.term)
    at = number_write(at, 2, entry.index)
    at = number_write(at, 3, <uint64_t>entry.kind)
    return data_write(at, 4, entry.data)


cdef uint8_t *snapshot_write(uint8_t *at, Snapshot snapshot) except NULL:
    cdef size_t members = conf_state_size(snapshot.conf_state)
    at = number_write(at, 1, snapshot.index)
    at = number_write(at, 2, snapshot.term)
    if members:
        at = head_write(at, SNAPSHOT_CONF_STATE, members)
        at = conf_state_write(at, snapshot.conf_state)
    return data_write(at, 4, snapshot.data)


cdef uint8_t *conf_state_write(uint8_t *at, ConfState state) except NULL:
    at = members_write(at, 1, state.voters)
    at = members_write(at, 2, state.voters_outgoing)
    at = members_write(at, 3, state.learners)
    at = members_write(at, 4, state.learners_next)
    return number_write(at, 5, state.auto_leave)


cdef uint8_t *members_write(uint8_t *at, int number, tuple members) except NULL:
    cdef uint64_t node
    if members:
        at = head_write(at, number, members_size(members))
        for node in members:
            at = varint_write(at, node)
    return at


cdef uint8_t *changes_write(uint8_t *at, ConfChange change) except NULL:
    at = number_write(at, 1, <uint64_t>change.transition)
    for kind, node in change.changes:
        at = head_write(at, CHANGE_CHANGES, operation_size(kind, node))
        at = operation_write(at, kind, node)
    return data_write(at, 3, change.context)


cdef uint8_t *operation_write(uint8_t *at, uint64_t kind, uint64_t node) noexcept:
    return number_write(number_write(at, 1, kind), 2, node)


cdef inline uint8_t *data_write(uint8_t *at, int number, bytes data) except NULL:
    return bytes_write(at, number, PyBytes_AS_STRING(data), len(data))


cdef inline bytes room(size_t size):
    return PyBytes_FromStringAndSize(NULL, size)


cdef inline uint8_t *start(bytes made) noexcept:
    return <uint8_t *>PyBytes_AS_STRING(made)


# Back from bytes. A field of another wire type than its own is an unknown one, and skipped.

cdef Message message_decode(Slice encoded):
    return message_decode_at(encoded, nested=False)


cdef Message message_decode_at(Slice encoded, bint nested):
    cdef Message message = Message.__new__(Message)
    cdef Parts snapshot = None
    cdef Field field
    while take_field(&encoded, &field):
        if field.kind == KIND_VARINT:
            number_set(message, &field)
        elif field.kind != KIND_BYTES:
            pass
        elif field.number == MESSAGE_ENTRIES:
            check_room(len(message.entries), ENTRIES_MAX, "entries")
            message.entries.append(entry_decode(field.bytes))
        elif field.number == MESSAGE_SNAPSHOT:
            if snapshot is None:
                snapshot = Parts()
            snapshot.add_snapshot(field.bytes)
        elif field.number == 13:
            message.context = bytes_of(field.bytes)
        elif field.number == MESSAGE_RESPONSES:
            check_room(len(message.responses), 0 if nested else RESPONSES_MAX, "responses")
            message.responses.append(message_decode_at(field.bytes, nested=True))
    check_choice(message.type, MSG_FORGET_LEADER, "type of message")
    if snapshot is not None:
        message.snapshot = snapshot.snapshot()
    return message


cdef inline void number_set(Message message, const Field *field) noexcept:
    if field.number == 1:
        message.type = <int>field.value
    elif field.number == 2:
        message.to = field.value
    elif field.number == 3:
        message.sender = field.value
    elif field.number == 4:
        message.term = field.value
    elif field.number == 5:
        message.log_term = field.value
    elif field.number == 6:
        message.index = field.value
    elif field.number == 8:
        message.commit = field.value
    elif field.number == 9:
        message.vote = field.value
    elif field.number == 11:
        message.reject = field.value != 0
    elif field.number == 12:
        message.reject_hint = field.value


cdef Entry entry_decode(Slice encoded):
    cdef Field field
    cdef uint64_t term = 0, index = 0
    cdef int kind = 0
    cdef Slice data
    data.data, data.size = NULL, 0
    while take_field(&encoded, &field):
        if field.kind == KIND_VARINT:
            if field.number == 1:
                term = field.value
            elif field.number == 2:
                index = field.value
            elif field.number == 3:
                kind = <int>field.value
        elif field.kind == KIND_BYTES and field.number == 4:
            data = field.bytes
    check_choice(kind, ENTRY_CONF_CHANGE_V2, "kind of entry")
    return entry_new(term, index, kind, bytes_of(data))


@cython.final
cdef class Parts:
    """A snapshot in the making: a message that comes in pieces is one with the fields of all."""

    cdef uint64_t index, term
    cdef bytes data
    cdef list voters, voters_outgoing, learners, learners_next
    cdef bint auto_leave

    def __cinit__(self):
        self.data = b""
        self.voters, self.voters_outgoing = [], []
        self.learners, self.learners_next = [], []

    cdef int add_snapshot(self, Slice encoded) except -1:
        cdef Field field
        while take_field(&encoded, &field):
            if field.kind == KIND_VARINT:
                if field.number == 1:
                    self.index = field.value
                elif field.number == 2:
                    self.term = field.value
            elif field.kind == KIND_BYTES:
                if field.number == SNAPSHOT_CONF_STATE:
                    self.add_conf_state(field.bytes)
                elif field.number == 4:
                    self.data = bytes_of(field.bytes)
        return 0

    cdef int add_conf_state(self, Slice encoded) except -1:
        cdef Field field
        while take_field(&encoded, &field):
            if field.number == 1:
                members_add(self.voters, &field)
            elif field.number == 2:
                members_add(self.voters_outgoing, &field)
            elif field.number == 3:
                members_add(self.learners, &field)
            elif field.number == 4:
                members_add(self.learners_next, &field)
            elif field.number == 5 and field.kind == KIND_VARINT:
                self.auto_leave = field.value != 0
        return 0

    cdef ConfState conf_state(self):
        cdef ConfState state = ConfState.__new__(ConfState)
        state.voters = members_of(self.voters)
        state.voters_outgoing = members_of(self.voters_outgoing)
        state.learners = members_of(self.learners)
        state.learners_next = members_of(self.learners_next)
        state.auto_leave = self.auto_leave
        return state

    cdef Snapshot snapshot(self):
        cdef Snapshot snapshot = Snapshot.__new__(Snapshot)
        snapshot.index, snapshot.term = self.index, self.term
        snapshot.conf_state, snapshot.data = self.conf_state(), self.data
        return snapshot


cdef int members_add(list members, const Field *field) except -1:
    """Add an id by itself, or any number of them packed; decoders must know both."""
    cdef const uint8_t *at = field.bytes.data
    cdef const uint8_t *end = at + field.bytes.size
    cdef uint64_t node
    if field.kind == KIND_VARINT:
        member_add(members, field.value)
    elif field.kind == KIND_BYTES:
        while at < end:
            at = varint_read(at, end, &node)
            if at == NULL:
                raise MalformedMessage("a list of ids is cut short")
            member_add(members, node)
    return 0


cdef int member_add(list members, uint64_t node) except -1:
    check_room(len(members), MEMBERS_MAX, "members")
    members.append(node)
    return 0


cdef tuple members_of(list members):
    cdef uint64_t node, before = 0      # which is nobody's id
    for node in members:
        if node <= before:
            raise MalformedMessage("the ids of a membership are not in ascending order")
        before = node
    return tuple(members)


cdef ConfChange one_change_decode(Slice encoded):
    cdef Field field
    cdef uint64_t kind = 0, node = 0
    cdef bytes context = b""
    while take_field(&encoded, &field):
        if field.kind == KIND_VARINT:
            operation_set(&field, &kind, &node)
        elif field.kind == KIND_BYTES and field.number == 3:
            context = bytes_of(field.bytes)
    return ConfChange([checked_operation(kind, node)], context=context, v1=True)


cdef ConfChange changes_decode(Slice encoded):
    cdef Field field
    cdef int transition = 0
    cdef bytes context = b""
    cdef list changes = []
    while take_field(&encoded, &field):
        if field.kind == KIND_VARINT and field.number == 1:
            transition = <int>field.value
        elif field.kind != KIND_BYTES:
            pass
        elif field.number == CHANGE_CHANGES:
            check_room(len(changes), CHANGES_MAX, "changes")
            changes.append(operation_decode(field.bytes))
        elif field.number == 3:
            context = bytes_of(field.bytes)
    check_choice(transition, TRANSITION_JOINT_EXPLICIT, "transition")
    return ConfChange(changes, transition, context)


cdef tuple operation_decode(Slice encoded):
    cdef Field field
    cdef uint64_t kind = 0, node = 0
    while take_field(&encoded, &field):
        if field.kind == KIND_VARINT:
            operation_set(&field, &kind, &node)
    return checked_operation(kind, node)


cdef inline void operation_set(const Field *field, uint64_t *kind, uint64_t *node) noexcept:
    if field.number == 1:
        kind[0] = field.value
    elif field.number == 2:
        node[0] = field.value


cdef tuple checked_operation(uint64_t kind, uint64_t node):
    check_choice(<int>kind, CHANGE_ADD_LEARNER_NODE, "kind of change")
    return <int>kind, node


cdef inline int take_field(Slice *rest, Field *field) except -1:
    cdef int code = field_next(rest, field)
    if code < 0:
        raise MalformedMessage("a message is cut short, or is no message")
    return code


cdef inline int check_choice(int value, int value_max, str what) except -1:
    if not 0 <= value <= value_max:
        raise MalformedMessage(f"there is no {what} {value}")
    return 0


cdef inline int check_room(Py_ssize_t count, Py_ssize_t count_max, str what) except -1:
    if count >= count_max:
        raise MalformedMessage(f"more than {count_max} {what}")
    return 0


cdef inline Slice slice_of(bytes data) noexcept:
    cdef Slice made
    made.data, made.size = <const uint8_t *>PyBytes_AS_STRING(data), len(data)
    return made


cdef inline bytes bytes_of(Slice data):
    return PyBytes_FromStringAndSize(<const char *>data.data, data.size)
