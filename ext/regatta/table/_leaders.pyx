cimport cython
from libc.stdlib cimport calloc
from libc.stdlib cimport free


@cython.final
cdef class Leaders:
    """Term and leader of every group. The thread that sets them is the one that reads natively."""

    def __dealloc__(self):
        free(self.places)

    def set(self, uint64_t group, uint64_t term, uint64_t node):
        """Note that *group*, which is not 0, is in *term* and led by *node*, 0 for none known."""
        cdef Leader *place
        if 2 * (self.count + 1) > self.capacity:
            self._grow()
        place = self._place(group)
        if place.group == 0:
            self.count += 1
        place.group, place.term, place.node = group, term, node

    def get(self, uint64_t group):
        """Return (term, leader) of a group, zeroes if nothing is known of it."""
        cdef Leader found = self.find(group)
        return found.term, found.node

    cdef Leader find(self, uint64_t group) noexcept nogil:
        cdef Leader unknown
        if self.capacity:
            return self._place(group)[0]
        unknown.group = unknown.term = unknown.node = 0
        return unknown

    cdef Leader *_place(self, uint64_t group) noexcept nogil:
        """Return the group's place, or the free one where it belongs."""
        cdef size_t i = group & (self.capacity - 1)
        while self.places[i].group != group and self.places[i].group != 0:
            i = (i + 1) & (self.capacity - 1)
        return &self.places[i]

    cdef int _grow(self) except -1:
        cdef size_t old_capacity = self.capacity
        cdef Leader *old = self.places
        cdef size_t capacity = max(2 * old_capacity, <size_t>16)
        cdef Leader *grown = <Leader *>calloc(capacity, sizeof(Leader))
        cdef size_t i
        if grown == NULL:
            raise MemoryError
        self.places, self.capacity = grown, capacity
        for i in range(old_capacity):
            if old[i].group != 0:
                self._place(old[i].group)[0] = old[i]
        free(old)
        return 0
