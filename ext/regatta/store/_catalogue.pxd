"""The records in ``meta`` that say which tables there are and how far each group is applied.

``g`` + group id: a group, ``t`` + name: the id of the table's group, ``x`` + table id: a
replaced table whose pairs are still to be deleted, ``i``: the counters.
Functions return 0, or an LMDB code; CATALOGUE_DAMAGED for a record that fails its checksum.
"""
from libc.stdint cimport uint8_t
from libc.stdint cimport uint32_t
from libc.stdint cimport uint64_t

from regatta.store._lmdb_h cimport MDB_dbi
from regatta.store._lmdb_h cimport MDB_txn
from regatta.store._lmdb_h cimport MDB_val
from regatta.store._pairs cimport Table
from regatta.wire._reader cimport Slice

cdef enum:
    NAME_SIZE_MAX = 255
    MEMBERSHIP_SIZE_MAX = 512   # an encoded ConfState: 40 members with the longest ids
    META_GROUP = 1000           # the group of the catalogue itself
    FIRST_TABLE_GROUP = 10001
    CATALOGUE_DAMAGED = -10     # beside LMDB's codes, which are errno values or below -30000

cdef struct Group:
    uint64_t id
    uint64_t applied_index      # of the last entry whose effects are in this transaction's data
    uint64_t applied_term
    Table table                 # all zeroes for the catalogue's own group
    uint32_t name_size          # of the table; 0 for the catalogue's own group
    uint8_t[NAME_SIZE_MAX] name
    uint32_t membership_size    # 0 while nobody has said who the members are
    uint8_t[MEMBERSHIP_SIZE_MAX] membership     # after applied_index, an encoded ConfState

cdef struct Counters:
    uint64_t next_group
    uint64_t next_table
    uint64_t version            # moves when a name comes to mean other pairs

# MDB_NOTFOUND if there is no such group.
cdef int group_load(MDB_txn *txn, MDB_dbi meta, uint64_t id, Group *group) noexcept nogil
cdef int group_store(MDB_txn *txn, MDB_dbi meta, const Group *group) noexcept nogil
# Take apart a pair that a cursor stands on; MDB_NOTFOUND if it isn't a group's record.
cdef int group_parse(const MDB_val *key, const MDB_val *value, Group *group) noexcept nogil
cdef int counters_load(MDB_txn *txn, MDB_dbi meta, Counters *counters) noexcept nogil
cdef int counters_store(MDB_txn *txn, MDB_dbi meta, const Counters *counters) noexcept nogil
cdef int name_lookup(MDB_txn *txn, MDB_dbi meta, Slice name, uint64_t *group) noexcept nogil
cdef int name_store(MDB_txn *txn, MDB_dbi meta, Slice name, uint64_t group) noexcept nogil
cdef int garbage_add(MDB_txn *txn, MDB_dbi meta, uint64_t table) noexcept nogil
# MDB_NOTFOUND if there is none.
cdef int garbage_first(MDB_txn *txn, MDB_dbi meta, uint64_t *table) noexcept nogil
cdef int garbage_remove(MDB_txn *txn, MDB_dbi meta, uint64_t table) noexcept nogil
