from libc.stdlib cimport realloc

from regatta.http2._stream cimport PREFIX_BYTES


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


cdef class CallSink:
    """Answers calls natively; see the .pxd. This one declines all."""

    cdef bint wants(self, const char *path, size_t path_size) noexcept nogil:
        return False

    cdef int on_call(self, const char *path, size_t path_size,
                     const uint8_t *message, size_t message_size, Reply *reply) except -1 nogil:
        return DECLINED

    cdef int on_batch_end(self) except -1 nogil:
        return 0
