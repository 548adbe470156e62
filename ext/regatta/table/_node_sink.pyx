"""All native calls of a node: hands each to the sink that knows its method."""
cimport cython
from libc.stdint cimport uint8_t

from regatta.http2._sink cimport CallSink
from regatta.http2._sink cimport Reply


@cython.final
cdef class NodeSink(CallSink):
    """Joins the sink of the reads and that of the writes. See the stub."""

    cdef CallSink reads, writes

    def __cinit__(self, CallSink reads not None, CallSink writes not None):
        self.reads, self.writes = reads, writes

    @property
    def calls(self):
        return {**self.reads.calls, **self.writes.calls}

    cdef bint wants(self, const char *path, size_t path_size) noexcept nogil:
        return self.reads.wants(path, path_size) or self.writes.wants(path, path_size)

    cdef int on_call(self, const char *path, size_t path_size,
                     const uint8_t *message, size_t message_size, Reply *reply) except -1 nogil:
        if self.reads.wants(path, path_size):
            return self.reads.on_call(path, path_size, message, message_size, reply)
        return self.writes.on_call(path, path_size, message, message_size, reply)

    cdef int on_postponed(self, size_t place, Reply *reply) except -1 nogil:
        return self.reads.on_postponed(place, reply)

    cdef int on_batch_end(self) except -1 nogil:
        self.reads.on_batch_end()
        return self.writes.on_batch_end()
