"""How far topics have gone into tables, and the rule that a batch of their records is held to.

A record in ``meta``: ``p`` + id of the table's group + partition + topic. It moves in the
transaction that applies the batch, so that no record is ever applied twice or left out.
Functions return 0, or an LMDB code.
"""
from libc.stdint cimport int32_t
from libc.stdint cimport int64_t
from libc.stdint cimport uint8_t
from libc.stdint cimport uint32_t
from libc.stdint cimport uint64_t

from regatta.store._lmdb_h cimport MDB_cursor
from regatta.store._lmdb_h cimport MDB_dbi
from regatta.store._lmdb_h cimport MDB_txn
from regatta.store._lmdb_h cimport MDB_val
from regatta.store._pairs cimport Outcome
from regatta.wire._command cimport Source

cdef enum:
    TOPIC_SIZE_MAX = 249        # what Kafka allows; its names are ASCII
    TOPIC_ID_SIZE_MAX = 64

cdef struct SourcePosition:
    int64_t next                # offset of the first record that is not applied
    uint64_t applied            # records put or deleted
    uint64_t skipped            # records that can't be stored
    int32_t partition
    uint32_t topic_size
    uint8_t[TOPIC_SIZE_MAX] topic
    uint32_t topic_id_size      # 0 while nobody has told the id
    uint8_t[TOPIC_ID_SIZE_MAX] topic_id

# Look whether a batch of *source* may be applied to the table of *group*, and load the stored
# position, all zeroes if there is none. If not, *outcome* says so: ABORTED when *source* begins
# elsewhere, DATA_LOSS when the position is damaged, INTERNAL when *source* makes no sense.
cdef int position_claim(MDB_txn *txn, MDB_dbi meta, uint64_t group, const Source *source,
                        SourcePosition *position, Outcome *outcome) noexcept nogil
# Store what a claimed *position* is after the batch, which put or deleted *record_count* records.
cdef int position_advance(MDB_txn *txn, MDB_dbi meta, uint64_t group, const Source *source,
                          SourcePosition *position, uint64_t record_count) noexcept nogil
cdef int positions_drop(MDB_txn *txn, MDB_dbi meta, uint64_t group) noexcept nogil
# Put a cursor on the first position of *group*, or on whatever follows.
cdef int positions_first(MDB_cursor *cursor, uint64_t group, MDB_val *key,
                         MDB_val *value) noexcept nogil
# Take apart a pair that a cursor stands on: MDB_NOTFOUND if it is no position of *group*,
# CATALOGUE_DAMAGED if it fails its checksum.
cdef int position_parse(const MDB_val *key, const MDB_val *value, uint64_t group,
                        SourcePosition *position) noexcept nogil
