"""A growing block of bytes in C."""
from libc.stddef cimport size_t
from libc.stdint cimport uint8_t
from libc.stdlib cimport free
from libc.stdlib cimport realloc
from libc.string cimport memcpy

cdef enum:
    BUFFER_KEPT_BYTES = 4096    # what buffer_recycle lets a buffer keep
    BUFFER_FIRST_BYTES = 256

cdef struct Buffer:             # start with all zeroes; end with buffer_free
    uint8_t *data               # NULL while capacity is 0
    size_t size                 # bytes in use
    size_t capacity             # bytes allocated


cdef inline int buffer_reserve(Buffer *buffer, size_t more) noexcept nogil:
    """Make room for *more* bytes after those in use. Returns -1 when there is no memory, else 0."""
    cdef size_t needed = buffer.size + more
    cdef size_t capacity
    cdef void *grown
    if needed < more:
        return -1
    if needed <= buffer.capacity:
        return 0
    capacity = max(needed, 2 * buffer.capacity, <size_t>BUFFER_FIRST_BYTES)
    grown = realloc(buffer.data, capacity)
    if grown == NULL:
        return -1
    buffer.data = <uint8_t *>grown
    buffer.capacity = capacity
    return 0


cdef inline int buffer_append(Buffer *buffer, const void *data, size_t size) noexcept nogil:
    """Append *size* bytes. Returns -1 when there is no memory, else 0."""
    if size == 0:
        return 0
    if buffer_reserve(buffer, size) < 0:
        return -1
    memcpy(buffer.data + buffer.size, data, size)
    buffer.size += size
    return 0


cdef inline void buffer_free(Buffer *buffer) noexcept nogil:
    free(buffer.data)
    buffer.data = NULL
    buffer.size = buffer.capacity = 0


cdef inline void buffer_recycle(Buffer *buffer) noexcept nogil:
    """Empty the buffer for its next use; give back what a large one took."""
    buffer.size = 0
    if buffer.capacity > BUFFER_KEPT_BYTES:
        buffer_free(buffer)
