# cython: language_level=3
"""A CallSink for the tests: the message says what to do with the call."""
from libc.stdint cimport uint8_t, uint32_t
from libc.string cimport memcmp, memcpy, memset

from regatta.http2._call cimport Owner
from regatta.http2._sink cimport DECLINED, KEPT, TAKEN, CallSink, Reply, reply_reserve
from regatta.http2._stream cimport Stream


cdef class Kept:
    """A call that waits for the test to answer it."""

    cdef Owner session
    cdef Stream *stream
    cdef readonly long long timeout_ns

    def __dealloc__(self):
        if self.stream != NULL:
            self.stream.keeper = NULL

    @property
    def gone(self):
        return self.stream == NULL

    def answer(self, bytes message=b"", int code=0, bytes text=b""):
        assert self.stream != NULL
        self.session.answer_kept(self.stream, <char *>message, len(message), code, text)


cdef class Echo(CallSink):
    """Takes calls of /test/Echo.

    !decline, !error, !raise and !keep are orders; !r and four bytes, the lowest first: answer so many
    bytes. Any other message is the answer itself.
    """

    cdef public int call_count, batch_count
    cdef readonly list kept

    def __cinit__(self):
        self.kept = []

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
        if message_size == 5 and memcmp(message, b"!keep", 5) == 0:
            with gil:
                return self.keep(reply)
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

    cdef int keep(self, Reply *reply) except -1:
        cdef Kept kept = Kept.__new__(Kept)
        self.kept.append(kept)
        kept.session, kept.stream = <Owner>reply.session, reply.stream
        kept.timeout_ns = reply.timeout_ns
        reply.keeper = &kept.stream
        return KEPT

    cdef int on_batch_end(self) except -1 nogil:
        self.batch_count += 1
        return 0
