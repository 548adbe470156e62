"""One replica of one group: calls in, decisions out. No clock, socket, file or source of chance."""
cimport cython
from libc.stdint cimport uint64_t

from regatta.raft._message cimport HardState
from regatta.raft._message cimport Message
from regatta.raft._ready cimport Ready
from regatta.raft._replica cimport Replica


@cython.final
cdef class Core:
    cdef Replica replica
    cdef bint async_storage_writes

    # What the last Ready told.
    cdef uint64_t told_leader
    cdef int told_role
    cdef HardState told_hard_state

    # Synchronous mode: what is true once the driver has done what the last Ready asks.
    cdef list steps_on_advance

    cpdef int tick(self) except -1
    cpdef int propose_batch(self, list datas) except -1
    cpdef int step(self, Message message) except -1
    cpdef bint has_ready(self) except -1
    cpdef Ready ready(self)
    cpdef int advance(self) except -1

    cdef int step_own(self, Message message) except -1
    cdef int accept(self, Ready ready) except -1
    cdef bint soft_state_changed(self) noexcept
    cdef bint hard_state_changed(self) noexcept
    cdef object soft_state(self)
    cdef HardState hard_state(self)
