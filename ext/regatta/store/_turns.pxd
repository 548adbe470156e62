"""A storage thread: the one writer of an environment, which works turn by turn.

What queues up while one turn is written and synced becomes the next turn. That is the group
commit: the slower the disk, the larger the turns.
"""
from libc.stddef cimport size_t
from libc.stdint cimport uint8_t
from libc.stdint cimport uint32_t
from libc.stdint cimport uint64_t

from regatta.measure._histogram cimport Histogram
from regatta.store._env cimport Environment
from regatta.store._lmdb_h cimport MDB_txn
from regatta.wire._buffer cimport Buffer

cdef extern from "<pthread.h>" nogil:
    ctypedef struct pthread_mutex_t:
        pass
    ctypedef struct pthread_cond_t:
        pass

cdef struct Item:               # one piece of work; *size* bytes follow it, padded to 8
    uint32_t kind               # what it means is the writer's matter
    uint32_t entry_kind
    uint64_t group
    uint64_t index
    uint64_t term
    uint64_t size

cdef inline const uint8_t *item_data(const Item *item) noexcept nogil:
    return <const uint8_t *>item + sizeof(Item)

cdef class TurnWriter:
    cdef readonly Environment environment
    # How many items have been put in, ever; and how many of those are committed.
    cdef readonly uint64_t queued
    cdef readonly uint64_t done
    cdef readonly uint64_t turns
    # The memory that items have taken while they waited, ever; and that of the committed ones.
    cdef readonly uint64_t queued_bytes
    cdef readonly uint64_t done_bytes
    cdef readonly Histogram turn_time       # how long a turn took to write, commit and sync
    cdef int wake_descriptor
    cdef int failure_code       # 0 while all is well; else what LMDB said, and the thread has ended
    cdef int stalled_code       # why the present turn is being tried again, or 0
    cdef bint closed
    cdef bint flushed
    cdef pthread_mutex_t lock   # guards filling, queued, closed, flushed
    cdef pthread_cond_t filled
    cdef Buffer filling         # items put in since the last turn was taken
    cdef Buffer turn            # items that the thread is working on

    cdef int enqueue(self, uint32_t kind, uint32_t entry_kind, uint64_t group, uint64_t index,
                     uint64_t term, const uint8_t *data, size_t size) except -1

    # For subclasses; all run on the storage thread. They return 0 or an LMDB code.
    cdef int write_item(self, MDB_txn *txn, const Item *item) noexcept nogil
    cdef int before_commit(self, MDB_txn *txn) noexcept nogil
    cdef int after_commit(self) noexcept nogil
    cdef void after_abort(self) noexcept nogil
    cdef bint has_idle_work(self) noexcept nogil

    cdef void _wake(self) noexcept nogil
    cdef bint _take(self) noexcept nogil
    cdef int _write_turn(self, size_t *offset) noexcept nogil
    cdef int _try_turn(self, size_t start, size_t *stop, uint64_t *count) noexcept nogil
