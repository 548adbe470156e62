"""A growing byte buffer in C, and lists of name and value pairs kept in one."""
from libc.stdint cimport uint8_t, uint32_t
from libc.stdlib cimport free, realloc
from libc.string cimport memcpy

cdef enum:
    BUFFER_KEPT_BYTES = 4096    # what a buffer may keep for its next use
    BUFFER_FIRST_BYTES = 256

cdef struct Buffer:
    uint8_t *data               # NULL while capacity is 0
    size_t size                 # bytes that count
    size_t capacity             # bytes allocated

cdef struct Span:               # a part of a buffer that may move when it grows
    uint32_t offset
    uint32_t size


cdef inline int buffer_reserve(Buffer *buffer, size_t capacity) noexcept nogil:
    """Make room for *capacity* bytes in all. Returns -1 when there is no memory, else 0."""
    cdef size_t grown = max(buffer.capacity * 2, <size_t>BUFFER_FIRST_BYTES)
    cdef uint8_t *data
    if capacity <= buffer.capacity:
        return 0
    data = <uint8_t *>realloc(buffer.data, max(grown, capacity))
    if data == NULL:
        return -1
    buffer.data = data
    buffer.capacity = max(grown, capacity)
    return 0


cdef inline int buffer_append(Buffer *buffer, const void *data, size_t size) noexcept nogil:
    """Append *size* bytes. Returns -1 when there is no memory, else 0."""
    if size == 0:
        return 0
    if buffer_reserve(buffer, buffer.size + size) < 0:
        return -1
    memcpy(buffer.data + buffer.size, data, size)
    buffer.size += size
    return 0


cdef inline void buffer_free(Buffer *buffer) noexcept nogil:
    free(buffer.data)
    buffer.data = NULL
    buffer.size = 0
    buffer.capacity = 0


cdef inline void buffer_recycle(Buffer *buffer) noexcept nogil:
    """Empty the buffer for its next use; give back what a large one took."""
    buffer.size = 0
    if buffer.capacity > BUFFER_KEPT_BYTES:
        buffer_free(buffer)


# A pair is two 32-bit sizes in the machine's order, then the bytes of the name and of the value.

cdef inline int pairs_append(Buffer *pairs, const void *name, size_t name_size,
                             const void *value, size_t value_size) noexcept nogil:
    """Append one pair. Returns -1 when there is no memory, else 0."""
    cdef uint32_t[2] sizes
    sizes[0] = <uint32_t>name_size
    sizes[1] = <uint32_t>value_size
    if buffer_reserve(pairs, pairs.size + sizeof(sizes) + name_size + value_size) < 0:
        return -1
    buffer_append(pairs, sizes, sizeof(sizes))
    buffer_append(pairs, name, name_size)
    buffer_append(pairs, value, value_size)
    return 0


cdef inline size_t pairs_next(const Buffer *pairs, size_t offset, Span *name,
                              Span *value) noexcept nogil:
    """Read the pair at *offset*. Returns the offset of the next one."""
    cdef uint32_t[2] sizes
    memcpy(sizes, pairs.data + offset, sizeof(sizes))
    name.offset = <uint32_t>(offset + sizeof(sizes))
    name.size = sizes[0]
    value.offset = name.offset + name.size
    value.size = sizes[1]
    return value.offset + value.size
