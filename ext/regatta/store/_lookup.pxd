"""Finds pairs in LMDB's pages without LMDB, in steps, so that a batch waits for memory all at once.

A search is a chain of cache misses: the leaf, each key that is looked at in it, the record. Each
step asks for the memory that the next one needs and leaves the search; with a few others in
between it is there. What is found is found; all else (no such key, a large value, a page that
makes no sense) is for LMDB to say. Nothing that a page says is trusted.
"""
from libc.stddef cimport size_t
from libc.stdint cimport uint8_t
from libc.stdint cimport uint64_t

from regatta.store._env cimport Environment
from regatta.store._lmdb_h cimport MDB_txn
from regatta.store._lmdb_h cimport MDB_val

cdef enum:
    # So many calls of lookup_advance do for a leaf of up to 63 pairs; what is left, lookup_finish does.
    LOOKUP_STEPS = 4

cdef struct Pages:              # of the tree of pairs in one snapshot
    const uint8_t *map          # page 0
    size_t page_size
    uint64_t page_count         # that the file has
    uint64_t root
    int depth                   # levels; 0 when there is nothing to search in

cdef enum LookupState:
    LOOKUP_BEGUN = 0
    LOOKUP_AT_LEAF = 1
    LOOKUP_IN_LEAF = 2
    LOOKUP_DONE = 3

cdef struct Lookup:
    const uint8_t *key          # as stored; borrowed
    size_t key_size
    LookupState state
    const uint8_t *leaf
    # Nodes of the leaf that the key may be: from the first on, so many.
    size_t first
    size_t left
    MDB_val value               # when done: what was found, or NULL when LMDB has to be asked

# Learn where the pairs of *txn* are. If that fails *pages* has no depth.
cdef void pages_load(Pages *pages, Environment environment, MDB_txn *txn) noexcept nogil

cdef inline void lookup_begin(Lookup *lookup, const uint8_t *key, size_t key_size) noexcept nogil:
    lookup.key, lookup.key_size = key, key_size
    lookup.state = LOOKUP_BEGUN
    lookup.value.mv_data = NULL

# Do one more step, unless the lookup is done.
cdef void lookup_advance(Lookup *lookup, const Pages *pages) noexcept nogil
# Do all that are left. Returns whether the value was found; if not, ask LMDB.
cdef bint lookup_finish(Lookup *lookup, const Pages *pages) noexcept nogil
