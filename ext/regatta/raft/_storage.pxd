"""Where the core reads its log: what it was told is stable, and nothing younger."""
from libc.stdint cimport uint64_t

from regatta.raft._message cimport Snapshot

cdef class Storage:
    cpdef tuple initial_state(self)         # (HardState, ConfState)
    cpdef uint64_t first_index(self) except? 0
    cpdef uint64_t last_index(self) except? 0
    cpdef uint64_t term(self, uint64_t index) except? 0
    cpdef list entries(self, uint64_t low, uint64_t high, uint64_t bytes_max)
    cpdef Snapshot snapshot(self)
