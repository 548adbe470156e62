"""Counts of the calls of one method that are answered without Python."""
from libc.stdint cimport int64_t
from libc.stdint cimport uint64_t

from regatta.measure._histogram cimport HISTOGRAM_NUMBERS
from regatta.measure._histogram cimport Histogram

cdef enum:
    CODE_COUNT = 17             # of gRPC
    NATIVE_CALLS_NUMBERS = CODE_COUNT + HISTOGRAM_NUMBERS

cdef class NativeCalls:
    cdef uint64_t *ended                # by code
    cdef uint64_t[CODE_COUNT] own
    cdef object memory                  # that they are in, or None
    cdef uint64_t untimed               # of them, those whose time is not in the histogram yet
    cdef int64_t batch_ns               # of the last batch that was timed
    cdef Histogram times
    cdef readonly Py_ssize_t kept_count     # that are to be answered yet

    # Count a call that ended with *code*.
    cdef void count(self, int code) noexcept nogil
    # Count a call that is answered later, and how it ended then, after *duration_ns*.
    cdef void begin_kept(self) noexcept nogil
    cdef void end_kept(self, int code, int64_t duration_ns) noexcept nogil
    # A batch took *batch_ns*: so long took all its calls, and those of the batches since the last
    # one that was timed.
    cdef void end_batch(self, int64_t batch_ns) noexcept nogil
