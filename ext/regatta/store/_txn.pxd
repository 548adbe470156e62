"""Transactions of the API (mvcc.v1.Txn): comparisons, then one of two lists of operations."""
from libc.stdint cimport uint64_t

from regatta.store._lmdb_h cimport MDB_dbi
from regatta.store._lmdb_h cimport MDB_env
from regatta.store._lmdb_h cimport MDB_txn
from regatta.store._pairs cimport Outcome
from regatta.store._pairs cimport Table
from regatta.wire._reader cimport Slice
from regatta.wire._buffer cimport Buffer

# Both append one ResponseOp an operation to *result*, as field *number*, and return 0 or an LMDB
# code. What the caller of the transaction must be told is in *outcome*; if that is an error,
# nothing was changed and *result* is as it was.

# Run a transaction that may write, inside *txn* of *env*.
cdef int transact(MDB_env *env, MDB_txn *txn, MDB_dbi dbi, Table *table, Slice message,
                  uint64_t revision, Buffer *result, Outcome *outcome) noexcept nogil
# Run a transaction whose operations are all ranges, inside a read transaction; it ends early when
# *cancelled* turns True.
cdef int transact_read_only(MDB_txn *txn, MDB_dbi dbi, Table *table, Slice message,
                            const bint *cancelled, Buffer *result,
                            Outcome *outcome) noexcept nogil
