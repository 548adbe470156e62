from libc.errno cimport ENOMEM
from libc.stdint cimport int64_t
from posix.unistd cimport usleep
from posix.unistd cimport write

from regatta.measure._histogram cimport Histogram
from regatta.measure._histogram cimport now_ns
from regatta.store._env cimport error_text
from regatta.store._env cimport sync_stats
from regatta.store._env cimport txn_abort
from regatta.store._env cimport txn_begin
from regatta.store._env cimport txn_commit
from regatta.wire._buffer cimport buffer_append
from regatta.wire._buffer cimport buffer_free
from regatta.wire._buffer cimport buffer_reserve

from regatta import limits
from regatta.measure import disk_bounds_s

cdef extern from "<pthread.h>" nogil:
    int pthread_mutex_init(pthread_mutex_t *, void *)
    int pthread_mutex_lock(pthread_mutex_t *)
    int pthread_mutex_unlock(pthread_mutex_t *)
    int pthread_mutex_destroy(pthread_mutex_t *)
    int pthread_cond_init(pthread_cond_t *, void *)
    int pthread_cond_wait(pthread_cond_t *, pthread_mutex_t *)
    int pthread_cond_signal(pthread_cond_t *)
    int pthread_cond_destroy(pthread_cond_t *)

cdef extern from * nogil:
    """
    #define load_acquire(cell) __atomic_load_n(cell, __ATOMIC_ACQUIRE)
    #define store_release(cell, value) __atomic_store_n(cell, value, __ATOMIC_RELEASE)
    """
    uint64_t load_acquire(uint64_t *cell)
    int load_acquire_int "load_acquire"(int *cell)
    void store_release(uint64_t *cell, uint64_t value)
    void store_release_int "store_release"(int *cell, int value)

cdef enum:
    RETRY_WAIT_US = 200_000     # between tries of a turn that met a full disk
    KEPT_CAPACITY_MAX = 8 << 20     # a queue that grew larger gives its memory back
    FILE_GONE = -1              # a failure code that is neither LMDB's nor an errno

cdef size_t turn_bytes_max = limits.turn_bytes_max


cdef inline size_t padded(size_t size) noexcept nogil:
    return (size + 7) & ~<size_t>7


cdef class TurnWriter:
    """Base of the two storage threads; subclasses say what an item does to a transaction.

    *wake_descriptor* is an eventfd that is written after each turn and on failure.
    """

    def __cinit__(self, Environment environment not None, int wake_descriptor):
        self.environment = environment
        self.wake_descriptor = wake_descriptor
        self.turn_time = Histogram(disk_bounds_s)
        pthread_mutex_init(&self.lock, NULL)
        pthread_cond_init(&self.filled, NULL)

    def __dealloc__(self):
        buffer_free(&self.filling)
        buffer_free(&self.turn)
        pthread_mutex_destroy(&self.lock)
        pthread_cond_destroy(&self.filled)

    @property
    def committed(self):
        """How many of the items put in are committed, and synced where the environment syncs."""
        return load_acquire(&self.done)

    @property
    def failure(self):
        """Why the thread has stopped for good, or None."""
        cdef int code = load_acquire_int(&self.failure_code)
        if code == 0:
            return None
        if code == FILE_GONE:
            return f"{self.environment.path}/data.mdb was deleted or replaced while it was in use"
        cdef int sync_errno = sync_stats().failure
        what = "a sync failed" if sync_errno else "a write failed"
        text = error_text(sync_errno if sync_errno else code).decode()
        return f"{what} in {self.environment.path}: {text}"

    @property
    def stalled(self):
        """Why the present turn is being tried again, or None."""
        cdef int code = load_acquire_int(&self.stalled_code)
        return error_text(code).decode() if code else None

    def flush(self):
        """Let the thread begin on what was put in. Without it, items wait for the next flush."""
        pthread_mutex_lock(&self.lock)
        self.flushed = True
        pthread_cond_signal(&self.filled)
        pthread_mutex_unlock(&self.lock)

    def close(self):
        """Let the thread finish what was put in, and end."""
        pthread_mutex_lock(&self.lock)
        self.closed = True
        pthread_cond_signal(&self.filled)
        pthread_mutex_unlock(&self.lock)

    def run(self):
        """Be the storage thread, until close() or a failure. Never takes the GIL between turns."""
        cdef size_t offset
        cdef int code = 0
        with nogil:
            while code == 0 and self._take():
                offset = 0
                while True:
                    code = self._write_turn(&offset)
                    if code != 0:
                        store_release_int(&self.failure_code, code)
                    self._wake()
                    if code != 0 or offset >= self.turn.size:
                        break

    cdef int enqueue(self, uint32_t kind, uint32_t entry_kind, uint64_t group, uint64_t index,
                     uint64_t term, const uint8_t *data, size_t size) except -1:
        cdef Item item
        cdef uint64_t zero = 0
        cdef int code
        item.kind, item.entry_kind = kind, entry_kind
        item.group, item.index, item.term, item.size = group, index, term, size
        pthread_mutex_lock(&self.lock)
        code = buffer_reserve(&self.filling, sizeof(Item) + padded(size))
        if code == 0:
            buffer_append(&self.filling, &item, sizeof(Item))
            buffer_append(&self.filling, data, size)
            buffer_append(&self.filling, &zero, padded(size) - size)
            self.queued += 1
            self.queued_bytes += sizeof(Item) + padded(size)
        pthread_mutex_unlock(&self.lock)
        if code < 0:
            raise MemoryError
        return 0

    cdef void _wake(self) noexcept nogil:
        cdef uint64_t one = 1
        write(self.wake_descriptor, &one, sizeof(one))

    cdef bint _take(self) noexcept nogil:
        """Wait for work and take all of it. Returns False when there is none left and never will be."""
        cdef Buffer emptied
        cdef bint more
        if self.turn.capacity > KEPT_CAPACITY_MAX:
            buffer_free(&self.turn)
        self.turn.size = 0
        pthread_mutex_lock(&self.lock)
        while not (self.closed or self.has_idle_work() or (self.flushed and self.filling.size)):
            pthread_cond_wait(&self.filled, &self.lock)
        emptied = self.turn
        self.turn = self.filling
        self.filling = emptied
        self.flushed = False
        more = self.turn.size > 0 or not self.closed
        pthread_mutex_unlock(&self.lock)
        return more

    cdef int _write_turn(self, size_t *offset) noexcept nogil:
        """Commit a turn's items from *offset* on, at most turn_bytes_max, and move *offset* past them.

        A turn that meets a full disk is kept and tried again until it works or close() is called.
        """
        cdef int code
        cdef size_t stop
        cdef uint64_t count
        cdef int64_t begun_ns
        while True:
            begun_ns = now_ns()
            code = self._try_turn(offset[0], &stop, &count)
            if code == 0:
                break
            self.after_abort()
            if not self.environment.may_retry(code) or self.closed:
                return code
            store_release_int(&self.stalled_code, code)
            self._wake()
            usleep(RETRY_WAIT_US)
        code = self.after_commit() if self.environment.is_in_place() else FILE_GONE
        if code != 0:
            return code
        store_release_int(&self.stalled_code, 0)
        self.turn_time.add_ns(now_ns() - begun_ns, 1)
        self.done_bytes += stop - offset[0]
        offset[0] = stop
        self.turns += 1
        store_release(&self.done, self.done + count)
        return 0

    cdef int _try_turn(self, size_t start, size_t *stop, uint64_t *count) noexcept nogil:
        cdef MDB_txn *txn = NULL
        cdef const Item *item
        cdef size_t offset = start
        cdef int code = txn_begin(self.environment.env, NULL, 0, &txn)
        if code != 0:
            return code
        count[0] = 0
        while offset < self.turn.size and (offset - start < turn_bytes_max or offset == start):
            item = <const Item *>(self.turn.data + offset)
            code = self.write_item(txn, item)
            if code != 0:
                txn_abort(txn)
                return code
            offset += sizeof(Item) + padded(item.size)
            count[0] += 1
        code = self.before_commit(txn)
        if code != 0:
            txn_abort(txn)
            return code
        stop[0] = offset
        return txn_commit(txn)

    cdef int write_item(self, MDB_txn *txn, const Item *item) noexcept nogil:
        return ENOMEM           # subclasses replace it

    cdef int before_commit(self, MDB_txn *txn) noexcept nogil:
        return 0

    cdef int after_commit(self) noexcept nogil:
        return 0

    cdef void after_abort(self) noexcept nogil:
        pass

    cdef bint has_idle_work(self) noexcept nogil:
        return False
