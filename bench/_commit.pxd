"""Ends of write transactions, for the floors that daemons are measured beside."""
from regatta.store._env cimport error_text
from regatta.store._env cimport txn_abort
from regatta.store._env cimport txn_commit
from regatta.store._lmdb_h cimport MDB_txn


cdef inline int end(MDB_txn *txn, int code) noexcept nogil:
    """Commit, or abort if *code* is not 0. Returns the first code that was not 0, or 0."""
    if code != 0:
        txn_abort(txn)
        return code
    return txn_commit(txn)


cdef inline int check(int code) except -1:
    """Raise OSError if *code*, of LMDB, is not 0."""
    if code != 0:
        raise OSError(error_text(code).decode())
    return 0
