# cython: language_level=3
"""A CallSink for the tests: the first byte of a message says what to do with the call."""
from libc.stdint cimport uint8_t, uint32_t
from libc.string cimport memcmp, memcpy, memset

from regatta.http2._session cimport DECLINED, TAKEN, CallSink, Reply, reply_reserve


cdef class Echo(CallSink):
    """Takes calls of /test/Echo.

    d: decline; e: answer an error; x: raise; r and four bytes: answer so many bytes;
    anything else: answer the message itself.
    """

    cdef public int call_count, batch_count

    cdef bint wants(self, const char *path, size_t path_size) noexcept nogil:
        return path_size == 10 and memcmp(path, b"/test/Echo", 10) == 0

    cdef int on_call(self, const char *path, size_t path_size,
                     const uint8_t *message, size_t message_size, Reply *reply) except -1 nogil:
        cdef uint32_t size
        self.call_count += 1
        if message_size and message[0] == c"d":
            return DECLINED
        if message_size and message[0] == c"x":
            with gil:
                raise RuntimeError("asked to")
        if message_size and message[0] == c"e":
            reply.status = 5
            reply.message = b"100% gone"
            return TAKEN
        if message_size >= 5 and message[0] == c"r":
            memcpy(&size, message + 1, 4)
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
