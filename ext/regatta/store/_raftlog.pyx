"""The durable log of every Raft group of a node, in one environment.

``data``: group id and index (8 bytes each, big-endian) -> checksum, kind, term, payload.
``meta``: ``s`` + group id -> what the group has promised and how far it is compacted.
"""
cimport cython
from libc.errno cimport EINVAL
from libc.stdint cimport uint8_t
from libc.stdint cimport uint32_t
from libc.stdint cimport uint64_t
from libc.string cimport memcmp
from libc.string cimport memcpy

from cpython.bytes cimport PyBytes_FromStringAndSize

from regatta.store._env cimport cursor_close
from regatta.store._env cimport cursor_delete
from regatta.store._env cimport cursor_get
from regatta.store._env cimport cursor_open
from regatta.store._env cimport error_text
from regatta.store._env cimport get
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
    ITEM_COMPACT = 3

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


class GroupState(NamedTuple):
    """What a group has promised, and where its log begins."""

    term: int
    vote: int = 0
    commit: int = 0
    compacted_index: int = 0
    compacted_term: int = 0


class Entry(NamedTuple):
    """One log entry; *kind* 0 is a command."""

    index: int
    term: int
    kind: int
    payload: bytes


cdef inline void entry_key(uint8_t *key, uint64_t group, uint64_t index) noexcept nogil:
    number_write(key, group)
    number_write(key + 8, index)


cdef inline void state_key(uint8_t *key, uint64_t group) noexcept nogil:
    key[0] = c's'
    number_write(key + 1, group)


@cython.final
cdef class RaftLog(TurnWriter):
    """Appends, state changes and compactions, committed turn by turn with a full sync."""

    def append(self, uint64_t group, uint64_t index, uint64_t term, bytes payload not None,
               uint32_t kind=0):
        """Queue an entry; it is durable once `committed` has reached the present `queued`."""
        self.enqueue(ITEM_ENTRY, kind, group, index, term,
                     <const uint8_t *><char *>payload, len(payload))

    def set_state(self, uint64_t group, state not None):
        """Queue a group's state; it takes the place of the stored one."""
        cdef StateRecord record
        record.checksum = record.reserved = 0
        (record.term, record.vote, record.commit,
         record.compacted_index, record.compacted_term) = state
        self.enqueue(ITEM_STATE, 0, group, 0, 0, <const uint8_t *>&record, sizeof(record))

    def compact(self, uint64_t group, uint64_t index):
        """Queue the removal of a group's entries up to and including *index*.

        The data must be synced with that much applied before. One transaction removes them
        all: ask for some ten thousand at most.
        """
        self.enqueue(ITEM_COMPACT, 0, group, index, 0, NULL, 0)

    cdef int write_item(self, MDB_txn *txn, const Item *item) noexcept nogil:
        if item.kind == ITEM_ENTRY:
            return self._write_entry(txn, item)
        if item.kind == ITEM_STATE:
            return self._write_state(txn, item.group, <const StateRecord *>item_data(item))
        return self._compact(txn, item.group, item.index)

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

    cdef int _compact(self, MDB_txn *txn, uint64_t group, uint64_t index) noexcept nogil:
        cdef uint8_t[STATE_KEY_SIZE] state_key_bytes
        cdef MDB_val key, value
        cdef StateRecord state
        cdef int code
        state_key(state_key_bytes, group)
        key.mv_data, key.mv_size = state_key_bytes, STATE_KEY_SIZE
        code = get(txn, self.environment.meta, &key, &value)
        if code != 0:
            return code
        if value.mv_size != sizeof(state):
            return EINVAL       # checked at the start, and written by us since
        memcpy(&state, value.mv_data, sizeof(state))
        if index <= state.compacted_index:
            return 0
        code = self._delete_entries(txn, group, index, &state.compacted_term)
        if code != 0:
            return code
        state.compacted_index = index
        return self._write_state(txn, group, &state)

    cdef int _delete_entries(self, MDB_txn *txn, uint64_t group, uint64_t index,
                             uint64_t *last_term) noexcept nogil:
        cdef uint8_t[ENTRY_KEY_SIZE] first_bytes
        cdef uint8_t[ENTRY_KEY_SIZE] last_bytes
        cdef MDB_cursor *cursor = NULL
        cdef MDB_val key, value
        cdef EntryHead head
        cdef int code = cursor_open(txn, self.environment.data, &cursor)
        if code != 0:
            return code
        entry_key(first_bytes, group, 0)
        entry_key(last_bytes, group, index)
        key.mv_data, key.mv_size = first_bytes, ENTRY_KEY_SIZE
        code = cursor_get(cursor, &key, &value, MDB_SET_RANGE)
        while code == 0 and memcmp(key.mv_data, last_bytes, ENTRY_KEY_SIZE) <= 0:
            memcpy(&head, value.mv_data, sizeof(head))
            last_term[0] = head.term
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

    def entries(self, uint64_t group, uint64_t start, Py_ssize_t bytes_max):
        """Return the entries of a group from index *start* on, oldest first, without gaps.

        Stops once *bytes_max* bytes are reached, yet returns at least one entry if there is any.
        Raises StartError if an entry is damaged or missing.
        """
        cdef uint8_t[ENTRY_KEY_SIZE] key_bytes
        cdef MDB_cursor *cursor = NULL
        cdef MDB_txn *txn = NULL
        cdef MDB_val key, value
        cdef EntryHead head
        cdef uint64_t index
        cdef Py_ssize_t size = 0
        cdef int code
        found = []
        self._begin(&txn)
        try:
            cursor_open(txn, self.environment.data, &cursor)
            entry_key(key_bytes, group, start)
            key.mv_data, key.mv_size = key_bytes, ENTRY_KEY_SIZE
            code = cursor_get(cursor, &key, &value, MDB_SET_RANGE)
            while code == 0 and size < bytes_max and number_read(<uint8_t *>key.mv_data) == group:
                index = number_read(<uint8_t *>key.mv_data + 8)
                if index != start + <uint64_t>len(found):
                    raise self._damaged(f"entry {start + len(found)} of group {group} is missing")
                if value.mv_size < sizeof(head) or not stored_is_whole(&key, &value):
                    raise self._damaged(f"entry {index} of group {group}")
                memcpy(&head, value.mv_data, sizeof(head))
                payload = PyBytes_FromStringAndSize(
                    <char *>value.mv_data + sizeof(head), value.mv_size - sizeof(head))
                found.append(Entry(index, head.term, head.kind, payload))
                size += value.mv_size
                code = cursor_get(cursor, &key, &value, MDB_NEXT)
            if code != 0 and code != MDB_NOTFOUND:
                raise self._damaged(error_text(code).decode())
        finally:
            if cursor != NULL:
                cursor_close(cursor)
            txn_abort(txn)
        return found

    cdef int _begin(self, MDB_txn **txn) except -1:
        cdef int code = txn_begin(self.environment.env, NULL, MDB_RDONLY, txn)
        if code != 0:
            raise StartError(f"can't read {self.environment.path}: {error_text(code).decode()}")
        return 0

    def _damaged(self, what):
        return StartError(f"the log in {self.environment.path} is damaged: {what}",
                          "restore both directories from a copy of the same moment")
