"""Ranges: which pairs a request selects, and pages of them as encoded messages."""
from libc.stddef cimport size_t
from libc.stdint cimport int64_t
from libc.stdint cimport uint8_t
from libc.stdint cimport uint32_t
from libc.stdint cimport uint64_t

from regatta.store._lmdb_h cimport MDB_cursor
from regatta.store._lmdb_h cimport MDB_val
from regatta.store._record cimport Record
from regatta.wire._reader cimport Slice
from regatta.wire._buffer cimport Buffer

cdef struct Query:              # what is asked; all zeroes but the key: exactly that key
    Slice key                   # 1 to USER_KEY_MAX bytes
    Slice range_end             # empty: exactly key; one zero byte: no end
    int64_t limit               # pairs at most over the whole scan, 0 for no limit
    bint keys_only
    bint count_only
    int64_t min_mod_revision    # inclusive bounds, 0 for none
    int64_t max_mod_revision
    int64_t min_create_revision
    int64_t max_create_revision

cdef struct Work:               # what a transaction may still look at
    uint64_t pairs_left
    uint64_t bytes_left         # of records that are read
    const bint *cancelled       # turns True when nobody wants the result any more; may be NULL

cdef enum:                      # what work_spend returns beside 0, and scan_step in scan.error
    WORK_EXHAUSTED = -3
    WORK_CANCELLED = -4

cdef enum:                      # what scan_step returns
    SCAN_PAUSED = 0             # the stretch is over; call again
    SCAN_PAGE = 1               # a page is complete and there are more pairs
    SCAN_END = 2                # nothing more; scan.more tells whether the limit cut it
    SCAN_DAMAGED = 3            # a stored record is damaged
    SCAN_FAILED = 4             # scan.error tells why

cdef struct Scan:
    Query query                 # borrows; must outlive the scan
    uint64_t table
    MDB_cursor *cursor          # of the caller's transaction
    Work *work                  # set it after scan_begin to bound the scan; else NULL
    bint started
    bint pending                # the cursor's pair did not fit into the last page
    bint more                   # the limit was reached and at least one pair was left over
    int64_t taken               # pairs over the whole scan
    int64_t count               # pairs on this page
    int error                   # LMDB code, errno or WORK_*, after SCAN_FAILED
    size_t page_size            # bytes of encoded pairs on this page

cdef inline bint has_filter(const Query *query) noexcept nogil:
    return (query.min_mod_revision or query.max_mod_revision
            or query.min_create_revision or query.max_create_revision)


cdef inline bint passes(const Query *query, const Record *record) noexcept nogil:
    """Say whether a pair's revisions are within the query's bounds."""
    cdef int64_t modified = <int64_t>record.mod_revision
    cdef int64_t created = <int64_t>record.create_revision
    return ((query.min_mod_revision == 0 or modified >= query.min_mod_revision)
            and (query.max_mod_revision == 0 or modified <= query.max_mod_revision)
            and (query.min_create_revision == 0 or created >= query.min_create_revision)
            and (query.max_create_revision == 0 or created <= query.max_create_revision))


# Begin a scan of *table* with a *cursor* that need not stand anywhere.
cdef void scan_begin(Scan *scan, const Query *query, uint64_t table, MDB_cursor *cursor) noexcept nogil
# Go on for at most *pairs_max* pairs looked at or *bytes_max* bytes put out, appending each pair
# to *out* as field *number* (a KeyValue).
cdef int scan_step(Scan *scan, Buffer *out, uint32_t number, size_t pairs_max, size_t bytes_max) noexcept nogil
# Begin the next page, after SCAN_PAGE.
cdef void scan_next_page(Scan *scan) noexcept nogil

# Take a look at one pair, of which *read_bytes* are read, off *work*; NULL is without bounds.
cdef int work_spend(Work *work, size_t read_bytes) noexcept nogil
cdef int compare_bytes(const uint8_t *a, size_t a_size, const uint8_t *b, size_t b_size) noexcept nogil
# Is a stored key part of the range? *key* has the table's prefix or a later one.
cdef bint key_in_range(const MDB_val *key, uint64_t table, const Query *query) noexcept nogil
cdef int write_pair(Buffer *out, uint32_t number, const MDB_val *key, const Record *record, bint keys_only) noexcept nogil
