"""The state machine of every group of a node: committed entries in, results out."""
cimport cython
from libc.errno cimport EINVAL
from libc.errno cimport ENOMEM
from libc.stddef cimport size_t
from libc.stdint cimport uint8_t
from libc.stdint cimport uint32_t
from libc.stdint cimport uint64_t
from libc.stdlib cimport calloc
from libc.stdlib cimport free
from libc.string cimport memcpy
from libc.string cimport memset
from libc.string cimport strlen

from cpython.bytes cimport PyBytes_FromStringAndSize

from regatta.raft._message cimport Entry
from regatta.store._catalogue cimport MEMBERSHIP_SIZE_MAX
from regatta.store._catalogue cimport META_GROUP
from regatta.store._catalogue cimport NAME_SIZE_MAX
from regatta.store._catalogue cimport Counters
from regatta.store._catalogue cimport Group
from regatta.store._catalogue cimport counters_load
from regatta.store._catalogue cimport counters_store
from regatta.store._catalogue cimport garbage_add
from regatta.store._catalogue cimport garbage_first
from regatta.store._catalogue cimport garbage_remove
from regatta.store._catalogue cimport group_load
from regatta.store._catalogue cimport group_store
from regatta.store._catalogue cimport name_lookup
from regatta.store._catalogue cimport name_store
from regatta.store._env cimport Environment
from regatta.store._env cimport cursor_close
from regatta.store._env cimport cursor_open
from regatta.store._env cimport txn_abort
from regatta.store._env cimport txn_begin
from regatta.store._lmdb_h cimport MDB_NOTFOUND
from regatta.store._lmdb_h cimport MDB_RDONLY
from regatta.store._lmdb_h cimport MDB_cursor
from regatta.store._lmdb_h cimport MDB_txn
from regatta.store._pairs cimport Outcome
from regatta.store._pairs cimport pair_put
from regatta.store._pairs cimport pair_put_at
from regatta.store._pairs cimport pairs_delete
from regatta.store._pairs cimport pairs_discard
from regatta.store._pairs cimport refuse
from regatta.store._positions cimport SourcePosition
from regatta.store._positions cimport position_advance
from regatta.store._positions cimport position_claim
from regatta.store._positions cimport positions_drop
from regatta.store._record cimport USER_KEY_MAX
from regatta.store._scan cimport Query
from regatta.store._turns cimport Item
from regatta.store._turns cimport TurnWriter
from regatta.store._turns cimport item_data
from regatta.store._turns cimport pthread_mutex_t
from regatta.store._txn cimport transact
from regatta.wire._command cimport COMMAND_BATCH_FIELD
from regatta.wire._command cimport COMMAND_DELETE
from regatta.wire._command cimport COMMAND_DELETE_BATCH
from regatta.wire._command cimport COMMAND_DUMMY
from regatta.wire._command cimport COMMAND_PUT
from regatta.wire._command cimport COMMAND_PUT_BATCH
from regatta.wire._command cimport COMMAND_SEQUENCE
from regatta.wire._command cimport COMMAND_SEQUENCE_FIELD
from regatta.wire._command cimport COMMAND_TXN
from regatta.wire._command cimport OP_DELETE
from regatta.wire._command cimport OP_PUT
from regatta.wire._command cimport Command
from regatta.wire._command cimport Pair
from regatta.wire._command cimport command_decode
from regatta.wire._command cimport next_message
from regatta.wire._command cimport pair_decode
from regatta.wire._reader cimport Slice
from regatta.wire._buffer cimport Buffer
from regatta.wire._buffer cimport buffer_append
from regatta.wire._buffer cimport buffer_free
from regatta.wire._writer cimport message_begin
from regatta.wire._writer cimport message_end
from regatta.wire._writer cimport write_varint

from regatta import limits
from regatta.errors import Code

cdef extern from "<pthread.h>" nogil:
    int pthread_mutex_init(pthread_mutex_t *, void *)
    int pthread_mutex_lock(pthread_mutex_t *)
    int pthread_mutex_unlock(pthread_mutex_t *)
    int pthread_mutex_destroy(pthread_mutex_t *)

cdef enum:
    ITEM_APPLY = 1
    ITEM_MEMBERSHIP = 2
    SEQUENCE_DEPTH_MAX = 4
    DISCARD_PAIRS_MAX = 20_000  # of replaced tables, in one turn

cdef int INTERNAL = Code.INTERNAL
cdef size_t discard_bytes_max = limits.turn_bytes_max

cdef struct ResultHead:         # then *size* bytes: a CommandResult, or the text of an error
    uint32_t code
    uint32_t failure_branch
    uint64_t size

cdef struct Slot:               # a group in memory
    Group group
    bint dirty                  # changed in the present turn


@cython.final
cdef class Machine(TurnWriter):
    """Applies entries turn by turn; a group's applied index moves with the data.

    One result comes out for each item put in, in the same order.
    """

    cdef Slot **slots           # open addressing by group id; NULL is free
    cdef size_t slot_count
    cdef size_t slot_capacity   # a power of two, or 0
    cdef Counters counters
    cdef bint counters_loaded
    cdef bint counters_dirty
    cdef bint has_garbage       # replaced tables still hold pairs
    cdef int depth              # of nested sequences
    cdef bint in_source         # within a command that has a source
    cdef uint64_t record_count  # puts and deletes carried out, by batches or by themselves
    cdef Buffer turn_results    # of the turn that is being written
    cdef Buffer results         # of committed turns, until Python takes them
    cdef pthread_mutex_t results_lock   # guards results

    def __cinit__(self, Environment environment not None, int wake_descriptor):
        cdef MDB_txn *txn = NULL
        cdef uint64_t table
        pthread_mutex_init(&self.results_lock, NULL)
        if txn_begin(environment.env, NULL, MDB_RDONLY, &txn) == 0:
            self.has_garbage = garbage_first(txn, environment.meta, &table) == 0
            txn_abort(txn)

    def __dealloc__(self):
        self._forget()
        free(self.slots)
        buffer_free(&self.turn_results)
        buffer_free(&self.results)
        pthread_mutex_destroy(&self.results_lock)

    def apply(self, uint64_t group, list entries not None):
        """Queue committed entries, oldest first, of which each has a result.

        One that is empty or of Raft's own kind moves the applied index and nothing else.
        """
        cdef Entry entry
        for entry in entries:
            self.enqueue(ITEM_APPLY, <uint32_t>entry.kind, group, entry.index, entry.term,
                         <const uint8_t *><char *>entry.data, <size_t>len(entry.data))

    def set_membership(self, uint64_t group, bytes membership not None, uint64_t index=0,
                       uint64_t term=0):
        """Queue the applying of a committed change of membership, which has a result.

        *membership* is the encoded ConfState after it. Index 0 stands for what a group begins
        with, and changes nothing where a membership is known.
        """
        if not 1 <= len(membership) <= MEMBERSHIP_SIZE_MAX:
            raise ValueError(f"a membership of {len(membership)} bytes")
        self.enqueue(ITEM_MEMBERSHIP, 0, group, index, term,
                     <const uint8_t *><char *>membership, <size_t>len(membership))

    def take_results(self):
        """Return (gRPC code, failure branch, CommandResult or error text) each, oldest first."""
        cdef Buffer taken
        cdef ResultHead head
        cdef size_t offset = 0
        found = []
        pthread_mutex_lock(&self.results_lock)
        taken = self.results
        memset(&self.results, 0, sizeof(Buffer))
        pthread_mutex_unlock(&self.results_lock)
        try:
            while offset < taken.size:
                memcpy(&head, taken.data + offset, sizeof(head))
                offset += sizeof(head)
                found.append((head.code, <bint>head.failure_branch, PyBytes_FromStringAndSize(
                    <char *>taken.data + offset, <Py_ssize_t>head.size)))
                offset += <size_t>head.size
        finally:
            buffer_free(&taken)
        return found

    # The turn.

    cdef int write_item(self, MDB_txn *txn, const Item *item) noexcept nogil:
        cdef ResultHead head
        cdef Outcome outcome
        cdef size_t start = self.turn_results.size
        cdef int code
        memset(&outcome, 0, sizeof(outcome))
        memset(&head, 0, sizeof(head))
        if buffer_append(&self.turn_results, &head, sizeof(head)) < 0:
            return ENOMEM
        code = self._apply(txn, item, &outcome)
        if code != 0:
            return code
        if outcome.code != 0:
            self.turn_results.size = start + sizeof(head)
            if buffer_append(&self.turn_results, outcome.text, strlen(outcome.text)) < 0:
                return ENOMEM
        head.code, head.failure_branch = <uint32_t>outcome.code, outcome.failure_branch
        head.size = self.turn_results.size - start - sizeof(head)
        memcpy(self.turn_results.data + start, &head, sizeof(head))
        return 0

    cdef int _apply(self, MDB_txn *txn, const Item *item, Outcome *outcome) noexcept nogil:
        cdef Slice message
        cdef Slot *slot = NULL
        cdef int code = self._find(txn, item.group, &slot)
        if code == MDB_NOTFOUND:
            outcome.code, outcome.text = INTERNAL, b"the log names a group that does not exist"
            return 0
        if code != 0:
            return code
        if item.index == 0 and slot.group.membership_size == 0:
            self._take_membership(slot, item)
        if item.index <= slot.group.applied_index:
            return 0            # replayed: its effects are already here
        if item.index != slot.group.applied_index + 1:
            return EINVAL       # a gap in the log must never be applied over
        slot.group.applied_index, slot.group.applied_term = item.index, item.term
        slot.dirty = True
        if item.kind == ITEM_MEMBERSHIP:
            self._take_membership(slot, item)
            return 0
        if item.entry_kind != 0 or item.size == 0:
            return 0            # Raft's own: a new leader's first entry is empty
        message.data, message.size = item_data(item), <size_t>item.size
        self.depth = 0
        self.in_source = False
        return self._run(txn, &slot.group, message, item.index, outcome)

    cdef void _take_membership(self, Slot *slot, const Item *item) noexcept nogil:
        slot.group.membership_size = <uint32_t>item.size
        memcpy(slot.group.membership, item_data(item), item.size)
        slot.dirty = True

    cdef int before_commit(self, MDB_txn *txn) noexcept nogil:
        cdef size_t i
        cdef int code = 0
        if self.has_garbage:
            code = self._discard_garbage(txn)
        for i in range(self.slot_capacity):
            if code != 0:
                return code
            if self.slots[i] != NULL and self.slots[i].dirty:
                code = group_store(txn, self.environment.meta, &self.slots[i].group)
        if code == 0 and self.counters_dirty:
            code = counters_store(txn, self.environment.meta, &self.counters)
        return code

    cdef int after_commit(self) noexcept nogil:
        cdef size_t i
        cdef int code = 0
        for i in range(self.slot_capacity):
            if self.slots[i] != NULL:
                self.slots[i].dirty = False
        self.counters_dirty = False
        self.environment.note_commit(self.turn.size)
        pthread_mutex_lock(&self.results_lock)
        if buffer_append(&self.results, self.turn_results.data, self.turn_results.size) < 0:
            code = ENOMEM
        pthread_mutex_unlock(&self.results_lock)
        self.turn_results.size = 0
        return code

    cdef void after_abort(self) noexcept nogil:
        # What is in memory may be ahead of the environment now: read it again when needed.
        self._forget()
        self.counters_loaded = self.counters_dirty = False
        self.turn_results.size = 0
        self.has_garbage = True

    cdef bint has_idle_work(self) noexcept nogil:
        return self.has_garbage

    # Commands. All append a CommandResult's fields to turn_results.

    cdef int _run(self, MDB_txn *txn, Group *group, Slice message, uint64_t revision,
                  Outcome *outcome) noexcept nogil:
        cdef Command command
        if command_decode(message, &command) < 0:
            outcome.code, outcome.text = INTERNAL, b"malformed command in the log"
            return 0
        if group.id == META_GROUP:
            return self._create_table(txn, group, command.kv.key, outcome)
        if command.has_source:
            return self._run_from_source(txn, group, message, &command, revision, outcome)
        return self._execute(txn, group, message, &command, revision, outcome)

    cdef int _run_from_source(self, MDB_txn *txn, Group *group, Slice message,
                              const Command *command, uint64_t revision,
                              Outcome *outcome) noexcept nogil:
        """Carry out a batch of records unless another came first; its position moves with it."""
        cdef SourcePosition position
        cdef uint64_t count_before = self.record_count
        cdef int code
        if self.in_source:
            outcome.code, outcome.text = INTERNAL, b"sources in the log are nested"
            return 0
        code = position_claim(txn, self.environment.meta, group.id, &command.source, &position,
                              outcome)
        if code != 0 or outcome.code != 0:
            return code
        self.in_source = True
        code = self._execute(txn, group, message, command, revision, outcome)
        self.in_source = False
        if code != 0:
            return code
        return position_advance(txn, self.environment.meta, group.id, &command.source, &position,
                                self.record_count - count_before)

    cdef int _execute(self, MDB_txn *txn, Group *group, Slice message, const Command *command,
                      uint64_t revision, Outcome *outcome) noexcept nogil:
        if command.type == COMMAND_PUT:
            return self._put(txn, group, command, revision, outcome)
        if command.type == COMMAND_DELETE:
            return self._delete(txn, group, command, outcome)
        if command.type == COMMAND_TXN:
            return refuse(transact(self.environment.env, txn, self.environment.data, &group.table,
                                   command.txn, revision, &self.turn_results, outcome), outcome)
        if command.type == COMMAND_PUT_BATCH or command.type == COMMAND_DELETE_BATCH:
            return self._run_batch(txn, group, message, command.type, revision, outcome)
        if command.type == COMMAND_SEQUENCE:
            return self._run_sequence(txn, group, message, revision, outcome)
        if command.type != COMMAND_DUMMY:
            outcome.code, outcome.text = INTERNAL, b"unknown command in the log"
        return 0

    cdef int _put(self, MDB_txn *txn, Group *group, const Command *command, uint64_t revision,
                  Outcome *outcome) noexcept nogil:
        cdef size_t response, body
        cdef Buffer *result = &self.turn_results
        cdef int code
        if not key_is_good(command.kv.key, outcome):
            return 0
        self.record_count += 1
        if not command.prev_kvs:
            return pair_put(txn, self.environment.data, &group.table, command.kv.key,
                            command.kv.value, revision, NULL, 0)
        if message_begin(result, 1, &response) < 0 or message_begin(result, OP_PUT, &body) < 0:
            return ENOMEM
        code = pair_put(txn, self.environment.data, &group.table, command.kv.key,
                        command.kv.value, revision, result, 1)
        if code == 0 and (message_end(result, body) < 0 or message_end(result, response) < 0):
            return ENOMEM
        return refuse(code, outcome)

    cdef int _delete(self, MDB_txn *txn, Group *group, const Command *command,
                     Outcome *outcome) noexcept nogil:
        cdef size_t response, body
        cdef uint64_t deleted
        cdef Buffer *result = &self.turn_results
        cdef Query query
        cdef int code
        if not key_is_good(command.kv.key, outcome):
            return 0
        self.record_count += 1
        if message_begin(result, 1, &response) < 0 or message_begin(result, OP_DELETE, &body) < 0:
            return ENOMEM
        memset(&query, 0, sizeof(query))
        query.key, query.range_end = command.kv.key, command.range_end
        if is_whole_table(&query) and not command.prev_kvs:
            deleted = group.table.key_count
            code = self._replace_table(txn, group)
        else:
            code = pairs_delete(txn, self.environment.data, &group.table, &query,
                                result if command.prev_kvs else NULL, 2, NULL, &deleted)
        if code == 0 and is_whole_table(&query):
            # What a topic put into the table is gone: it is to be read again from the beginning.
            code = positions_drop(txn, self.environment.meta, group.id)
        if code == 0 and (command.count or command.prev_kvs):
            write_varint(result, 1, deleted)
        if code == 0 and (message_end(result, body) < 0 or message_end(result, response) < 0):
            return ENOMEM
        return refuse(code, outcome)

    cdef int _run_batch(self, MDB_txn *txn, Group *group, Slice rest, int type,
                        uint64_t revision, Outcome *outcome) noexcept nogil:
        cdef Slice message
        cdef Pair pair
        cdef Query query
        cdef uint64_t deleted
        cdef MDB_cursor *cursor = NULL
        cdef int code = cursor_open(txn, self.environment.data, &cursor)
        if code != 0:
            return code
        memset(&query, 0, sizeof(query))
        while code == 0 and next_message(&rest, COMMAND_BATCH_FIELD, &message) > 0:
            if pair_decode(message, &pair) < 0:
                outcome.code, outcome.text = INTERNAL, b"malformed pair in the log"
                continue
            if not key_is_good(pair.key, outcome):
                continue
            self.record_count += 1
            if type == COMMAND_PUT_BATCH:
                code = pair_put_at(cursor, &group.table, pair.key, pair.value, revision, NULL, 0)
            else:
                query.key = pair.key
                code = pairs_delete(txn, self.environment.data, &group.table, &query,
                                    NULL, 0, NULL, &deleted)
        cursor_close(cursor)
        return code

    cdef int _run_sequence(self, MDB_txn *txn, Group *group, Slice rest, uint64_t revision,
                           Outcome *outcome) noexcept nogil:
        """Run commands of which each succeeds or fails by itself; *outcome* tells of a failure."""
        cdef Slice message
        cdef Outcome one
        cdef int code = 0
        if self.depth == SEQUENCE_DEPTH_MAX:
            outcome.code, outcome.text = INTERNAL, b"sequences in the log are nested too deeply"
            return 0
        self.depth += 1
        while code == 0 and next_message(&rest, COMMAND_SEQUENCE_FIELD, &message) > 0:
            memset(&one, 0, sizeof(one))
            code = self._run(txn, group, message, revision, &one)
            if one.code != 0:
                outcome[0] = one
        self.depth -= 1
        return code

    # Tables.

    cdef int _create_table(self, MDB_txn *txn, const Group *catalogue, Slice name,
                           Outcome *outcome) noexcept nogil:
        """Make a table of that name unless there is one; its members are the catalogue's."""
        cdef Group group
        cdef Slot *slot
        cdef uint64_t existing
        cdef int code
        if not 1 <= name.size <= NAME_SIZE_MAX:
            outcome.code, outcome.text = INTERNAL, b"malformed table name in the log"
            return 0
        code = name_lookup(txn, self.environment.meta, name, &existing)
        if code != MDB_NOTFOUND:
            return code
        code = self._need_counters(txn)
        if code != 0:
            return code
        memset(&group, 0, sizeof(group))
        group.id, self.counters.next_group = self.counters.next_group, self.counters.next_group + 1
        self._assign_table_id(&group)
        group.name_size = <uint32_t>name.size
        memcpy(group.name, name.data, name.size)
        group.membership_size = catalogue.membership_size
        memcpy(group.membership, catalogue.membership, catalogue.membership_size)
        slot = self._add(&group)
        if slot == NULL:
            return ENOMEM
        slot.dirty = True
        return name_store(txn, self.environment.meta, name, group.id)

    cdef int _replace_table(self, MDB_txn *txn, Group *group) noexcept nogil:
        """Empty a table: give it a fresh id now, delete the pairs under the old one later."""
        cdef int code = self._need_counters(txn)
        if code == 0:
            code = garbage_add(txn, self.environment.meta, group.table.id)
        if code == 0:
            self.has_garbage = True
            self._assign_table_id(group)
            group.table.key_count = group.table.byte_count = 0
        return code

    cdef int _need_counters(self, MDB_txn *txn) noexcept nogil:
        cdef int code = 0
        if not self.counters_loaded:
            code = counters_load(txn, self.environment.meta, &self.counters)
            self.counters_loaded = code == 0
        return code

    cdef void _assign_table_id(self, Group *group) noexcept nogil:
        group.table.id = self.counters.next_table
        self.counters.next_table += 1
        self.counters.version += 1
        self.counters_dirty = True

    cdef int _discard_garbage(self, MDB_txn *txn) noexcept nogil:
        cdef uint64_t table
        cdef bint finished
        cdef int code = garbage_first(txn, self.environment.meta, &table)
        if code == MDB_NOTFOUND:
            self.has_garbage = False
            return 0
        if code == 0:
            code = pairs_discard(txn, self.environment.data, table, DISCARD_PAIRS_MAX,
                                 discard_bytes_max, &finished)
        if code == 0 and finished:
            code = garbage_remove(txn, self.environment.meta, table)
        return code

    # Groups in memory.

    cdef int _find(self, MDB_txn *txn, uint64_t id, Slot **found) noexcept nogil:
        cdef Group group
        cdef size_t i
        cdef int code
        if self.slot_capacity:
            i = id & (self.slot_capacity - 1)
            while self.slots[i] != NULL:
                if self.slots[i].group.id == id:
                    found[0] = self.slots[i]
                    return 0
                i = (i + 1) & (self.slot_capacity - 1)
        code = group_load(txn, self.environment.meta, id, &group)
        if code == MDB_NOTFOUND and id == META_GROUP:
            memset(&group, 0, sizeof(group))
            group.id = META_GROUP
            code = 0
        if code != 0:
            return code
        found[0] = self._add(&group)
        return 0 if found[0] != NULL else ENOMEM

    cdef Slot *_add(self, const Group *group) noexcept nogil:
        cdef Slot *slot
        if 2 * (self.slot_count + 1) > self.slot_capacity and self._grow() < 0:
            return NULL
        slot = <Slot *>calloc(1, sizeof(Slot))
        if slot != NULL:
            slot.group = group[0]
            self._place(slot)
        return slot

    cdef void _place(self, Slot *slot) noexcept nogil:
        cdef size_t i = slot.group.id & (self.slot_capacity - 1)
        while self.slots[i] != NULL:
            i = (i + 1) & (self.slot_capacity - 1)
        self.slots[i] = slot
        self.slot_count += 1

    cdef int _grow(self) noexcept nogil:
        cdef Slot **old = self.slots
        cdef size_t old_capacity = self.slot_capacity
        cdef size_t i
        cdef size_t capacity = max(2 * old_capacity, <size_t>16)
        cdef Slot **grown = <Slot **>calloc(capacity, sizeof(Slot *))
        if grown == NULL:
            return -1
        self.slots, self.slot_capacity, self.slot_count = grown, capacity, 0
        for i in range(old_capacity):
            if old[i] != NULL:
                self._place(old[i])
        free(old)
        return 0

    cdef void _forget(self) noexcept nogil:
        cdef size_t i
        for i in range(self.slot_capacity):
            free(self.slots[i])
            self.slots[i] = NULL
        self.slot_count = 0


cdef bint key_is_good(Slice key, Outcome *outcome) noexcept nogil:
    """Keys are checked before they are proposed; this keeps a foreign log from doing harm."""
    if 1 <= key.size <= USER_KEY_MAX:
        return True
    outcome.code, outcome.text = INTERNAL, b"malformed key in the log"
    return False


cdef bint is_whole_table(const Query *query) noexcept nogil:
    return (query.key.size == 1 and query.key.data[0] == 0
            and query.range_end.size == 1 and query.range_end.data[0] == 0)
