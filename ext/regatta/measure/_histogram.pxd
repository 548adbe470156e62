"""A histogram of durations that C code fills without the GIL, and the clock that goes with it."""
from libc.stdint cimport int64_t
from libc.stdint cimport uint64_t
from posix.time cimport CLOCK_MONOTONIC
from posix.time cimport clock_gettime
from posix.time cimport timespec

cdef enum:
    BOUNDS_MAX = 16
    TOTAL = BOUNDS_MAX + 1
    HISTOGRAM_NUMBERS = BOUNDS_MAX + 2

cdef inline int64_t now_ns() noexcept nogil:
    cdef timespec at
    clock_gettime(CLOCK_MONOTONIC, &at)
    return <int64_t>at.tv_sec * 1_000_000_000 + at.tv_nsec

cdef class Histogram:
    cdef readonly tuple bounds_s            # rising; what is longer than the last goes on top
    cdef int64_t[BOUNDS_MAX] bounds_ns
    cdef int bound_count
    cdef uint64_t *counts                   # between the bounds, and last the nanoseconds in all
    cdef uint64_t[HISTOGRAM_NUMBERS] own
    cdef object memory                      # that the counts are in, or None

    # Count *times* events of *duration_ns* each. One thread at a time; reading needs no lock.
    cdef void add_ns(self, int64_t duration_ns, uint64_t times) noexcept nogil
