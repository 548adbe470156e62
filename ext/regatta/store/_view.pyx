cimport cython
from libc.errno cimport ENOMEM
from libc.stdint cimport uint32_t
from libc.stdlib cimport calloc
from libc.stdlib cimport free
from libc.stdlib cimport malloc
from libc.string cimport memcmp
from libc.string cimport memset

from cpython.bytes cimport PyBytes_FromStringAndSize

from regatta.store._catalogue cimport CATALOGUE_DAMAGED
from regatta.store._catalogue cimport NAME_SIZE_MAX
from regatta.store._catalogue cimport Counters
from regatta.store._catalogue cimport counters_load
from regatta.store._catalogue cimport group_load
from regatta.store._catalogue cimport group_parse
from regatta.store._catalogue cimport name_lookup
from regatta.store._env cimport cursor_close
from regatta.store._env cimport cursor_get
from regatta.store._env cimport cursor_open
from regatta.store._env cimport cursor_renew
from regatta.store._env cimport error_text
from regatta.store._env cimport txn_id
from regatta.store._env cimport txn_renew
from regatta.store._env cimport txn_reset
from regatta.store._lmdb_h cimport MDB_CORRUPTED
from regatta.store._lmdb_h cimport MDB_NEXT
from regatta.store._lmdb_h cimport MDB_NOTFOUND
from regatta.store._lmdb_h cimport MDB_PAGE_NOTFOUND
from regatta.store._lmdb_h cimport MDB_SET_RANGE
from regatta.store._lookup cimport pages_load
from regatta.store._pairs cimport Outcome
from regatta.store._pairs cimport Table
from regatta.store._positions cimport SourcePosition
from regatta.store._positions cimport position_parse
from regatta.store._positions cimport positions_first
from regatta.store._record cimport TABLE_ID_SIZE
from regatta.store._record cimport Record
from regatta.store._record cimport number_read
from regatta.store._record cimport number_write
from regatta.store._record cimport record_open
from regatta.store._scan cimport SCAN_DAMAGED
from regatta.store._scan cimport SCAN_END
from regatta.store._scan cimport SCAN_FAILED
from regatta.store._scan cimport SCAN_PAGE
from regatta.store._scan cimport SCAN_PAUSED
from regatta.store._scan cimport Query
from regatta.store._scan cimport Scan
from regatta.store._scan cimport scan_begin
from regatta.store._scan cimport scan_next_page
from regatta.store._scan cimport scan_step
from regatta.store._txn cimport transact_read_only
from regatta.wire._reader cimport Slice
from regatta.wire._buffer cimport Buffer
from regatta.wire._buffer cimport buffer_free

from typing import NamedTuple

from regatta import limits
from regatta.errors import DataLoss
from regatta.errors import Internal
from regatta.errors import StartError

cdef uint64_t FNV_OFFSET = 14695981039346656037U
cdef uint64_t FNV_PRIME = 1099511628211U
cdef size_t stretch_pairs = limits.stretch_pairs_max
cdef size_t stretch_bytes = limits.stretch_bytes_max


class TableState(NamedTuple):
    """A table as the catalogue of one snapshot has it; the catalogue's own group has no name."""

    name: bytes
    group: int
    applied_index: int
    applied_term: int
    table_id: int
    key_count: int
    byte_count: int
    membership: bytes = b""


class Position(NamedTuple):
    """How far a partition of a topic has gone into a table, and what became of its records."""

    topic: str
    partition: int
    next: int
    applied: int
    skipped: int
    topic_id: bytes


cdef inline uint64_t name_hash(const uint8_t *name, size_t size) noexcept nogil:
    cdef uint64_t value = FNV_OFFSET
    cdef size_t i
    for i in range(size):
        value = (value ^ name[i]) * FNV_PRIME
    return value ^ value >> 32


# Cannot be part of a cycle; and the collector must not take the environment away before the
# transaction has ended.
@cython.no_gc
@cython.final
cdef class View:
    """The snapshot that one thread reads from; see the .pxd for its methods."""

    def __cinit__(self, Environment environment not None):
        self.environment = environment
        cdef int code = environment.begin_reading(&self.txn)
        if code != 0:
            raise StartError(f"can't read {environment.path}: {error_text(code).decode()}")
        txn_reset(self.txn)

    def __dealloc__(self):
        self._forget()
        free(self.tables)
        if self.cursor != NULL:
            # LMDB leaves the cursors of read-only transactions to us, and the environment may close
            # with the transaction.
            cursor_close(self.cursor)
        if self.txn != NULL:
            self.environment.end_reading(self.txn)

    cdef int renew(self) noexcept nogil:
        cdef int code
        if self.live:
            return 0
        code = txn_renew(self.txn)
        if code != 0:
            return code
        self.live = True
        if self.loaded and txn_id(self.txn) == self.transaction:
            return 0
        return self._load()

    cdef void release(self) noexcept nogil:
        if self.live:
            txn_reset(self.txn)
            self.live = self.cursor_live = False

    cdef int pairs(self, MDB_cursor **cursor) noexcept nogil:
        cdef int code = 0
        if self.cursor == NULL:
            code = cursor_open(self.txn, self.environment.data, &self.cursor)
        elif not self.cursor_live:
            code = cursor_renew(self.txn, self.cursor)
        self.cursor_live = code == 0
        cursor[0] = self.cursor
        return code

    cdef const Group *find(self, const uint8_t *name, size_t size) noexcept nogil:
        cdef size_t i
        cdef Group *table
        if self.table_capacity == 0:
            return NULL
        i = name_hash(name, size) & (self.table_capacity - 1)
        while True:
            table = self.tables[i]
            if table == NULL:
                return NULL
            if table.name_size == size and memcmp(table.name, name, size) == 0:
                return table
            i = (i + 1) & (self.table_capacity - 1)

    cdef int _load(self) noexcept nogil:
        """Bring the catalogue up to the snapshot, if it has changed since it was last read."""
        cdef MDB_cursor *cursor = NULL
        cdef Counters counters
        cdef int code = counters_load(self.txn, self.environment.meta, &counters)
        if code == 0 and (not self.loaded or counters.version != self.version):
            self._forget()
            code = cursor_open(self.txn, self.environment.meta, &cursor)
            if code == 0:
                code = self._load_from(cursor)
                cursor_close(cursor)
        if code != 0:
            self.release()
            return code
        self.version, self.transaction, self.loaded = counters.version, txn_id(self.txn), True
        pages_load(&self.pages, self.environment, self.txn)
        return 0

    cdef int _load_from(self, MDB_cursor *cursor) noexcept nogil:
        cdef MDB_val key, value
        cdef Group group
        cdef int code
        key.mv_data, key.mv_size = <char *>b"g", 1
        code = cursor_get(cursor, &key, &value, MDB_SET_RANGE)
        while code == 0:
            code = group_parse(&key, &value, &group)
            if code == 0 and group.name_size:
                code = self._add(&group)
            if code == 0:
                code = cursor_get(cursor, &key, &value, MDB_NEXT)
        return 0 if code == MDB_NOTFOUND else code

    cdef int _add(self, const Group *group) noexcept nogil:
        cdef size_t capacity = max(2 * self.table_capacity, <size_t>16)
        cdef size_t old_capacity = self.table_capacity
        cdef Group **old = self.tables
        cdef Group **grown
        cdef Group *table = <Group *>malloc(sizeof(Group))
        cdef size_t i
        if table == NULL:
            return ENOMEM
        table[0] = group[0]
        if 2 * (self.table_count + 1) > self.table_capacity:
            grown = <Group **>calloc(capacity, sizeof(Group *))
            if grown == NULL:
                free(table)
                return ENOMEM
            self.tables, self.table_capacity = grown, capacity
            for i in range(old_capacity):
                if old[i] != NULL:
                    self._place(old[i])
            free(old)
        self._place(table)
        self.table_count += 1
        return 0

    cdef void _place(self, Group *table) noexcept nogil:
        cdef size_t i = name_hash(table.name, table.name_size) & (self.table_capacity - 1)
        while self.tables[i] != NULL:
            i = (i + 1) & (self.table_capacity - 1)
        self.tables[i] = table

    cdef void _forget(self) noexcept nogil:
        cdef size_t i
        for i in range(self.table_capacity):
            free(self.tables[i])
            self.tables[i] = NULL
        self.table_count = 0
        self.loaded = False


@cython.no_gc                   # as View
@cython.final
cdef class Snapshot:
    """A read transaction of its own, for reads that outlast one turn of the event loop.

    It ends when the last reference to it is gone. Use it from one thread at a time.
    """

    cdef Environment environment
    cdef MDB_txn *txn
    cdef bint cancelled

    def __cinit__(self, Environment environment not None):
        self.environment = environment
        _check(environment.begin_reading(&self.txn))

    def __dealloc__(self):
        if self.txn != NULL:
            self.environment.end_reading(self.txn)

    def cancel(self):
        """Make a long read on another thread end soon; its result is then worth nothing."""
        self.cancelled = True

    def find(self, bytes name not None):
        """Return the TableState of a table, or None if there is none of that name."""
        cdef Slice wanted
        cdef Group group
        cdef uint64_t id
        cdef int code
        if not 1 <= len(name) <= NAME_SIZE_MAX:
            return None
        wanted.data, wanted.size = <const uint8_t *><char *>name, len(name)
        code = name_lookup(self.txn, self.environment.meta, wanted, &id)
        if code == 0:
            code = group_load(self.txn, self.environment.meta, id, &group)
        if code == MDB_NOTFOUND:
            return None
        _check(code)
        return _table_state(&group)

    def groups(self):
        """Return a TableState for every group that has applied anything, the catalogue's too."""
        cdef MDB_cursor *cursor = NULL
        cdef MDB_val key, value
        cdef Group group
        cdef int code
        found = []
        _check(cursor_open(self.txn, self.environment.meta, &cursor))
        key.mv_data, key.mv_size = <char *>b"g", 1
        code = cursor_get(cursor, &key, &value, MDB_SET_RANGE)
        while code == 0:
            code = group_parse(&key, &value, &group)
            if code == 0:
                found.append(_table_state(&group))
                code = cursor_get(cursor, &key, &value, MDB_NEXT)
        cursor_close(cursor)
        if code != MDB_NOTFOUND:
            _check(code)
        return found

    def positions(self, uint64_t group_id):
        """Return the Positions of a table's group, sorted by topic and partition.

        Raises DataLoss if one of them is damaged.
        """
        cdef MDB_cursor *cursor = NULL
        cdef MDB_val key, value
        cdef SourcePosition position
        cdef int code
        found = []
        _check(cursor_open(self.txn, self.environment.meta, &cursor))
        code = positions_first(cursor, group_id, &key, &value)
        while code == 0:
            code = position_parse(&key, &value, group_id, &position)
            if code == 0:
                found.append(_position(&position))
                code = cursor_get(cursor, &key, &value, MDB_NEXT)
        cursor_close(cursor)
        if code != MDB_NOTFOUND:
            _check(code)
        return sorted(found)

    def scan(self, uint64_t table_id, query not None, uint32_t number=3):
        """Return a RangeScan; *query* has the fields of a RangeRequest, checked before.

        *number* is the field in which each KeyValue is put out.
        """
        return RangeScan(self, table_id, query, number)

    def transact(self, uint64_t table_id, bytes message not None):
        """Run an encoded Txn whose operations are all ranges.

        Returns (gRPC code, failure branch, CommandResult or error text) without taking the GIL
        while it works.
        """
        cdef Buffer result
        cdef Outcome outcome
        cdef Slice encoded
        cdef Table table
        cdef int code
        memset(&result, 0, sizeof(result))
        memset(&outcome, 0, sizeof(outcome))
        memset(&table, 0, sizeof(table))
        table.id = table_id
        encoded.data, encoded.size = <const uint8_t *><char *>message, len(message)
        with nogil:
            code = transact_read_only(self.txn, self.environment.data, &table, encoded,
                                      &self.cancelled, &result, &outcome)
        try:
            _check(code)
            if outcome.code != 0:
                return outcome.code, False, <bytes>outcome.text
            return 0, outcome.failure_branch, PyBytes_FromStringAndSize(<char *>result.data, result.size)
        finally:
            buffer_free(&result)

    def hash(self):
        """Return the 64-bit FNV-1 hash over table name, key and value in that order.

        Raises DataLoss for a damaged record. Works without the GIL.
        """
        cdef uint64_t value = FNV_OFFSET
        cdef uint64_t table_id
        cdef bytes name
        cdef const uint8_t *name_bytes
        cdef size_t name_size
        cdef int code
        for state in sorted(self.groups()):
            if not state.name:
                continue
            name, table_id = state.name, state.table_id
            name_bytes, name_size = <const uint8_t *><char *>name, len(name)
            with nogil:
                code = self._hash_table(table_id, name_bytes, name_size, &value)
            _check(code)
        return value

    cdef int _hash_table(self, uint64_t table_id, const uint8_t *name, size_t name_size,
                         uint64_t *hash) noexcept nogil:
        cdef uint8_t[TABLE_ID_SIZE] prefix
        cdef MDB_cursor *cursor = NULL
        cdef MDB_val key, value
        cdef Record record
        cdef int code = cursor_open(self.txn, self.environment.data, &cursor)
        if code != 0:
            return code
        number_write(prefix, table_id)
        key.mv_data, key.mv_size = prefix, TABLE_ID_SIZE
        code = cursor_get(cursor, &key, &value, MDB_SET_RANGE)
        while code == 0 and number_read(<const uint8_t *>key.mv_data) == table_id and not self.cancelled:
            if record_open(&key, &value, &record) < 0:
                code = CATALOGUE_DAMAGED
                break
            hash[0] = fnv1(hash[0], name, name_size)
            hash[0] = fnv1(hash[0], <const uint8_t *>key.mv_data + TABLE_ID_SIZE, key.mv_size - TABLE_ID_SIZE)
            hash[0] = fnv1(hash[0], record.value.data, record.value.size)
            code = cursor_get(cursor, &key, &value, MDB_NEXT)
        cursor_close(cursor)
        return 0 if code == MDB_NOTFOUND else code


cdef object _table_state(const Group *group):
    name = PyBytes_FromStringAndSize(<char *>group.name, group.name_size)
    return TableState(name, group.id, group.applied_index, group.applied_term,
                      group.table.id, group.table.key_count, group.table.byte_count,
                      PyBytes_FromStringAndSize(<char *>group.membership, group.membership_size))


cdef object _position(const SourcePosition *position):
    topic = PyBytes_FromStringAndSize(<char *>position.topic, position.topic_size)
    topic_id = PyBytes_FromStringAndSize(<char *>position.topic_id, position.topic_id_size)
    return Position(topic.decode("ascii"), position.partition, position.next, position.applied,
                    position.skipped, topic_id)


cdef inline uint64_t fnv1(uint64_t hash, const uint8_t *data, size_t size) noexcept nogil:
    cdef size_t i
    for i in range(size):
        hash = (hash * FNV_PRIME) ^ data[i]
    return hash


@cython.final
cdef class RangeScan:
    """Pages of a range from one snapshot, made piece by piece."""

    cdef readonly Snapshot snapshot
    cdef object query_bytes     # what the C query points into
    cdef Scan scan
    cdef Buffer page
    cdef uint32_t number
    cdef int state

    def __cinit__(self, Snapshot snapshot not None, uint64_t table_id, query, uint32_t number):
        cdef Query asked
        cdef MDB_cursor *cursor = NULL
        cdef bytes key = query.key
        cdef bytes range_end = query.range_end
        self.snapshot = snapshot
        self.query_bytes = key, range_end
        self.number = number
        asked.key.data, asked.key.size = <const uint8_t *><char *>key, len(key)
        asked.range_end.data, asked.range_end.size = <const uint8_t *><char *>range_end, len(range_end)
        asked.limit = query.limit
        asked.keys_only, asked.count_only = query.keys_only, query.count_only
        asked.min_mod_revision, asked.max_mod_revision = query.min_mod_revision, query.max_mod_revision
        asked.min_create_revision = query.min_create_revision
        asked.max_create_revision = query.max_create_revision
        _check(cursor_open(snapshot.txn, snapshot.environment.data, &cursor))
        scan_begin(&self.scan, &asked, table_id, cursor)

    def __dealloc__(self):
        if self.scan.cursor != NULL:
            cursor_close(self.scan.cursor)
        buffer_free(&self.page)

    def step(self):
        """Work on the page for a stretch of the event loop. Returns True when it is complete."""
        self.state = scan_step(&self.scan, &self.page, self.number, stretch_pairs, stretch_bytes)
        return self._page_complete()

    def finish_page(self):
        """Work on the page until it is complete, without the GIL; for other threads."""
        with nogil:
            while not self.snapshot.cancelled:
                self.state = scan_step(&self.scan, &self.page, self.number, stretch_pairs, stretch_bytes)
                if self.state != SCAN_PAUSED:
                    break
        return self._page_complete()

    def take_page(self):
        """Return (encoded pairs, number of them, further pairs exist) and begin the next page."""
        encoded = PyBytes_FromStringAndSize(<char *>self.page.data, self.page.size)
        count = self.scan.count
        self.page.size = 0
        scan_next_page(&self.scan)
        return encoded, count, self.state == SCAN_PAGE or bool(self.scan.more)

    @property
    def exhausted(self):
        """Whether the last page was the last one."""
        return self.state == SCAN_END

    def _page_complete(self):
        if self.state == SCAN_DAMAGED:
            _check(CATALOGUE_DAMAGED)
        if self.state == SCAN_FAILED:
            _check(self.scan.error)
        return self.state != SCAN_PAUSED


cdef int _check(int code) except -1:
    if code == 0:
        return 0
    if code == CATALOGUE_DAMAGED:
        raise DataLoss("a stored record is damaged")
    if code == MDB_CORRUPTED or code == MDB_PAGE_NOTFOUND:
        raise DataLoss("a page of the database is damaged")
    raise Internal(f"reading failed: {error_text(code).decode()}")
