from libc.stdint cimport int64_t
from libc.string cimport memset

from regatta.wire._reader cimport KIND_BYTES
from regatta.wire._reader cimport KIND_VARINT
from regatta.wire._reader cimport Field
from regatta.wire._reader cimport Slice
from regatta.wire._reader cimport field_next


cdef int request_decode(Slice message, Request *request) noexcept nogil:
    cdef Field field
    cdef int code
    memset(request, 0, sizeof(Request))
    while True:
        code = field_next(&message, &field)
        if code <= 0:
            return code
        if field.kind == KIND_BYTES:
            if field.number == 1:
                request.table = field.bytes
            elif field.number == 2:
                request.query.key = field.bytes
            elif field.number == 3:
                request.query.range_end = field.bytes
        elif field.kind == KIND_VARINT:
            set_number(&request.query, field.number, <int64_t>field.value)


cdef inline void set_number(Query *query, int number, int64_t value) noexcept nogil:
    # Field 5, linearizable, asks for nothing more than any read here gives; see RangeSink.
    if number == 4:
        query.limit = value
    elif number == 6:
        query.keys_only = value != 0
    elif number == 7:
        query.count_only = value != 0
    elif number == 8:
        query.min_mod_revision = value
    elif number == 9:
        query.max_mod_revision = value
    elif number == 10:
        query.min_create_revision = value
    elif number == 11:
        query.max_create_revision = value
