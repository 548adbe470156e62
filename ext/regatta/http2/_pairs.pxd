"""Lists of name and value pairs, each kept in one buffer.

A pair is two 32-bit sizes in the machine's order, then the bytes of the name and of the value.
"""
from libc.stdint cimport uint8_t, uint32_t
from libc.string cimport memcpy

from regatta.wire._buffer cimport Buffer, buffer_reserve

cdef struct Span:               # a part of a buffer that may move when it grows
    uint32_t offset
    uint32_t size


cdef inline int pairs_append(Buffer *pairs, const void *name, size_t name_size,
                             const void *value, size_t value_size) noexcept nogil:
    """Append one pair. Returns -1 when there is no memory, else 0."""
    cdef uint32_t[2] sizes
    cdef uint8_t *at
    sizes[0] = <uint32_t>name_size
    sizes[1] = <uint32_t>value_size
    if buffer_reserve(pairs, sizeof(sizes) + name_size + value_size) < 0:
        return -1
    at = pairs.data + pairs.size
    memcpy(at, sizes, sizeof(sizes))
    memcpy(at + sizeof(sizes), name, name_size)
    memcpy(at + sizeof(sizes) + name_size, value, value_size)
    pairs.size += sizeof(sizes) + name_size + value_size
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
