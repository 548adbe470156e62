"""The durable log of one replica: what is in memory of it, what is asked of the disk, and when.

A write has two moments. `write` asks the backing for it, in the order in which the core wants it;
`written` says that it is durable, and only then does the log read as if it had been made. In
between the core reads those entries from its own unstable part. So what the core reads here is
exactly what it was told is stable, and a crash at any moment leaves that much or more:

- The core asks only for entries below its unstable part. A queued write that removes entries was
  made by the core putting its unstable part in their place first, so no such entry is asked for.
- `written` runs before the message's responses are stepped. When the core's unstable part is
  empty, every write has been acknowledged, and the last entry here is the core's last one.
"""
from libc.stdint cimport uint64_t

from regatta.raft._message cimport ConfState
from regatta.raft._message cimport HardState
from regatta.raft._message cimport Message
from regatta.raft._message cimport Snapshot
from regatta.raft._storage cimport Storage

cdef class Backing:
    cpdef tuple load(self)                  # (HardState, compacted index, compacted term, last index)
    cpdef list read(self, uint64_t low, uint64_t high, uint64_t bytes_max)
    cpdef void set_hard_state(self, HardState state) except *
    cpdef void truncate(self, uint64_t first) except *
    cpdef void append(self, list entries) except *
    cpdef void compact(self, uint64_t index, uint64_t term) except *
    cpdef void reset(self, uint64_t index, uint64_t term) except *

cdef class StableLog(Storage):
    cdef readonly Backing backing
    # Invariant: compacted_index <= last_index.
    cdef readonly uint64_t compacted_index  # entries up to here are gone; 0 for none
    cdef readonly uint64_t compacted_term
    cdef uint64_t last
    cdef readonly uint64_t last_term
    cdef readonly HardState hard_state      # the core's newest, durable or not
    cdef HardState stored                   # what the backing was last asked to keep
    cdef uint64_t queued_last               # last index once everything asked for is written
    cdef ConfState conf_state               # as of the applied index at the start
    # The newest entries. Invariant: recent[i].index == last - len(recent) + 1 + i.
    cdef list recent
    cdef readonly uint64_t recent_bytes     # of their encodings
    cdef readonly uint64_t recent_bytes_max
    cdef object take_snapshot               # () -> Snapshot, or None

    cpdef bint write(self, Message message) except -1
    cpdef void written(self, Message message) except *
    cpdef uint64_t compact(self, uint64_t index) except? 0
    cpdef void trim(self) except *

    cdef int _recover(self, uint64_t applied, uint64_t applied_term) except -1
    cdef int _check_ends(self, uint64_t applied, uint64_t applied_term) except -1
    cdef int _add(self, list entries) except -1
    cdef list _read(self, uint64_t low, uint64_t high, uint64_t bytes_max)
    cdef uint64_t _recent_first(self) noexcept
    cdef int _forget(self, Py_ssize_t count) except -1
