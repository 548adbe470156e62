cimport cython
from libc.stdlib cimport calloc
from libc.stdlib cimport free

cdef extern from *:
    enum: __ATOMIC_ACQUIRE
    enum: __ATOMIC_RELEASE
    enum: __ATOMIC_RELAXED
    uint64_t __atomic_load_n(const uint64_t *cell, int order) nogil
    void __atomic_store_n(uint64_t *cell, uint64_t value, int order) nogil
    void __atomic_thread_fence(int order) nogil


cdef Leader *place_of(Leader *places, size_t capacity, uint64_t group) noexcept nogil:
    """Return the group's place, or the free one where it belongs."""
    cdef size_t i = group & (capacity - 1)
    while places[i].group != group and places[i].group != 0:
        i = (i + 1) & (capacity - 1)
    return &places[i]


cdef inline Leader *places_of(Page *page) noexcept nogil:
    return <Leader *>(page + 1)


cdef class Leaders:
    """Term and leader of every group. The thread that sets them is the one that reads natively."""

    def __dealloc__(self):
        free(self.places)

    def set(self, uint64_t group, uint64_t term, uint64_t node):
        """Note that *group*, which is not 0, is in *term* and led by *node*, 0 for none known."""
        cdef Leader *place
        if 2 * (self.count + 1) > self.capacity:
            self._grow()
        place = place_of(self.places, self.capacity, group)
        if place.group == 0:
            self.count += 1
        elif place.term == term and place.node == node:
            return
        place.group, place.term, place.node = group, term, node
        if self.page != NULL:
            self._share(place)

    def get(self, uint64_t group):
        """Return (term, leader) of a group, zeroes if nothing is known of it."""
        cdef Leader found = self.find(group)
        return found.term, found.node

    def share(self, uint64_t[::1] memory not None):
        """Keep *memory*, all zeroes so far, the same from now on, for SharedLeaders to read.

        It has room for as many groups as a third of its size takes; others' terms are not told.
        """
        cdef size_t capacity = 1
        cdef size_t i
        cdef size_t room = memory.shape[0] * sizeof(uint64_t) - sizeof(Page)
        while 2 * capacity * sizeof(Leader) <= room:
            capacity *= 2
        self.memory, self.page = memory.base, <Page *>&memory[0]
        self.page.capacity = capacity
        for i in range(self.capacity):
            if self.places[i].group != 0:
                self._share(&self.places[i])

    cdef Leader find(self, uint64_t group) noexcept nogil:
        cdef Leader unknown
        if self.capacity:
            return place_of(self.places, self.capacity, group)[0]
        unknown.group = unknown.term = unknown.node = 0
        return unknown

    cdef int _share(self, const Leader *known) noexcept nogil:
        cdef Page *page = self.page
        cdef Leader *place = place_of(places_of(page), page.capacity, known.group)
        if place.group == 0:
            if 2 * (self.page_count + 1) > page.capacity:
                return 0
            self.page_count += 1
        __atomic_store_n(&page.writes, page.writes + 1, __ATOMIC_RELAXED)
        __atomic_thread_fence(__ATOMIC_RELEASE)
        __atomic_store_n(&place.group, known.group, __ATOMIC_RELAXED)
        __atomic_store_n(&place.term, known.term, __ATOMIC_RELAXED)
        __atomic_store_n(&place.node, known.node, __ATOMIC_RELAXED)
        __atomic_store_n(&page.writes, page.writes + 1, __ATOMIC_RELEASE)
        return 0

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
                place_of(grown, capacity, old[i].group)[0] = old[i]
        free(old)
        return 0


@cython.final
cdef class SharedLeaders(Leaders):
    """What another process shares by Leaders.share(), for one thread that reads natively."""

    def __cinit__(self, uint64_t[::1] memory not None):
        self.memory, self.page = memory.base, <Page *>&memory[0]

    def set(self, uint64_t group, uint64_t term, uint64_t node):
        """Refuse: it is the other process that knows."""
        raise TypeError("these leaders are another process's")

    cdef Leader find(self, uint64_t group) noexcept nogil:
        cdef uint64_t writes
        cdef Leader found
        while True:
            writes = __atomic_load_n(&self.page.writes, __ATOMIC_ACQUIRE)
            found = self._read(group)
            __atomic_thread_fence(__ATOMIC_ACQUIRE)
            if not writes & 1 and __atomic_load_n(&self.page.writes, __ATOMIC_RELAXED) == writes:
                return found

    cdef Leader _read(self, uint64_t group) noexcept nogil:
        cdef Leader *places = places_of(self.page)
        cdef size_t capacity = self.page.capacity
        cdef size_t i = group & (capacity - 1)
        cdef size_t _looked_at
        cdef Leader found
        found.group = found.term = found.node = 0
        for _looked_at in range(capacity):
            found.group = __atomic_load_n(&places[i].group, __ATOMIC_RELAXED)
            if found.group == group or found.group == 0:
                break
            i = (i + 1) & (capacity - 1)
        if found.group == group:
            found.term = __atomic_load_n(&places[i].term, __ATOMIC_RELAXED)
            found.node = __atomic_load_n(&places[i].node, __ATOMIC_RELAXED)
        return found
