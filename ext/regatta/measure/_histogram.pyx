cimport cython


@cython.final
cdef class Histogram:
    """Durations counted by size. See the stub for what each member means."""

    def __init__(self, tuple bounds_s not None, uint64_t[::1] memory=None):
        cdef int i
        self.counts = self.own
        if memory is not None:
            if memory.shape[0] < HISTOGRAM_NUMBERS:
                raise ValueError(f"a histogram takes {HISTOGRAM_NUMBERS} numbers")
            self.memory, self.counts = memory.base, &memory[0]
        if len(bounds_s) > BOUNDS_MAX:
            raise ValueError(f"at most {BOUNDS_MAX} bounds, got {len(bounds_s)}")
        self.bounds_s = bounds_s
        self.bound_count = len(bounds_s)
        for i in range(self.bound_count):
            self.bounds_ns[i] = round(bounds_s[i] * 1e9)

    cdef void add_ns(self, int64_t duration_ns, uint64_t times) noexcept nogil:
        cdef int i = 0
        while i < self.bound_count and duration_ns > self.bounds_ns[i]:
            i += 1
        self.counts[i] += times
        self.counts[TOTAL] += <uint64_t>duration_ns * times

    def add(self, double duration_s):
        self.add_ns(<int64_t>(duration_s * 1e9), 1)

    def cumulated(self):
        cdef uint64_t sum = 0
        cdef int i
        found = []
        for i in range(self.bound_count + 1):
            sum += self.counts[i]
            found.append(sum)
        return found

    @property
    def total_s(self):
        return self.counts[TOTAL] / 1e9
