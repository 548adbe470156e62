"""What a daemon that stores Puts can't do without: each batch into a log and into the data.

One thread, no network, no agreement, no answers: for each batch one transaction of the log,
synced, and one of the pairs, whose checkpoints are the caller's matter.
"""
from libc.stdint cimport uint8_t
from libc.stdint cimport uint32_t
from libc.stdint cimport uint64_t
from libc.stdlib cimport free
from libc.stdlib cimport malloc
from libc.string cimport memcpy
from posix.time cimport CLOCK_MONOTONIC
from posix.time cimport clock_gettime
from posix.time cimport timespec

from _commit cimport check
from _commit cimport end
from _messages cimport FAMILY_BYTES
from _messages cimport KEY_BYTES
from _messages cimport REQUEST_BYTES_MAX
from _messages cimport TABLE_BYTES_MAX
from _messages cimport Spec
from _messages cimport key_write
from _messages cimport write_put
from regatta.store._env cimport Environment
from regatta.store._env cimport put
from regatta.store._env cimport txn_begin
from regatta.store._lmdb_h cimport MDB_txn
from regatta.store._lmdb_h cimport MDB_val
from regatta.store._pairs cimport Table
from regatta.store._pairs cimport pair_put
from regatta.store._record cimport number_write
from regatta.wire._reader cimport Slice

cdef enum:
    TABLE_ID = 1


cdef class Floor:
    """One table that takes batches of Puts; its environments, a log and data, are the caller's.

    *numbers*, an array of "I", says which pairs are put, over and over.
    """

    cdef Environment log
    cdef Environment data
    cdef const uint32_t[::1] numbers
    cdef Py_ssize_t position
    cdef Spec spec
    cdef Table table
    cdef uint64_t index
    cdef uint8_t *message       # room for one
    cdef readonly uint64_t batch_count

    def __init__(self, Environment log not None, Environment data not None, numbers not None, *,
                 bytes table=b"regatta", bytes family=b"key-", size_t value_size=100):
        if not 0 < len(table) <= TABLE_BYTES_MAX or len(family) != FAMILY_BYTES or len(numbers) == 0:
            raise ValueError("the table's or family's name, or the numbers, can't be used")
        self.log, self.data, self.numbers = log, data, numbers
        memcpy(self.spec.table, <const char *>table, len(table))
        memcpy(self.spec.family, <const char *>family, FAMILY_BYTES)
        self.spec.table_size, self.spec.value_size = len(table), value_size
        self.table.id = TABLE_ID
        self.message = <uint8_t *>malloc(REQUEST_BYTES_MAX + TABLE_BYTES_MAX + value_size)
        if self.message == NULL:
            raise MemoryError

    def __dealloc__(self):
        free(self.message)

    @property
    def key_count(self):
        """How many keys the table holds."""
        return self.table.key_count

    def run(self, double seconds, Py_ssize_t batch_size, uint64_t batches_max=<uint64_t>-1):
        """Commit batches of *batch_size* Puts for *seconds*, or *batches_max* of them.

        Return the seconds that it took; raise OSError if LMDB fails.
        """
        cdef double start_s = clock_s(), now_s = start_s
        cdef uint64_t count = 0
        cdef int code = 0
        with nogil:
            while code == 0 and count < batches_max and now_s < start_s + seconds:
                code = self.write_log(batch_size)
                if code == 0:
                    code = self.write_pairs(batch_size)
                count += 1
                now_s = clock_s()
        check(code)
        self.batch_count = count
        return now_s - start_s

    cdef int write_log(self, Py_ssize_t batch_size) noexcept nogil:
        """Store the Puts, one entry each, that write_pairs will apply."""
        cdef uint8_t[8] index
        cdef MDB_txn *txn = NULL
        cdef MDB_val key, value
        cdef Py_ssize_t i
        cdef int code = txn_begin(self.log.env, NULL, 0, &txn)
        if code != 0:
            return code
        key.mv_data, key.mv_size = index, sizeof(index)
        value.mv_data = self.message
        for i in range(batch_size):
            number_write(index, self.index + i + 1)
            value.mv_size = write_put(self.message, &self.spec, self.number_at(i))
            code = put(txn, self.log.data, &key, &value, 0)
            if code != 0:
                break
        return end(txn, code)

    cdef int write_pairs(self, Py_ssize_t batch_size) noexcept nogil:
        cdef uint8_t[KEY_BYTES] key_bytes
        cdef MDB_txn *txn = NULL
        cdef Slice key, value
        cdef size_t message_size
        cdef Py_ssize_t i
        cdef int code = txn_begin(self.data.env, NULL, 0, &txn)
        if code != 0:
            return code
        key.data, key.size, value.size = key_bytes, KEY_BYTES, self.spec.value_size
        for i in range(batch_size):
            key_write(key_bytes, &self.spec, self.number_at(i))
            message_size = write_put(self.message, &self.spec, self.number_at(i))
            value.data = self.message + message_size - self.spec.value_size     # its last field
            code = pair_put(txn, self.data.data, &self.table, key, value, self.index + i + 1, NULL, 0)
            if code != 0:
                break
        self.index += batch_size
        self.position = (self.position + batch_size) % self.numbers.shape[0]
        return end(txn, code)

    cdef inline uint32_t number_at(self, Py_ssize_t i) noexcept nogil:
        return self.numbers[(self.position + i) % self.numbers.shape[0]]


cdef inline double clock_s() noexcept nogil:
    cdef timespec now
    clock_gettime(CLOCK_MONOTONIC, &now)
    return now.tv_sec + now.tv_nsec / 1e9
