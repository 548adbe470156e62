from libc.stdlib cimport free
from libc.stdlib cimport realloc
from libc.string cimport memcpy
from libc.string cimport memmove

from regatta.wire._varint cimport varint_size
from regatta.wire._varint cimport varint_write


cdef int buffer_reserve(Buffer *buffer, size_t more) noexcept nogil:
    cdef size_t needed = buffer.size + more
    cdef size_t capacity
    cdef void *grown
    if needed < more:
        return -1
    if needed <= buffer.capacity:
        return 0
    capacity = max(needed, 2 * buffer.capacity, <size_t>256)
    grown = realloc(buffer.data, capacity)
    if grown == NULL:
        return -1
    buffer.data = <uint8_t *>grown
    buffer.capacity = capacity
    return 0


cdef int buffer_append(Buffer *buffer, const void *data, size_t size) noexcept nogil:
    if buffer_reserve(buffer, size) < 0:
        return -1
    if size:
        memcpy(buffer.data + buffer.size, data, size)
        buffer.size += size
    return 0


cdef void buffer_free(Buffer *buffer) noexcept nogil:
    free(buffer.data)
    buffer.data = NULL
    buffer.size = buffer.capacity = 0


cdef int write_varint(Buffer *buffer, uint32_t number, uint64_t value) noexcept nogil:
    cdef uint8_t *at
    if value == 0:
        return 0
    if buffer_reserve(buffer, 15) < 0:
        return -1
    at = varint_write(buffer.data + buffer.size, <uint64_t>number << 3)
    buffer.size = varint_write(at, value) - buffer.data
    return 0


cdef int write_bytes(Buffer *buffer, uint32_t number, const void *data, size_t size) noexcept nogil:
    cdef uint8_t *at
    if size == 0:
        return 0
    if buffer_reserve(buffer, 15 + size) < 0:
        return -1
    at = varint_write(buffer.data + buffer.size, <uint64_t>number << 3 | 2)
    at = varint_write(at, size)
    memcpy(at, data, size)
    buffer.size = at + size - buffer.data
    return 0


cdef int message_begin(Buffer *buffer, uint32_t number, size_t *mark) noexcept nogil:
    cdef uint8_t *at
    if buffer_reserve(buffer, 6) < 0:
        return -1
    at = varint_write(buffer.data + buffer.size, <uint64_t>number << 3 | 2)
    # One byte is kept for the length; most messages are that short.
    buffer.size = at + 1 - buffer.data
    mark[0] = buffer.size
    return 0


cdef int message_end(Buffer *buffer, size_t mark) noexcept nogil:
    cdef size_t length = buffer.size - mark
    cdef size_t more = varint_size(length) - 1
    if more:
        if buffer_reserve(buffer, more) < 0:
            return -1
        memmove(buffer.data + mark + more, buffer.data + mark, length)
        buffer.size += more
    varint_write(buffer.data + mark - 1, length)
    return 0
