"""What the load client asks and what it accepts for an answer.

Pair *n* of a family has the key "<family><n in 12 digits>", and as its value the key's last eight
digits over and over. So every answer tells whether it is the right one, and a Put stores what was
there before.
"""
from libc.stddef cimport size_t
from libc.stdint cimport uint8_t
from libc.stdint cimport uint32_t
from libc.stdint cimport uint64_t
from libc.string cimport memcmp
from libc.string cimport memcpy

from regatta.wire._reader cimport KIND_BYTES
from regatta.wire._reader cimport KIND_VARINT
from regatta.wire._reader cimport Field
from regatta.wire._reader cimport Slice
from regatta.wire._reader cimport field_next
from regatta.wire._varint cimport varint_write

cdef enum:
    FAMILY_BYTES = 4
    DIGIT_COUNT = 12
    KEY_BYTES = 16
    PATTERN_BYTES = 8           # of the key's end, repeated in the value
    PREFIX_BYTES = 5            # of gRPC, before each message
    TABLE_BYTES_MAX = 127
    # A request without its table and value: tags, lengths, both keys.
    REQUEST_BYTES_MAX = 64

cdef struct Spec:
    uint8_t[TABLE_BYTES_MAX] table
    size_t table_size
    uint8_t[FAMILY_BYTES] family
    size_t value_size
    uint32_t pair_count         # of a range; 0 asks for one key by itself
    bint linearizable
    bint snappy


cdef inline void key_write(uint8_t *at, const Spec *spec, uint64_t number) noexcept nogil:
    cdef int i
    memcpy(at, spec.family, FAMILY_BYTES)
    for i in range(KEY_BYTES - 1, FAMILY_BYTES - 1, -1):
        at[i] = <uint8_t>(c'0' + number % 10)
        number //= 10


cdef inline uint8_t *field_begin(uint8_t *at, uint8_t tag, size_t size) noexcept nogil:
    at[0] = tag
    return varint_write(at + 1, size)


cdef inline uint8_t *begin_request(uint8_t *at, const Spec *spec, uint32_t number) noexcept nogil:
    at = field_begin(at, 0x0A, spec.table_size)
    memcpy(at, spec.table, spec.table_size)
    at = field_begin(at + spec.table_size, 0x12, KEY_BYTES)
    key_write(at, spec, number)
    return at + KEY_BYTES


cdef inline size_t write_range(uint8_t *to, const Spec *spec, uint32_t number) noexcept nogil:
    """Write a RangeRequest; return its size."""
    cdef uint8_t *at = begin_request(to, spec, number)
    if spec.pair_count:
        at = field_begin(at, 0x1A, KEY_BYTES)
        key_write(at, spec, <uint64_t>number + spec.pair_count)
        at += KEY_BYTES
    if spec.linearizable:
        at[0], at[1] = 0x28, 1
        at += 2
    return <size_t>(at - to)


cdef inline size_t write_put(uint8_t *to, const Spec *spec, uint32_t number) noexcept nogil:
    """Write a PutRequest; return its size."""
    cdef uint8_t *at = begin_request(to, spec, number)
    cdef const uint8_t *pattern = at - PATTERN_BYTES
    cdef size_t done = 0, part
    at = field_begin(at, 0x1A, spec.value_size)
    while done < spec.value_size:
        part = min(spec.value_size - done, <size_t>PATTERN_BYTES)
        memcpy(at + done, pattern, part)
        done += part
    return <size_t>(at + done - to)


cdef inline bint is_value(const Slice *value, const Spec *spec, const uint8_t *pattern) noexcept nogil:
    # A value that begins with the pattern and equals itself eight bytes on is the pattern all over.
    if value.size != spec.value_size or memcmp(value.data, pattern, min(value.size, <size_t>PATTERN_BYTES)):
        return False
    return value.size <= PATTERN_BYTES or not memcmp(
        value.data, value.data + PATTERN_BYTES, value.size - PATTERN_BYTES)


cdef inline const char *check_pair(Slice pair, const Spec *spec, uint64_t number) noexcept nogil:
    cdef uint8_t[KEY_BYTES] expected
    cdef bint key_seen = False, value_seen = spec.value_size == 0
    cdef Field field
    cdef int code = field_next(&pair, &field)
    key_write(expected, spec, number)
    while code > 0:
        if field.kind == KIND_BYTES and field.number == 1:
            if field.bytes.size != KEY_BYTES or memcmp(field.bytes.data, expected, KEY_BYTES):
                return b"another key"
            key_seen = True
        elif field.kind == KIND_BYTES and field.number == 4:
            if not is_value(&field.bytes, spec, expected + KEY_BYTES - PATTERN_BYTES):
                return b"another value"
            value_seen = True
        code = field_next(&pair, &field)
    if code < 0 or not key_seen or not value_seen:
        return b"half a pair"
    return NULL


cdef inline const char *check_range(Slice answer, const Spec *spec, uint32_t number) noexcept nogil:
    """Return what is wrong with a RangeResponse, or NULL."""
    cdef uint64_t wanted = spec.pair_count if spec.pair_count else 1
    cdef uint64_t count = 0, counted = 0
    cdef const char *fault
    cdef Field field
    cdef int code = field_next(&answer, &field)
    while code > 0:
        if field.kind == KIND_BYTES and field.number == 3:
            fault = check_pair(field.bytes, spec, number + count)
            if fault != NULL:
                return fault
            count += 1
        elif field.kind == KIND_VARINT and field.number == 4 and field.value:
            return b"only a part of the pairs"
        elif field.kind == KIND_VARINT and field.number == 5:
            counted = field.value
        code = field_next(&answer, &field)
    if code < 0:
        return b"a malformed message"
    if count != wanted or counted != wanted:
        return b"another number of pairs"
    return NULL


cdef inline const char *check_put(Slice answer) noexcept nogil:
    """Return what is wrong with a PutResponse, or NULL: its header must hold a revision."""
    cdef Field field
    cdef Slice header
    if field_next(&answer, &field) != 1 or field.number != 1 or field.kind != KIND_BYTES:
        return b"no header"
    header = field.bytes
    while field_next(&header, &field) == 1:
        if field.number == 3 and field.kind == KIND_VARINT and field.value > 0:
            return NULL
    return b"no revision"
