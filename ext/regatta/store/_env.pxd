"""The one owner of LMDB: environments, transactions, cursors, and what their syncs did.

LMDB is linked into this module alone; others reach it through the functions below, which take
and return what lmdb.h says of the functions they are named after.
"""
from libc.stddef cimport size_t
from libc.stdint cimport uint8_t
from libc.stdint cimport uint64_t

from regatta.measure._histogram cimport Histogram
from regatta.store._lmdb_h cimport MDB_cursor
from regatta.store._lmdb_h cimport MDB_cursor_op
from regatta.store._lmdb_h cimport MDB_dbi
from regatta.store._lmdb_h cimport MDB_env
from regatta.store._lmdb_h cimport MDB_envinfo
from regatta.store._lmdb_h cimport MDB_stat
from regatta.store._lmdb_h cimport MDB_txn
from regatta.store._lmdb_h cimport MDB_val

cdef enum:
    MAIN_DATABASE = 1           # LMDB's own, which holds the names of the others

cdef class Environment:
    cdef MDB_env *env           # NULL once closed
    cdef MDB_dbi data           # the big database: pairs, or log entries
    cdef MDB_dbi meta           # the small one beside it
    cdef readonly str path      # of the directory
    cdef bytes file_name        # of data.mdb, for the storage threads
    cdef const char *file_path
    cdef uint64_t file_device   # which file is open under that name
    cdef uint64_t file_number
    # Read transactions that live outside one call. close() leaves the closing to the last one,
    # because LMDB forbids it before.
    cdef size_t readers
    cdef bint closing
    cdef readonly Histogram sync_time       # of the data file's syncs
    cdef int descriptor         # of the data file, -1 while none is open
    cdef object checkpoints     # a CheckpointFile, or None where each commit is synced
    cdef uint64_t unwritten_bytes   # of commands that were committed, and are left to the checkpoint
    cdef MDB_txn *pin           # reads the newest checkpoint, whose pages are not used again
    cdef MDB_txn *doubtful_pin  # of one whose own sync has failed

    cdef void close_file(self) noexcept
    cdef int begin_reading(self, MDB_txn **txn) noexcept
    cdef void end_reading(self, MDB_txn *txn) noexcept

    cdef int _pin(self, MDB_txn **pinned, uint8_t *meta) noexcept nogil

    # A commit of *size* bytes of commands is done. As long as it is little, the kernel is let write it
    # out at once, which promises nothing: the checkpoint has less to do then, and syncs of the log
    # wait less for it.
    cdef void note_commit(self, size_t size) noexcept nogil

    # After a commit or sync has failed with *code*: may the same turn be tried again? A failed
    # sync, or a failed write of the meta page, is final (the kernel may have dropped the pages).
    cdef bint may_retry(self, int code) noexcept nogil

    # Is the open file still the one at its path? A file that was deleted can be written and
    # synced for ever without an error.
    cdef bint is_in_place(self) noexcept nogil

cdef struct SyncStats:          # of the whole process, since it began
    uint64_t count              # syncs that succeeded
    uint64_t total_ns           # time spent in them
    int failure                 # errno of the first one that failed, 0 if none has

cdef SyncStats sync_stats() noexcept nogil

cdef int env_info(MDB_env *env, MDB_envinfo *info) noexcept nogil
cdef int txn_begin(MDB_env *env, MDB_txn *parent, unsigned int flags, MDB_txn **txn) noexcept nogil
cdef int txn_commit(MDB_txn *txn) noexcept nogil
cdef void txn_abort(MDB_txn *txn) noexcept nogil
cdef void txn_reset(MDB_txn *txn) noexcept nogil
cdef int txn_renew(MDB_txn *txn) noexcept nogil
cdef size_t txn_id(MDB_txn *txn) noexcept nogil
cdef int stat(MDB_txn *txn, MDB_dbi dbi, MDB_stat *stat) noexcept nogil
cdef int get(MDB_txn *txn, MDB_dbi dbi, MDB_val *key, MDB_val *value) noexcept nogil
cdef int put(MDB_txn *txn, MDB_dbi dbi, MDB_val *key, MDB_val *value, unsigned int flags) noexcept nogil
cdef int delete(MDB_txn *txn, MDB_dbi dbi, MDB_val *key) noexcept nogil
cdef int cursor_open(MDB_txn *txn, MDB_dbi dbi, MDB_cursor **cursor) noexcept nogil
cdef void cursor_close(MDB_cursor *cursor) noexcept nogil
cdef int cursor_renew(MDB_txn *txn, MDB_cursor *cursor) noexcept nogil
cdef int cursor_get(MDB_cursor *cursor, MDB_val *key, MDB_val *value, MDB_cursor_op op) noexcept nogil
cdef int cursor_put(MDB_cursor *cursor, MDB_val *key, MDB_val *value, unsigned int flags) noexcept nogil
cdef int cursor_delete(MDB_cursor *cursor) noexcept nogil
cdef const char *error_text(int code) noexcept nogil
