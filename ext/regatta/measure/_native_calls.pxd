"""Counts of the calls of one method that are answered without Python."""
from libc.stdint cimport int64_t
from libc.stdint cimport uint64_t

from regatta.measure._histogram cimport Histogram

cdef enum:
    CODE_COUNT = 17             # of gRPC

cdef class NativeCalls:
    cdef uint64_t[CODE_COUNT] ended     # by code
    cdef uint64_t untimed               # of them, those whose time is not in the histogram yet
    cdef int64_t batch_ns               # of the last batch that was timed
    cdef Histogram times

    # Count a call that ended with *code*.
    cdef void count(self, int code) noexcept nogil
    # A batch took *batch_ns*: so long took all its calls, and those of the batches since the last
    # one that was timed.
    cdef void end_batch(self, int64_t batch_ns) noexcept nogil
