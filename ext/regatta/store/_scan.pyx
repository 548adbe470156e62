from libc.errno cimport ENOMEM
from libc.string cimport memcmp
from libc.string cimport memcpy
from libc.string cimport memset

from regatta.store._env cimport cursor_get
from regatta.store._lmdb_h cimport MDB_CORRUPTED
from regatta.store._lmdb_h cimport MDB_GET_CURRENT
from regatta.store._lmdb_h cimport MDB_NEXT
from regatta.store._lmdb_h cimport MDB_NOTFOUND
from regatta.store._lmdb_h cimport MDB_SET_KEY
from regatta.store._lmdb_h cimport MDB_SET_RANGE
from regatta.store._page cimport CACHE_LINE_BYTES
from regatta.store._page cimport NODE_HEAD
from regatta.store._page cimport prefetch
from regatta.store._record cimport STORED_KEY_MAX
from regatta.store._record cimport TABLE_ID_SIZE
from regatta.store._record cimport number_read
from regatta.store._record cimport record_open
from regatta.store._record cimport stored_key
from regatta.wire._varint cimport varint_size
from regatta.wire._varint cimport varint_write
from regatta.wire._buffer cimport buffer_reserve

from regatta import limits

cdef enum:
    PREFETCH_BYTES_MAX = 512    # the processor follows longer records by itself

cdef size_t page_bytes_max = limits.page_bytes_max


cdef inline void prefetch_ahead(const MDB_val *key, const MDB_val *value) noexcept nogil:
    """Have the processor load the record after the next one, while this one is worked on.

    LMDB fills a page from its end, so that of keys written in order each lies just below the one
    before it, a direction in which processors don't look ahead well. Of keys in another order it
    is some other record of the page, which a range most likely needs as well. A wrong guess is
    harmless: what is not mapped is not loaded.
    """
    cdef size_t size = NODE_HEAD + key.mv_size + value.mv_size
    cdef const uint8_t *start = <const uint8_t *>key.mv_data - 2 * size
    cdef size_t offset = 0
    if size > PREFETCH_BYTES_MAX:
        return
    while offset < size:
        prefetch(start + offset)
        offset += CACHE_LINE_BYTES


cdef void scan_begin(Scan *scan, const Query *query, uint64_t table, MDB_cursor *cursor) noexcept nogil:
    memset(scan, 0, sizeof(Scan))
    scan.query = query[0]
    scan.table = table
    scan.cursor = cursor


cdef void scan_next_page(Scan *scan) noexcept nogil:
    scan.count = 0
    scan.page_size = 0


cdef int work_spend(Work *work, size_t read_bytes) noexcept nogil:
    if work == NULL:
        return 0
    if work.cancelled != NULL and work.cancelled[0]:
        return WORK_CANCELLED
    if work.pairs_left == 0 or work.bytes_left < read_bytes:
        return WORK_EXHAUSTED
    work.pairs_left -= 1
    work.bytes_left -= read_bytes
    return 0


cdef int compare_bytes(const uint8_t *a, size_t a_size, const uint8_t *b, size_t b_size) noexcept nogil:
    cdef int order = memcmp(a, b, min(a_size, b_size))
    if order != 0:
        return order
    return (a_size > b_size) - (a_size < b_size)


cdef bint key_in_range(const MDB_val *key, uint64_t table, const Query *query) noexcept nogil:
    cdef const uint8_t *user_key = <const uint8_t *>key.mv_data + TABLE_ID_SIZE
    if number_read(<const uint8_t *>key.mv_data) != table:
        return False
    if query.range_end.size == 1 and query.range_end.data[0] == 0:
        return True
    return compare_bytes(user_key, key.mv_size - TABLE_ID_SIZE,
                         query.range_end.data, query.range_end.size) < 0


cdef int move(Scan *scan, MDB_val *key, MDB_val *value) noexcept nogil:
    """Go to the next pair. Returns an LMDB code, MDB_NOTFOUND at the end."""
    cdef uint8_t[STORED_KEY_MAX] key_bytes
    cdef int code
    if scan.pending:
        scan.pending = False
        return cursor_get(scan.cursor, key, value, MDB_GET_CURRENT)
    if scan.query.range_end.size == 0:
        if scan.started:
            return MDB_NOTFOUND
        scan.started = True
        stored_key(key_bytes, scan.table, scan.query.key, key)
        return cursor_get(scan.cursor, key, value, MDB_SET_KEY)
    if scan.started:
        code = cursor_get(scan.cursor, key, value, MDB_NEXT)
    else:
        scan.started = True
        stored_key(key_bytes, scan.table, scan.query.key, key)
        code = cursor_get(scan.cursor, key, value, MDB_SET_RANGE)
    if code != 0:
        return code
    if key.mv_size <= TABLE_ID_SIZE:
        return MDB_CORRUPTED
    if key_in_range(key, scan.table, &scan.query):
        return 0
    # Keys come in order: one from before the range is that of a damaged page.
    return MDB_CORRUPTED if number_read(<const uint8_t *>key.mv_data) < scan.table else MDB_NOTFOUND


cdef int write_pair(Buffer *out, uint32_t number, const MDB_val *key, const Record *record, bint keys_only) noexcept nogil:
    cdef size_t key_size = key.mv_size - TABLE_ID_SIZE
    cdef size_t tail_size = record.revisions_size if keys_only else record.tail.size
    cdef size_t size = 1 + varint_size(key_size) + key_size + tail_size
    cdef uint8_t *at
    if buffer_reserve(out, 15 + size) < 0:
        return -1
    at = varint_write(out.data + out.size, <uint64_t>number << 3 | 2)
    at = varint_write(at, size)
    at[0] = 0x0A
    at = varint_write(at + 1, key_size)
    memcpy(at, <const uint8_t *>key.mv_data + TABLE_ID_SIZE, key_size)
    memcpy(at + key_size, record.tail.data, tail_size)
    out.size = at + key_size + tail_size - out.data
    return 0


cdef int scan_step(Scan *scan, Buffer *out, uint32_t number, size_t pairs_max, size_t bytes_max) noexcept nogil:
    cdef Query *query = &scan.query
    cdef MDB_val key, value
    cdef Record record
    cdef size_t before = out.size
    cdef size_t pair_size, _looked_at
    cdef int code
    # Counting without a filter needs no look at the records.
    cdef bint open_records = not query.count_only or has_filter(query)
    for _looked_at in range(pairs_max):
        if out.size - before >= bytes_max:
            return SCAN_PAUSED
        code = move(scan, &key, &value)
        if code == MDB_NOTFOUND:
            return SCAN_END
        if code == 0:
            prefetch_ahead(&key, &value)
            code = work_spend(scan.work, value.mv_size if open_records else 0)
        if code != 0:
            scan.error = code
            return SCAN_FAILED
        if open_records:
            if record_open(&key, &value, &record) < 0:
                return SCAN_DAMAGED
            if not passes(query, &record):
                continue
        if query.limit > 0 and scan.taken == query.limit:
            scan.more = True
            return SCAN_END
        if not query.count_only:
            pair_size = key.mv_size - TABLE_ID_SIZE + (0 if query.keys_only else record.value.size)
            if scan.count > 0 and scan.page_size + pair_size >= page_bytes_max:
                scan.pending = True
                return SCAN_PAGE
            pair_size = out.size
            if write_pair(out, number, &key, &record, query.keys_only) < 0:
                scan.error = ENOMEM
                return SCAN_FAILED
            scan.page_size += out.size - pair_size
        scan.taken += 1
        scan.count += 1
    return SCAN_PAUSED
