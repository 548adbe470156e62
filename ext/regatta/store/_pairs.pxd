"""Changes to the pairs of one table inside a write transaction."""
from libc.stdint cimport uint32_t
from libc.stdint cimport uint64_t

from regatta.store._lmdb_h cimport MDB_cursor
from regatta.store._lmdb_h cimport MDB_dbi
from regatta.store._lmdb_h cimport MDB_txn
from regatta.store._scan cimport Query
from regatta.store._scan cimport Work
from regatta.wire._reader cimport Slice
from regatta.wire._buffer cimport Buffer

cdef struct Table:              # moves with the data, in the same transaction
    uint64_t id                 # prefix of the table's keys; never used again once replaced
    uint64_t key_count
    uint64_t byte_count         # of keys and stored values

cdef enum:                      # beside 0 and LMDB's codes, which are errno values or below -30000
    PAIRS_TOO_LARGE = -1        # the previous pairs don't fit into one answer; nothing was changed
    PAIRS_DAMAGED = -2          # a previous pair that is asked for is damaged; nothing was changed

# Store a pair. If *previous* is not NULL and there was a pair, it is appended there as field
# *number*. The key is 1 to USER_KEY_MAX bytes.
cdef int pair_put(MDB_txn *txn, MDB_dbi dbi, Table *table, Slice key, Slice value,
                  uint64_t revision, Buffer *previous, uint32_t number) noexcept nogil
# The same with a cursor of the transaction, which saves most of the search for a pair that is near
# the one before.
cdef int pair_put_at(MDB_cursor *cursor, Table *table, Slice key, Slice value, uint64_t revision,
                     Buffer *previous, uint32_t number) noexcept nogil
# Delete what *query* selects (key and range_end alone count); *previous* as above. *work* bounds
# what is looked at, NULL if nothing does; when it is exhausted, some pairs may be deleted already.
cdef int pairs_delete(MDB_txn *txn, MDB_dbi dbi, Table *table, const Query *query,
                      Buffer *previous, uint32_t number, Work *work,
                      uint64_t *deleted) noexcept nogil
# Append what *query* selects to *out* as field *number*, one page at most.
cdef int pairs_read(MDB_txn *txn, MDB_dbi dbi, const Table *table, const Query *query,
                    Buffer *out, uint32_t number, Work *work, uint64_t *count,
                    bint *more) noexcept nogil
# Delete at most *pairs_max* pairs of a table that is no longer in the catalogue.
cdef int pairs_discard(MDB_txn *txn, MDB_dbi dbi, uint64_t table, size_t pairs_max,
                       size_t bytes_max, bint *finished) noexcept nogil

cdef struct Outcome:            # what a command answers beside its result message
    int code                    # gRPC code
    bint failure_branch         # of a transaction: the comparisons did not hold
    const char *text            # static; NULL if code is 0

# Turn one of the codes above, or WORK_*, into the answer that its caller gets. Returns 0 if it was one of
# them, else *code* itself, which ends the turn.
cdef int refuse(int code, Outcome *outcome) noexcept nogil
