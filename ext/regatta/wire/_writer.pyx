from libc.stdint cimport uint8_t
from libc.string cimport memcpy
from libc.string cimport memmove

from regatta.wire._buffer cimport buffer_reserve
from regatta.wire._varint cimport varint_size
from regatta.wire._varint cimport varint_write


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
