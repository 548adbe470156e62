"""Which term each group is in and who leads it, where reads find it without the GIL."""
from libc.stddef cimport size_t
from libc.stdint cimport uint64_t

cdef struct Leader:             # of one group, as far as this node knows
    uint64_t group              # 0 for a free place
    uint64_t term
    uint64_t node               # 0 if none is known

cdef struct Page:               # what a node shares with its reader processes
    uint64_t writes             # odd while a place is written
    uint64_t capacity           # of places, a power of two
    # Then the places, open addressing by group id, at most half of them taken.

cdef class Leaders:
    cdef Leader *places         # open addressing by group id
    cdef size_t capacity        # a power of two, or 0
    cdef size_t count
    cdef Page *page             # to be kept the same, or NULL
    cdef size_t page_count
    cdef object memory          # that the page is in

    # Of a group that nothing is known of, term and node are 0.
    cdef Leader find(self, uint64_t group) noexcept nogil

    cdef int _share(self, const Leader *known) noexcept nogil
    cdef int _grow(self) except -1

cdef class SharedLeaders(Leaders):
    cdef Leader _read(self, uint64_t group) noexcept nogil
