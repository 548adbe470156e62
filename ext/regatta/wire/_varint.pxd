"""Base-128 varints, as the protobuf encoding specification defines them."""
from libc.stdint cimport uint8_t
from libc.stdint cimport uint64_t


cdef inline const uint8_t *varint_read(
        const uint8_t *at, const uint8_t *end, uint64_t *value) noexcept nogil:
    """Read one varint. Returns the byte after it, or NULL if it is cut short or over 10 bytes."""
    cdef uint64_t result = 0
    cdef int shift = 0
    cdef uint8_t byte
    while at < end and shift < 70:
        byte = at[0]
        at += 1
        if shift < 64:
            result |= <uint64_t>(byte & 0x7F) << shift
        if byte < 0x80:
            value[0] = result
            return at
        shift += 7
    return NULL


cdef inline uint8_t *varint_write(uint8_t *at, uint64_t value) noexcept nogil:
    """Write *value*; the caller has made room for varint_size(value) bytes."""
    while value >= 0x80:
        at[0] = <uint8_t>(value | 0x80)
        value >>= 7
        at += 1
    at[0] = <uint8_t>value
    return at + 1


cdef inline size_t varint_size(uint64_t value) noexcept nogil:
    """Return the bytes that varint_write needs, 1 to 10."""
    cdef size_t size = 1
    while value >= 0x80:
        value >>= 7
        size += 1
    return size
