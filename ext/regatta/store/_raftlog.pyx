"""The durable log of every Raft group of a node, in one environment.

``data``: group id and index (8 bytes each, big-endian) -> checksum, kind, term, payload.
``meta``: ``s`` + group id -> what the group has promised and how far it is compacted.
"""
cimport cython
from libc.stddef cimport size_t
from libc.stdint cimport uint8_t
from libc.stdint cimport uint32_t
from libc.stdint cimport uint64_t
from libc.string cimport memcmp
from libc.string cimport memcpy

from cpython.bytes cimport PyBytes_FromStringAndSize

from regatta.raft._message cimport Entry
from regatta.raft._message cimport HardState
from regatta.raft._message cimport entry_new
from regatta.raft._message cimport entry_size
from regatta.raft._message cimport hard_state_new
from regatta.raft._stable cimport Backing
from regatta.store._env cimport cursor_close
from regatta.store._env cimport cursor_delete
from regatta.store._env cimport cursor_get
from regatta.store._env cimport cursor_open
from regatta.store._env cimport error_text
from regatta.store._env cimport put
from regatta.store._env cimport txn_abort
from regatta.store._env cimport txn_begin
from regatta.store._lmdb_h cimport MDB_LAST
from regatta.store._lmdb_h cimport MDB_NEXT
from regatta.store._lmdb_h cimport MDB_NOTFOUND
from regatta.store._lmdb_h cimport MDB_PREV
from regatta.store._lmdb_h cimport MDB_RDONLY
from regatta.store._lmdb_h cimport MDB_RESERVE
from regatta.store._lmdb_h cimport MDB_SET_RANGE
from regatta.store._lmdb_h cimport MDB_cursor
from regatta.store._lmdb_h cimport MDB_txn
from regatta.store._lmdb_h cimport MDB_val
from regatta.store._record cimport number_read
from regatta.store._record cimport number_write
from regatta.store._record cimport stored_checksum
from regatta.store._record cimport stored_is_whole
from regatta.store._turns cimport Item
from regatta.store._turns cimport TurnWriter
from regatta.store._turns cimport item_data

from typing import NamedTuple

from regatta.errors import StartError

cdef enum:
    ITEM_ENTRY = 1
    ITEM_STATE = 2
    ITEM_TRUNCATE = 3
    ITEM_COMPACT = 4
    ITEM_RESET = 5

cdef struct EntryHead:          # then the payload; all little-endian
    uint32_t checksum           # of the key and of everything after this field
    uint32_t kind               # 0: a command; others are Raft's own
    uint64_t term

cdef struct StateRecord:
    uint32_t checksum           # of the key and of everything after this field
    uint32_t reserved
    uint64_t term
    uint64_t vote               # node id, 0 for none
    uint64_t commit
    uint64_t compacted_index    # entries up to here are gone; 0 for none
    uint64_t compacted_term

cdef enum:
    STATE_KEY_SIZE = 9
    ENTRY_KEY_SIZE = 16

cdef uint64_t NO_INDEX = <uint64_t>-1


class GroupState(NamedTuple):
    """What a group has promised, and where its log begins."""

    term: int
    vote: int = 0
    commit: int = 0
    compacted_index: int = 0
    compacted_term: int = 0


cdef inline void entry_key(uint8_t *key, uint64_t group, uint64_t index) noexcept nogil:
    number_write(key, group)
    number_write(key + 8, index)


cdef inline void state_key(uint8_t *key, uint64_t group) noexcept nogil:
    key[0] = c's'
    number_write(key + 1, group)


@cython.final
cdef class RaftLog(TurnWriter):
    """The log of every group, committed turn by turn with a full sync."""

    def group(self, uint64_t group, state=None):
        """Return the log of one group; *state* is what `states` has for it, None if nothing."""
        return GroupLog(self, group, GroupState(0) if state is None else state)

    cdef int write_item(self, MDB_txn *txn, const Item *item) noexcept nogil:
        cdef int code
        if item.kind == ITEM_ENTRY:
            return self._write_entry(txn, item)
        if item.kind == ITEM_TRUNCATE:
            return self._delete_entries(txn, item.group, item.index, NO_INDEX)
        code = self._write_state(txn, item.group, <const StateRecord *>item_data(item))
        if code == 0 and item.kind == ITEM_COMPACT:
            code = self._delete_entries(txn, item.group, 0, item.index)
        elif code == 0 and item.kind == ITEM_RESET:
            code = self._delete_entries(txn, item.group, 0, NO_INDEX)
        return code

    cdef int _write_entry(self, MDB_txn *txn, const Item *item) noexcept nogil:
        cdef uint8_t[ENTRY_KEY_SIZE] key_bytes
        cdef MDB_val key, value
        cdef EntryHead head
        cdef int code
        entry_key(key_bytes, item.group, item.index)
        key.mv_data, key.mv_size = key_bytes, ENTRY_KEY_SIZE
        value.mv_data, value.mv_size = NULL, sizeof(EntryHead) + item.size
        code = put(txn, self.environment.data, &key, &value, MDB_RESERVE)
        if code != 0:
            return code
        head.checksum, head.kind, head.term = 0, item.entry_kind, item.term
        memcpy(value.mv_data, &head, sizeof(head))
        memcpy(<uint8_t *>value.mv_data + sizeof(head), item_data(item), item.size)
        head.checksum = stored_checksum(&key, &value)
        memcpy(value.mv_data, &head.checksum, sizeof(head.checksum))
        return 0

    cdef int _write_state(self, MDB_txn *txn, uint64_t group, const StateRecord *state) noexcept nogil:
        cdef uint8_t[STATE_KEY_SIZE] key_bytes
        cdef StateRecord record = state[0]
        cdef MDB_val key, value
        state_key(key_bytes, group)
        key.mv_data, key.mv_size = key_bytes, STATE_KEY_SIZE
        value.mv_data, value.mv_size = &record, sizeof(record)
        record.checksum = stored_checksum(&key, &value)
        return put(txn, self.environment.meta, &key, &value, 0)

    cdef int _delete_entries(self, MDB_txn *txn, uint64_t group, uint64_t first,
                             uint64_t last) noexcept nogil:
        cdef uint8_t[ENTRY_KEY_SIZE] first_bytes
        cdef uint8_t[ENTRY_KEY_SIZE] last_bytes
        cdef MDB_cursor *cursor = NULL
        cdef MDB_val key, value
        cdef int code = cursor_open(txn, self.environment.data, &cursor)
        if code != 0:
            return code
        entry_key(first_bytes, group, first)
        entry_key(last_bytes, group, last)
        key.mv_data, key.mv_size = first_bytes, ENTRY_KEY_SIZE
        code = cursor_get(cursor, &key, &value, MDB_SET_RANGE)
        while code == 0 and memcmp(key.mv_data, last_bytes, ENTRY_KEY_SIZE) <= 0:
            code = cursor_delete(cursor)
            if code == 0:
                code = cursor_get(cursor, &key, &value, MDB_NEXT)
        cursor_close(cursor)
        return 0 if code == MDB_NOTFOUND else code

    def states(self):
        """Return {group id: GroupState} as stored. Raises StartError for a damaged record."""
        cdef MDB_cursor *cursor = NULL
        cdef MDB_txn *txn = NULL
        cdef MDB_val key, value
        cdef StateRecord record
        found = {}
        self._begin(&txn)
        try:
            cursor_open(txn, self.environment.meta, &cursor)
            key.mv_data, key.mv_size = <char *>b"s", 1
            code = cursor_get(cursor, &key, &value, MDB_SET_RANGE)
            while code == 0 and (<uint8_t *>key.mv_data)[0] == c's' and key.mv_size == STATE_KEY_SIZE:
                group = number_read(<uint8_t *>key.mv_data + 1)
                if value.mv_size != sizeof(record) or not stored_is_whole(&key, &value):
                    raise self._damaged(f"the state of group {group}")
                memcpy(&record, value.mv_data, sizeof(record))
                found[group] = GroupState(record.term, record.vote, record.commit,
                                          record.compacted_index, record.compacted_term)
                code = cursor_get(cursor, &key, &value, MDB_NEXT)
            if code != 0 and code != MDB_NOTFOUND:
                raise self._damaged(error_text(code).decode())
        finally:
            if cursor != NULL:
                cursor_close(cursor)
            txn_abort(txn)
        return found

    def last_index(self, uint64_t group):
        """Return the index of a group's last entry, or 0 if it has none."""
        cdef uint8_t[ENTRY_KEY_SIZE] key_bytes
        cdef MDB_cursor *cursor = NULL
        cdef MDB_txn *txn = NULL
        cdef MDB_val key, value
        cdef uint64_t found = 0
        cdef int code
        self._begin(&txn)
        code = cursor_open(txn, self.environment.data, &cursor)
        if code == 0:
            entry_key(key_bytes, group + 1, 0)
            key.mv_data, key.mv_size = key_bytes, ENTRY_KEY_SIZE
            code = cursor_get(cursor, &key, &value, MDB_SET_RANGE)
            code = cursor_get(cursor, &key, &value, MDB_LAST if code == MDB_NOTFOUND else MDB_PREV)
            if code == 0 and number_read(<uint8_t *>key.mv_data) == group:
                found = number_read(<uint8_t *>key.mv_data + 8)
            cursor_close(cursor)
        txn_abort(txn)
        if code != 0 and code != MDB_NOTFOUND:
            raise self._damaged(error_text(code).decode())
        return found

    def read(self, uint64_t group, uint64_t low, uint64_t high, uint64_t bytes_max):
        """Return a group's durable entries in [low, high) or up to the last, oldest first.

        Stops before their encoded sizes sum up to more than *bytes_max*, yet returns at least one
        entry if there is any. Raises StartError if an entry is damaged or missing.
        """
        cdef uint8_t[ENTRY_KEY_SIZE] key_bytes
        cdef MDB_cursor *cursor = NULL
        cdef MDB_txn *txn = NULL
        cdef MDB_val key, value
        cdef Entry entry
        cdef uint64_t expected = low
        cdef uint64_t size = 0
        cdef int code
        found = []
        self._begin(&txn)
        try:
            cursor_open(txn, self.environment.data, &cursor)
            entry_key(key_bytes, group, low)
            key.mv_data, key.mv_size = key_bytes, ENTRY_KEY_SIZE
            code = cursor_get(cursor, &key, &value, MDB_SET_RANGE)
            while (code == 0 and expected < high
                   and number_read(<uint8_t *>key.mv_data) == group):
                entry = self._entry_at(&key, &value, expected)
                size += entry_size(entry)
                if size > bytes_max and found:
                    break
                found.append(entry)
                expected += 1
                code = cursor_get(cursor, &key, &value, MDB_NEXT)
            if code != 0 and code != MDB_NOTFOUND:
                raise self._damaged(error_text(code).decode())
        finally:
            if cursor != NULL:
                cursor_close(cursor)
            txn_abort(txn)
        return found

    cdef Entry _entry_at(self, const MDB_val *key, const MDB_val *value, uint64_t expected):
        """Take a stored entry apart, which must be whole and have the index *expected*."""
        cdef EntryHead head
        cdef uint64_t group = number_read(<uint8_t *>key.mv_data)
        cdef uint64_t index = number_read(<uint8_t *>key.mv_data + 8)
        if index != expected:
            raise self._damaged(f"entry {expected} of group {group} is missing")
        if value.mv_size < sizeof(head) or not stored_is_whole(key, value):
            raise self._damaged(f"entry {index} of group {group}")
        memcpy(&head, value.mv_data, sizeof(head))
        return entry_new(head.term, index, <int>head.kind, PyBytes_FromStringAndSize(
            <char *>value.mv_data + sizeof(head), <Py_ssize_t>(value.mv_size - sizeof(head))))

    cdef int _begin(self, MDB_txn **txn) except -1:
        cdef int code = txn_begin(self.environment.env, NULL, MDB_RDONLY, txn)
        if code != 0:
            raise StartError(f"can't read {self.environment.path}: {error_text(code).decode()}")
        return 0

    def _damaged(self, what):
        return StartError(f"the log in {self.environment.path} is damaged: {what}",
                          "restore both directories from a copy of the same moment")


@cython.final
cdef class GroupLog(Backing):
    """One group's part of the node's log: what its StableLog is kept in.

    Writes queue up for the log thread, which begins on them at the next `RaftLog.flush`; they are
    durable once `RaftLog.committed` has reached what `RaftLog.queued` is after them.
    """

    cdef RaftLog log
    cdef uint64_t group
    cdef StateRecord state      # as it is once everything queued is written

    def __init__(self, RaftLog log not None, uint64_t group, state not None):
        self.log = log
        self.group = group
        self.state.checksum = self.state.reserved = 0
        (self.state.term, self.state.vote, self.state.commit,
         self.state.compacted_index, self.state.compacted_term) = state

    cpdef tuple load(self):
        # Where all entries have been removed, the log ends with the last of those.
        last = max(self.log.last_index(self.group), self.state.compacted_index)
        hard_state = hard_state_new(self.state.term, self.state.vote, self.state.commit)
        return hard_state, self.state.compacted_index, self.state.compacted_term, last

    cpdef list read(self, uint64_t low, uint64_t high, uint64_t bytes_max):
        return self.log.read(self.group, low, high, bytes_max)

    cpdef void set_hard_state(self, HardState state) except *:
        self.state.term, self.state.vote, self.state.commit = state.term, state.vote, state.commit
        self._queue_with_state(ITEM_STATE, 0)

    cpdef void truncate(self, uint64_t first) except *:
        self.log.enqueue(ITEM_TRUNCATE, 0, self.group, first, 0, NULL, 0)

    cpdef void append(self, list entries) except *:
        cdef Entry entry
        for entry in entries:
            self.log.enqueue(ITEM_ENTRY, <uint32_t>entry.kind, self.group, entry.index, entry.term,
                             <const uint8_t *><char *>entry.data, <size_t>len(entry.data))

    cpdef void compact(self, uint64_t index, uint64_t term) except *:
        if index > self.state.compacted_index:
            self.state.compacted_index, self.state.compacted_term = index, term
            self._queue_with_state(ITEM_COMPACT, index)

    cpdef void reset(self, uint64_t index, uint64_t term) except *:
        self.state.compacted_index, self.state.compacted_term = index, term
        self._queue_with_state(ITEM_RESET, 0)

    cdef int _queue_with_state(self, uint32_t kind, uint64_t index) except -1:
        """Queue an item that writes the state along with what else it does."""
        return self.log.enqueue(kind, 0, self.group, index, 0,
                                <const uint8_t *>&self.state, sizeof(self.state))
