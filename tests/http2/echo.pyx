# cython: language_level=3
"""A CallSink for the tests: the message says what to do with the call."""
from libc.stdint cimport uint8_t, uint32_t
from libc.string cimport memcmp, memcpy, memset

from regatta.http2._sink cimport DECLINED, TAKEN, CallSink, Reply, reply_reserve


cdef class Echo(CallSink):
    """Takes calls of /test/Echo.

    !decline, !error and !raise are orders; !r and four bytes, the lowest first: answer so many
    bytes. Any other message is the answer itself.
    """

    cdef public int call_count, batch_count

    cdef bint wants(self, const char *path, size_t path_size) noexcept nogil:
        return path_size == 10 and memcmp(path, b"/test/Echo", 10) == 0

    cdef int on_call(self, const char *path, size_t path_size,
                     const uint8_t *message, size_t message_size, Reply *reply) except -1 nogil:
        cdef uint32_t size
        self.call_count += 1
        if message_size == 8 and memcmp(message, b"!decline", 8) == 0:
            return DECLINED
        if message_size == 6 and memcmp(message, b"!raise", 6) == 0:
            with gil:
                raise RuntimeError("asked to")
        if message_size == 6 and memcmp(message, b"!error", 6) == 0:
            reply.status = 5
            reply.message = b"100% gone"
            return TAKEN
        if message_size == 6 and memcmp(message, b"!r", 2) == 0:
            memcpy(&size, message + 2, 4)
            reply_reserve(reply, size)
            memset(reply.data, c"r", size)
            reply.size = size
            return TAKEN
        reply_reserve(reply, message_size)
        memcpy(reply.data, message, message_size)
        reply.size = message_size
        return TAKEN

    cdef int on_batch_end(self) except -1 nogil:
        self.batch_count += 1
        return 0
