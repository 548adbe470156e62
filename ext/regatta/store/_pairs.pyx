from libc.errno cimport ENOMEM
from libc.stdint cimport uint8_t

from regatta.store._env cimport cursor_close
from regatta.store._env cimport cursor_delete
from regatta.store._env cimport cursor_get
from regatta.store._env cimport cursor_open
from regatta.store._env cimport cursor_put
from regatta.store._lmdb_h cimport MDB_CURRENT
from regatta.store._lmdb_h cimport MDB_KEYEXIST
from regatta.store._lmdb_h cimport MDB_NEXT
from regatta.store._lmdb_h cimport MDB_NOOVERWRITE
from regatta.store._lmdb_h cimport MDB_NOTFOUND
from regatta.store._lmdb_h cimport MDB_RESERVE
from regatta.store._lmdb_h cimport MDB_SET_KEY
from regatta.store._lmdb_h cimport MDB_SET_RANGE
from regatta.store._lmdb_h cimport MDB_cursor
from regatta.store._lmdb_h cimport MDB_val
from regatta.store._record cimport STORED_KEY_MAX
from regatta.store._record cimport TABLE_ID_SIZE
from regatta.store._record cimport Record
from regatta.store._record cimport number_read
from regatta.store._record cimport number_write
from regatta.store._record cimport record_open
from regatta.store._record cimport record_parse
from regatta.store._record cimport record_size
from regatta.store._record cimport record_write
from regatta.store._record cimport stored_key
from regatta.store._scan cimport SCAN_DAMAGED
from regatta.store._scan cimport SCAN_END
from regatta.store._scan cimport SCAN_PAGE
from regatta.store._scan cimport SCAN_PAUSED
from regatta.store._scan cimport WORK_CANCELLED
from regatta.store._scan cimport WORK_EXHAUSTED
from regatta.store._scan cimport Scan
from regatta.store._scan cimport key_in_range
from regatta.store._scan cimport scan_begin
from regatta.store._scan cimport scan_step
from regatta.store._scan cimport work_spend
from regatta.store._scan cimport write_pair

from regatta.errors import Code

cdef int CANCELLED = Code.CANCELLED
cdef int RESOURCE_EXHAUSTED = Code.RESOURCE_EXHAUSTED
cdef int DATA_LOSS = Code.DATA_LOSS


cdef int pair_put(MDB_txn *txn, MDB_dbi dbi, Table *table, Slice key, Slice value,
                  uint64_t revision, Buffer *previous, uint32_t number) noexcept nogil:
    cdef MDB_cursor *cursor = NULL
    cdef int code = cursor_open(txn, dbi, &cursor)
    if code != 0:
        return code
    code = pair_put_at(cursor, table, key, value, revision, previous, number)
    cursor_close(cursor)
    return code


cdef int pair_put_at(MDB_cursor *cursor, Table *table, Slice key, Slice value, uint64_t revision,
                     Buffer *previous, uint32_t number) noexcept nogil:
    cdef uint8_t[STORED_KEY_MAX] key_bytes
    cdef MDB_val stored, room
    cdef int code
    stored_key(key_bytes, table.id, key, &stored)
    # As if it were new, so that one search does for a pair that is.
    room.mv_data, room.mv_size = NULL, record_size(revision, revision, value.size)
    code = cursor_put(cursor, &stored, &room, MDB_NOOVERWRITE | MDB_RESERVE)
    if code == MDB_KEYEXIST:
        return _replace(cursor, table, &stored, &room, value, revision, previous, number)
    if code != 0:
        return code
    record_write(&stored, &room, revision, revision, value)
    table.key_count += 1
    table.byte_count += stored.mv_size + room.mv_size
    return 0


cdef int _replace(MDB_cursor *cursor, Table *table, MDB_val *stored, const MDB_val *old,
                  Slice value, uint64_t revision, Buffer *previous,
                  uint32_t number) noexcept nogil:
    """Put a pair in the place of *old*, on which the cursor stands."""
    cdef MDB_val room
    cdef Record record
    cdef uint64_t create_revision = revision
    cdef size_t old_size = old.mv_size
    cdef int code
    if previous != NULL:
        if record_open(stored, old, &record) < 0:
            return PAIRS_DAMAGED
        if write_pair(previous, number, stored, &record, False) < 0:
            return ENOMEM
    # A damaged pair may be overwritten: that is how it is mended.
    if record_parse(old, &record) == 0:
        create_revision = record.create_revision
    room.mv_data, room.mv_size = NULL, record_size(create_revision, revision, value.size)
    code = cursor_put(cursor, stored, &room, MDB_CURRENT | MDB_RESERVE)
    if code != 0:
        return code
    record_write(stored, &room, create_revision, revision, value)
    table.byte_count += room.mv_size
    table.byte_count -= old_size
    return 0


cdef int pairs_delete(MDB_txn *txn, MDB_dbi dbi, Table *table, const Query *query,
                      Buffer *previous, uint32_t number, Work *work,
                      uint64_t *deleted) noexcept nogil:
    cdef uint64_t count
    cdef bint more
    cdef int code
    deleted[0] = 0
    if previous != NULL:
        code = pairs_read(txn, dbi, table, query, previous, number, work, &count, &more)
        if code != 0:
            return code
        if more:
            return PAIRS_TOO_LARGE
    cdef MDB_cursor *cursor = NULL
    code = cursor_open(txn, dbi, &cursor)
    if code != 0:
        return code
    code = _delete_with(cursor, table, query, work, deleted)
    cursor_close(cursor)
    return code


cdef int _delete_with(MDB_cursor *cursor, Table *table, const Query *query, Work *work,
                      uint64_t *deleted) noexcept nogil:
    cdef uint8_t[STORED_KEY_MAX] key_bytes
    cdef MDB_val key, value
    cdef bint ranged = query.range_end.size > 0
    cdef size_t pair_bytes
    cdef int code
    stored_key(key_bytes, table.id, query.key, &key)
    code = cursor_get(cursor, &key, &value, MDB_SET_RANGE if ranged else MDB_SET_KEY)
    while code == 0 and (not ranged or key_in_range(&key, table.id, query)):
        pair_bytes = key.mv_size + value.mv_size
        # A single key is not counted: requests are not long enough for too many of them.
        code = work_spend(work, 0) if ranged else 0
        if code == 0:
            code = cursor_delete(cursor)
        if code != 0:
            return code
        deleted[0] += 1
        table.key_count -= 1
        table.byte_count -= pair_bytes
        if not ranged:
            return 0
        code = cursor_get(cursor, &key, &value, MDB_NEXT)
    return 0 if code == MDB_NOTFOUND else code


cdef int pairs_read(MDB_txn *txn, MDB_dbi dbi, const Table *table, const Query *query,
                    Buffer *out, uint32_t number, Work *work, uint64_t *count,
                    bint *more) noexcept nogil:
    cdef MDB_cursor *cursor = NULL
    cdef Scan scan
    cdef int state = SCAN_PAUSED
    cdef int code = cursor_open(txn, dbi, &cursor)
    if code != 0:
        return code
    scan_begin(&scan, query, table.id, cursor)
    scan.work = work
    while state == SCAN_PAUSED:
        state = scan_step(&scan, out, number, <size_t>-1, <size_t>-1)
    cursor_close(cursor)
    count[0] = <uint64_t>scan.count
    more[0] = scan.more or state == SCAN_PAGE
    if state == SCAN_PAGE or state == SCAN_END:
        return 0
    return PAIRS_DAMAGED if state == SCAN_DAMAGED else scan.error


cdef int pairs_discard(MDB_txn *txn, MDB_dbi dbi, uint64_t table, size_t pairs_max,
                       size_t bytes_max, bint *finished) noexcept nogil:
    cdef uint8_t[TABLE_ID_SIZE] key_bytes
    cdef MDB_cursor *cursor = NULL
    cdef MDB_val key, value
    cdef size_t pairs = 0, discarded_bytes = 0
    cdef int code = cursor_open(txn, dbi, &cursor)
    finished[0] = False
    if code != 0:
        return code
    finished[0] = False
    number_write(key_bytes, table)
    key.mv_data, key.mv_size = key_bytes, TABLE_ID_SIZE
    code = cursor_get(cursor, &key, &value, MDB_SET_RANGE)
    while code == 0 and number_read(<const uint8_t *>key.mv_data) == table:
        if pairs >= pairs_max or discarded_bytes >= bytes_max:
            break
        pairs += 1
        discarded_bytes += key.mv_size + value.mv_size
        code = cursor_delete(cursor)
        if code == 0:
            code = cursor_get(cursor, &key, &value, MDB_NEXT)
    else:
        finished[0] = code == 0 or code == MDB_NOTFOUND
    cursor_close(cursor)
    return 0 if code == MDB_NOTFOUND else code


cdef int refuse(int code, Outcome *outcome) noexcept nogil:
    if code == PAIRS_TOO_LARGE:
        outcome.code = RESOURCE_EXHAUSTED
        outcome.text = b"the previous pairs exceed 4 MiB; nothing was changed"
        return 0
    if code == PAIRS_DAMAGED:
        outcome.code = DATA_LOSS
        outcome.text = b"a stored pair is damaged; nothing was changed"
        return 0
    if code == WORK_EXHAUSTED:
        outcome.code = RESOURCE_EXHAUSTED
        outcome.text = (b"the transaction looks at more than 1,000,000 pairs or 256 MiB; "
                        b"nothing was changed")
        return 0
    if code == WORK_CANCELLED:
        outcome.code, outcome.text = CANCELLED, b"the transaction was cancelled"
        return 0
    return code
