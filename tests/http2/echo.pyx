# cython: language_level=3
"""A CallSink for the tests: the message says what to do with the call. And libnghttp2's memory."""
from libc.stdint cimport uint8_t, uint32_t
from libc.string cimport memcmp, memcpy, memset

from regatta.http2._call cimport Owner
from regatta.http2._memory cimport block_memory
from regatta.http2._nghttp2_h cimport nghttp2_mem
from regatta.http2._sink cimport DECLINED, KEPT, POSTPONED, TAKEN, CallSink, Reply, reply_reserve
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
    bytes. !later and a further message: postpone the call, then do that. Any other message is the
    answer itself.
    """

    cdef public int call_count, batch_count
    cdef readonly list kept
    cdef readonly list postponed        # what is to be done then
    cdef readonly list asked_again      # for which of these

    def __cinit__(self):
        self.kept, self.postponed, self.asked_again = [], [], []

    cdef bint wants(self, const char *path, size_t path_size) noexcept nogil:
        return path_size == 10 and memcmp(path, b"/test/Echo", 10) == 0

    cdef int on_call(self, const char *path, size_t path_size,
                     const uint8_t *message, size_t message_size, Reply *reply) except -1 nogil:
        self.call_count += 1
        if message_size >= 6 and memcmp(message, b"!later", 6) == 0:
            with gil:
                reply.place = len(self.postponed)
                self.postponed.append(message[6:message_size])
            return POSTPONED
        return self.act(message, message_size, reply)

    cdef int on_postponed(self, size_t place, Reply *reply) except -1 nogil:
        with gil:
            message = self.postponed[place]
            self.asked_again.append(message)
            return self.act(<const uint8_t *><char *>message, len(message), reply)

    cdef int act(self, const uint8_t *message, size_t message_size, Reply *reply) except -1 nogil:
        cdef uint32_t size
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


cdef class Blocks:
    """Memory as libnghttp2 takes it: numbered blocks, each filled with a byte of its own."""

    cdef nghttp2_mem *memory
    cdef dict taken             # number to (address, size)
    cdef int made

    def __cinit__(self):
        self.memory, self.taken = block_memory(), {}

    def take(self, size_t size, bint zeroed=False):
        """Take a block, and return its number."""
        cdef uint8_t *at
        if zeroed:
            at = <uint8_t *>self.memory.calloc(size, 1, NULL)
            assert at != NULL and not any(at[:size])
        else:
            at = <uint8_t *>self.memory.malloc(size, NULL)
        assert at != NULL and <size_t>at % 16 == 0
        self.made += 1
        self._put(self.made, at, size)
        return self.made

    cdef _put(self, int number, uint8_t *at, size_t size):
        memset(at, number & 255, size)
        self.taken[number] = (<size_t>at, size)

    def is_whole(self, int number):
        """Say whether a block is as it was filled."""
        address, size = self.taken[number]
        return (<uint8_t *><size_t>address)[:size] == bytes([number & 255]) * size

    def resize(self, int number, size_t size):
        """Change a block's size; say whether what it held is still there."""
        address, before = self.taken[number]
        cdef uint8_t *at = <uint8_t *>self.memory.realloc(<void *><size_t>address, size, NULL)
        cdef size_t kept = min(before, size)
        assert at != NULL
        is_whole = at[:kept] == bytes([number & 255]) * kept
        self._put(number, at, size)
        return is_whole

    def give_back(self, int number):
        """Give a block back."""
        address, _ = self.taken.pop(number)
        self.memory.free(<void *><size_t>address, NULL)

    def refuses(self, size_t size):
        """Say whether so much is refused, by each of the ways to take it."""
        return (self.memory.malloc(size, NULL) == NULL and self.memory.calloc(size, 2, NULL) == NULL
                and self.memory.realloc(NULL, size, NULL) == NULL)
