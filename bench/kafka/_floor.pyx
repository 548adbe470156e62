"""What a daemon that consumes can't do without: batches of records into LMDB, durably.

One thread, no log unless it is asked for, no agreement, no positions but a number for each
partition: what is left is the cost of the store itself.
"""
from libc.stdint cimport int64_t
from libc.stdint cimport uint8_t
from libc.stdint cimport uint64_t

from _commit cimport check
from _commit cimport end
from regatta.store._env cimport Environment
from regatta.store._env cimport get
from regatta.store._env cimport put
from regatta.store._env cimport txn_abort
from regatta.store._env cimport txn_begin
from regatta.store._lmdb_h cimport MDB_RDONLY
from regatta.store._lmdb_h cimport MDB_txn
from regatta.store._lmdb_h cimport MDB_val
from regatta.store._pairs cimport Table
from regatta.store._pairs cimport pair_put
from regatta.store._record cimport STORED_KEY_MAX
from regatta.store._record cimport Record
from regatta.store._record cimport number_write
from regatta.store._record cimport record_open
from regatta.store._record cimport stored_key
from regatta.wire._reader cimport Slice

from confluent_kafka import Message

cdef enum:
    TABLE_ID = 1
    POSITION_KEY_BYTES = 9

# Called through the class, a method needs no search for its name.
cdef object error_of = Message.error
cdef object partition_of = Message.partition
cdef object offset_of = Message.offset
cdef object key_of = Message.key
cdef object value_of = Message.value


cdef class Floor:
    """One table that takes batches; its environments are the caller's."""

    cdef Environment data
    cdef Environment log        # None where there is none
    cdef Table table
    cdef uint64_t revision

    def __init__(self, Environment data not None, Environment log=None):
        self.data, self.log = data, log
        self.table.id = TABLE_ID

    @property
    def key_count(self):
        """How many keys the table holds."""
        return self.table.key_count

    def write_log(self, bytes command not None):
        """Commit what a log would hold of the next batch, synced."""
        cdef uint8_t[8] index
        cdef MDB_txn *txn = NULL
        cdef MDB_val key, value
        number_write(index, self.revision + 1)
        key.mv_data, key.mv_size = index, sizeof(index)
        value.mv_data, value.mv_size = <char *>command, <size_t>len(command)
        check(txn_begin(self.log.env, NULL, 0, &txn))
        check(end(txn, put(txn, self.log.data, &key, &value, 0)))

    def write(self, list messages not None):
        """Commit one poll's messages as one transaction; return how many records it had."""
        cdef MDB_txn *txn = NULL
        cdef dict positions = {}
        cdef object message
        cdef Py_ssize_t count = 0
        cdef int code
        self.revision += 1
        check(txn_begin(self.data.env, NULL, 0, &txn))
        for message in messages:
            if error_of(message) is not None:
                continue        # the end of a partition
            code = pair_put(txn, self.data.data, &self.table, slice_of(key_of(message)),
                            slice_of(value_of(message)), self.revision, NULL, 0)
            if code != 0:
                check(end(txn, code))
            positions[partition_of(message)] = offset_of(message) + 1
            count += 1
        for partition, position in positions.items():
            code = self.store_position(txn, partition, position)
            if code != 0:
                check(end(txn, code))
        check(end(txn, 0))
        return count

    cdef int store_position(self, MDB_txn *txn, uint64_t partition, int64_t position) noexcept:
        cdef uint8_t[POSITION_KEY_BYTES] key_bytes
        cdef MDB_val key, value
        key_bytes[0] = c'p'
        number_write(key_bytes + 1, partition)
        key.mv_data, key.mv_size = key_bytes, POSITION_KEY_BYTES
        value.mv_data, value.mv_size = &position, sizeof(position)
        return put(txn, self.data.meta, &key, &value, 0)

    def read(self, bytes key not None):
        """Return a key's value, or None."""
        cdef uint8_t[STORED_KEY_MAX] key_bytes
        cdef MDB_txn *txn = NULL
        cdef MDB_val stored, value
        cdef Record record
        found = None
        check(txn_begin(self.data.env, NULL, MDB_RDONLY, &txn))
        stored_key(key_bytes, TABLE_ID, slice_of(key), &stored)
        if get(txn, self.data.data, &stored, &value) == 0:
            if record_open(&stored, &value, &record) == 0:
                found = (<const char *>record.value.data)[:record.value.size]
        txn_abort(txn)
        return found


cdef Slice slice_of(bytes content) except *:
    cdef Slice borrowed
    borrowed.data, borrowed.size = <const uint8_t *><char *>content, <size_t>len(content)
    return borrowed
