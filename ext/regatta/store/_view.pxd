"""Reading: a renewable snapshot with the catalogue as it was at that moment."""
from libc.stddef cimport size_t
from libc.stdint cimport uint8_t
from libc.stdint cimport uint64_t

from regatta.store._catalogue cimport Group
from regatta.store._env cimport Environment
from regatta.store._lmdb_h cimport MDB_cursor
from regatta.store._lmdb_h cimport MDB_txn
from regatta.store._lmdb_h cimport MDB_val
from regatta.store._lookup cimport Pages

cdef class View:
    """One snapshot at a time, kept by one thread and renewed cheaply."""
    cdef readonly Environment environment
    cdef MDB_txn *txn           # reset when not live
    cdef bint live
    cdef MDB_cursor *cursor     # over the pairs; NULL until there was a use for it
    cdef bint cursor_live       # it belongs to the present snapshot
    cdef size_t transaction     # id of the transaction that what is below was loaded at
    cdef Pages pages            # of the pairs
    cdef uint64_t version       # of the catalogue below
    cdef bint loaded
    cdef Group **tables         # open addressing by name; NULL is free
    cdef size_t table_count
    cdef size_t table_capacity  # a power of two, or 0

    # Make sure that there is a snapshot, a new one unless renewed since release. Returns 0, an
    # LMDB code or CATALOGUE_DAMAGED.
    cdef int renew(self) noexcept nogil
    cdef void release(self) noexcept nogil
    # Point *cursor* at a cursor over the pairs of the present snapshot, which is shared by all that
    # ask and stands anywhere. Borrowed until release. Returns 0 or an LMDB code.
    cdef int pairs(self, MDB_cursor **cursor) noexcept nogil
    # The table of that name in the present snapshot, or NULL. Borrowed until the next renew.
    cdef const Group *find(self, const uint8_t *name, size_t size) noexcept nogil

    cdef int _load(self) noexcept nogil
    cdef int _load_from(self, MDB_cursor *cursor) noexcept nogil
    cdef int _add(self, const Group *group) noexcept nogil
    cdef void _place(self, Group *table) noexcept nogil
    cdef void _forget(self) noexcept nogil
