"""What gRPC lays on top of HTTP/2 headers: content types, timeouts, encoded messages."""
from libc.stdint cimport INT64_MAX, int64_t, uint8_t
from libc.string cimport memcmp

from regatta.wire._buffer cimport Buffer, buffer_append, buffer_reserve

cdef enum:
    TIMEOUT_DIGITS_MAX = 8

cdef const char *GRPC = b"application/grpc"
cdef const char *PROTO = b"+proto"
cdef const char *HEX = b"0123456789ABCDEF"


cdef ContentKind content_kind(const uint8_t *value, size_t size) noexcept nogil:
    cdef size_t end = 16
    if size < end or memcmp(value, GRPC, end) != 0:
        return CONTENT_PLAIN
    if size >= end + 6 and memcmp(value + end, PROTO, 6) == 0:
        end += 6
    if size == end or value[end] == c";" or value[end] == c" ":
        return CONTENT_GRPC
    return CONTENT_UNSUPPORTED


cdef int64_t unit_ns(uint8_t unit) noexcept nogil:
    """The length of a timeout's unit in nanoseconds, 0 for an unknown one."""
    if unit == c"H":
        return 3_600_000_000_000
    if unit == c"M":
        return 60_000_000_000
    if unit == c"S":
        return 1_000_000_000
    if unit == c"m":
        return 1_000_000
    if unit == c"u":
        return 1_000
    return 1 if unit == c"n" else 0


cdef int64_t parse_timeout(const uint8_t *value, size_t size) noexcept nogil:
    cdef int64_t count = 0, unit
    cdef size_t index
    if size < 2 or size > TIMEOUT_DIGITS_MAX + 1:
        return BAD_TIMEOUT
    for index in range(size - 1):
        if value[index] < c"0" or value[index] > c"9":
            return BAD_TIMEOUT
        count = count * 10 + (value[index] - c"0")
    unit = unit_ns(value[size - 1])
    if unit == 0:
        return BAD_TIMEOUT
    return INT64_MAX if count > INT64_MAX // unit else count * unit


cdef int encode_message(Buffer *target, const char *text, size_t size) noexcept nogil:
    cdef uint8_t[3] encoded
    cdef uint8_t byte
    cdef size_t index
    if buffer_reserve(target, size) < 0:
        return -1
    for index in range(size):
        byte = <uint8_t>text[index]
        encoded[0] = byte
        encoded[1] = HEX[byte >> 4]
        encoded[2] = HEX[byte & 15]
        if byte >= 0x20 and byte <= 0x7e and byte != c"%":
            if buffer_append(target, encoded, 1) < 0:
                return -1
        else:
            encoded[0] = c"%"
            if buffer_append(target, encoded, 3) < 0:
                return -1
    return 0
