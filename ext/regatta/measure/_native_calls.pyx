cimport cython
from libc.stdint cimport int64_t
from libc.stdint cimport uint64_t

from regatta.measure._histogram cimport Histogram

from regatta.measure.calls import call_bounds_s


@cython.final
cdef class NativeCalls:
    """How many calls ended how, and how long they took; see the stub and the .pxd."""

    def __cinit__(self, uint64_t[::1] memory=None):
        self.ended = self.own
        if memory is None:
            self.times = Histogram(call_bounds_s)
            return
        if memory.shape[0] < NATIVE_CALLS_NUMBERS:
            raise ValueError(f"the counts of a method take {NATIVE_CALLS_NUMBERS} numbers")
        self.memory, self.ended = memory.base, &memory[0]
        self.times = Histogram(call_bounds_s, memory[CODE_COUNT:])

    @property
    def handled(self):
        cdef int code
        return [self.ended[code] for code in range(CODE_COUNT)]

    @property
    def time(self):
        self.end_batch(self.batch_ns)
        return self.times

    cdef void count(self, int code) noexcept nogil:
        self.ended[code] += 1
        self.untimed += 1

    cdef void begin_kept(self) noexcept nogil:
        self.kept_count += 1

    cdef void end_kept(self, int code, int64_t duration_ns) noexcept nogil:
        self.kept_count -= 1
        self.ended[code] += 1
        self.times.add_ns(duration_ns, 1)

    cdef void end_batch(self, int64_t batch_ns) noexcept nogil:
        self.batch_ns = batch_ns
        self.times.add_ns(batch_ns, self.untimed)
        self.untimed = 0
