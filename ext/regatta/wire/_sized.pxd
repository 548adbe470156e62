"""Protobuf fields of messages whose size was reckoned before room for them was made.

For numbers up to 15, whose tags have one byte. Like all of proto3, what is zero or empty is left
out. Writers return the byte after what they wrote.
"""
from libc.stddef cimport size_t
from libc.stdint cimport uint8_t
from libc.stdint cimport uint64_t
from libc.string cimport memcpy

from regatta.wire._reader cimport KIND_BYTES
from regatta.wire._varint cimport varint_size
from regatta.wire._varint cimport varint_write


cdef inline size_t number_size(uint64_t value) noexcept nogil:
    return 1 + varint_size(value) if value else 0


cdef inline size_t bytes_size(size_t size) noexcept nogil:
    return 1 + varint_size(size) + size if size else 0


cdef inline size_t message_field_size(size_t size) noexcept nogil:
    """Unlike a field of bytes, an empty message is written: it is there, or it is not."""
    return 1 + varint_size(size) + size


cdef inline uint8_t *number_write(uint8_t *at, int number, uint64_t value) noexcept nogil:
    if value == 0:
        return at
    at[0] = <uint8_t>(number << 3)
    return varint_write(at + 1, value)


cdef inline uint8_t *bytes_write(
        uint8_t *at, int number, const void *data, size_t size) noexcept nogil:
    if size == 0:
        return at
    at = head_write(at, number, size)
    memcpy(at, data, size)
    return at + size


cdef inline uint8_t *head_write(uint8_t *at, int number, size_t size) noexcept nogil:
    """Write what comes before a message, or anything else, of *size* bytes."""
    at[0] = <uint8_t>(number << 3 | KIND_BYTES)
    return varint_write(at + 1, size)
