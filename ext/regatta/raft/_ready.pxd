"""What a replica has to say to its driver."""
cimport cython

from regatta.raft._message cimport HardState
from regatta.raft._message cimport Snapshot


@cython.final
cdef class Ready:
    cdef readonly object soft_state         # SoftState, or None if it has not changed
    cdef readonly HardState hard_state      # or None if it has not changed
    cdef readonly list entries              # of Entry, to be stored
    cdef readonly Snapshot snapshot         # to be stored, or None
    cdef readonly list committed_entries    # of Entry, to be applied
    cdef readonly list read_states          # of ReadState
    cdef readonly list messages             # of Message
    cdef readonly bint must_sync
