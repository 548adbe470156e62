from libc.stdlib cimport realloc

from regatta.http2._stream cimport PREFIX_BYTES
from regatta.wire._buffer cimport BUFFER_KEPT_BYTES
from regatta.wire._buffer cimport Buffer


cdef void reply_begin(Reply *reply, PyObject *session, Stream *stream) noexcept nogil:
    reply.data = stream.answer.data + PREFIX_BYTES
    reply.capacity = stream.answer.capacity - PREFIX_BYTES
    reply.size, reply.status, reply.message = 0, 0, NULL
    reply.session, reply.stream, reply.keeper = session, stream, NULL
    reply.timeout_ns = stream.timeout_ns


cdef void reply_end(const Reply *reply) noexcept nogil:
    reply.stream.answer.data = reply.data - PREFIX_BYTES
    reply.stream.answer.capacity = reply.capacity + PREFIX_BYTES


cdef int reply_reserve(Reply *reply, size_t capacity) noexcept nogil:
    # The message's prefix lies in front of data, so that both go out in one piece.
    cdef uint8_t *start = NULL if reply.data == NULL else reply.data - PREFIX_BYTES
    cdef size_t grown = max(reply.capacity * 2, capacity)
    if capacity <= reply.capacity and start != NULL:
        return 0
    start = <uint8_t *>realloc(start, PREFIX_BYTES + grown)
    if start == NULL:
        return -1
    reply.data = start + PREFIX_BYTES
    reply.capacity = grown
    return 0


cdef void reply_lend(const Reply *reply, Buffer *buffer) noexcept nogil:
    buffer.data = reply.data - PREFIX_BYTES
    buffer.size = PREFIX_BYTES + reply.size
    buffer.capacity = PREFIX_BYTES + reply.capacity


cdef void reply_take_back(Reply *reply, const Buffer *buffer) noexcept nogil:
    reply.data = buffer.data + PREFIX_BYTES
    reply.size = buffer.size - PREFIX_BYTES
    reply.capacity = buffer.capacity - PREFIX_BYTES


cdef void reply_shrink(Reply *reply) noexcept nogil:
    cdef uint8_t *start
    if PREFIX_BYTES + reply.capacity <= BUFFER_KEPT_BYTES:
        return
    start = <uint8_t *>realloc(reply.data - PREFIX_BYTES, BUFFER_KEPT_BYTES)
    if start != NULL:
        reply.data = start + PREFIX_BYTES
        reply.size, reply.capacity = 0, BUFFER_KEPT_BYTES - PREFIX_BYTES


cdef class CallSink:
    """Answers calls natively; see the .pxd. This one declines all."""

    cdef bint wants(self, const char *path, size_t path_size) noexcept nogil:
        return False

    cdef int on_call(self, const char *path, size_t path_size,
                     const uint8_t *message, size_t message_size, Reply *reply) except -1 nogil:
        return DECLINED

    cdef int on_postponed(self, size_t place, Reply *reply) except -1 nogil:
        return DECLINED

    cdef int on_batch_end(self) except -1 nogil:
        return 0
