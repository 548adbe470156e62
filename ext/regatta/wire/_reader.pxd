"""Protobuf messages as fields that borrow the bytes they came in."""
from libc.stdint cimport uint8_t
from libc.stdint cimport uint32_t
from libc.stdint cimport uint64_t

from regatta.wire._varint cimport varint_read

cdef enum:
    KIND_VARINT = 0
    KIND_FIXED64 = 1
    KIND_BYTES = 2
    KIND_GROUP = 3              # an unknown field of the old form; skipped whole
    KIND_GROUP_END = 4
    KIND_FIXED32 = 5

cdef enum:
    TAG_BYTES_MAX = 5           # protobuf refuses longer ones, even where the value is small
    GROUP_DEPTH_MAX = 100

cdef struct Slice:              # borrows: never outlives the memory it points into
    const uint8_t *data         # not NUL-terminated
    size_t size                 # bytes

cdef struct Field:
    uint32_t number             # 1 and up
    int kind                    # one of KIND_*
    uint64_t value              # for KIND_VARINT
    Slice bytes                 # for KIND_BYTES


cdef inline int field_next(Slice *rest, Field *field) noexcept nogil:
    """Take the next field off *rest*. Returns 1, 0 at the end, -1 if the bytes are malformed."""
    if rest.size == 0:
        return 0
    if _read_field(rest, field) < 0 or field.kind == KIND_GROUP_END or field.number == 0:
        return -1
    if field.kind == KIND_GROUP and _skip_group(rest, field.number) < 0:
        return -1
    return 1


cdef inline int _read_field(Slice *rest, Field *field) noexcept nogil:
    cdef const uint8_t *end = rest.data + rest.size
    cdef const uint8_t *at
    cdef uint64_t tag, length = 0
    at = varint_read(rest.data, end, &tag)
    if at == NULL or at - rest.data > TAG_BYTES_MAX or tag >> 32 != 0:
        return -1
    field.number = <uint32_t>(tag >> 3)
    field.kind = <int>(tag & 7)
    field.value = 0
    if field.kind == KIND_VARINT:
        at = varint_read(at, end, &field.value)
        if at == NULL:
            return -1
    elif field.kind == KIND_BYTES:
        at = varint_read(at, end, &length)
        if at == NULL:
            return -1
    elif field.kind == KIND_FIXED64:
        length = 8
    elif field.kind == KIND_FIXED32:
        length = 4
    elif field.kind > KIND_FIXED32:
        return -1
    if length > <uint64_t>(end - at):
        return -1
    field.bytes.data = at
    field.bytes.size = <size_t>length
    rest.data = at + length
    rest.size = <size_t>(end - rest.data)
    return 0


cdef inline int _skip_group(Slice *rest, uint32_t number) noexcept nogil:
    # Groups nest; each must be closed by an end tag of its own number. What is inside may have the
    # number 0, which is no field's: protobuf doesn't look.
    cdef uint32_t[GROUP_DEPTH_MAX] open_numbers
    cdef int depth = 1
    cdef Field field
    open_numbers[0] = number
    while depth > 0:
        if rest.size == 0 or _read_field(rest, &field) < 0:
            return -1
        if field.kind == KIND_GROUP:
            if depth == GROUP_DEPTH_MAX:
                return -1
            open_numbers[depth] = field.number
            depth += 1
        elif field.kind == KIND_GROUP_END:
            depth -= 1
            if open_numbers[depth] != field.number:
                return -1
    return 0
