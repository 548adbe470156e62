from libc.stdint cimport int32_t
from libc.stdint cimport int64_t
from libc.string cimport memset

from regatta.wire._reader cimport KIND_BYTES
from regatta.wire._reader cimport KIND_VARINT
from regatta.wire._reader cimport Field
from regatta.wire._reader cimport field_next


cdef int command_decode(Slice message, Command *command) noexcept nogil:
    cdef Field field
    cdef int code
    memset(command, 0, sizeof(Command))
    while True:
        code = field_next(&message, &field)
        if code <= 0:
            return code
        if field.kind == KIND_VARINT:
            if field.number == 2:
                command.type = <int>field.value
            elif field.number == 9:
                command.prev_kvs = field.value != 0
            elif field.number == 11:
                command.count = field.value != 0
        elif field.kind == KIND_BYTES:
            if field.number == 3:
                if _pair_merge(field.bytes, &command.kv) < 0:
                    return -1
            elif field.number == 7:
                command.txn = field.bytes
            elif field.number == 8:
                command.range_end = field.bytes
            elif field.number == 100:
                command.has_source = True
                if _source_merge(field.bytes, &command.source) < 0:
                    return -1


cdef int pair_decode(Slice message, Pair *pair) noexcept nogil:
    memset(pair, 0, sizeof(Pair))
    return _pair_merge(message, pair)


cdef int _pair_merge(Slice message, Pair *pair) noexcept nogil:
    # A message that comes twice is one with the fields of both.
    cdef Field field
    cdef int code
    while True:
        code = field_next(&message, &field)
        if code <= 0:
            return code
        if field.kind == KIND_BYTES:
            if field.number == 1:
                pair.key = field.bytes
            elif field.number == 4:
                pair.value = field.bytes


cdef int _source_merge(Slice message, Source *source) noexcept nogil:
    cdef Field field
    cdef int code
    while True:
        code = field_next(&message, &field)
        if code <= 0:
            return code
        if field.kind == KIND_VARINT:
            if field.number == 2:
                source.partition = <int32_t>field.value
            elif field.number == 3:
                source.previous = <int64_t>field.value
            elif field.number == 4:
                source.next = <int64_t>field.value
            elif field.number == 5:
                source.skipped = <int64_t>field.value
        elif field.kind == KIND_BYTES:
            if field.number == 1:
                source.topic = field.bytes
            elif field.number == 6:
                source.topic_id = field.bytes


cdef int operation_decode(Slice message, Operation *operation) noexcept nogil:
    cdef Field field
    cdef int code
    memset(operation, 0, sizeof(Operation))
    while True:
        code = field_next(&message, &field)
        if code <= 0:
            return code
        # Of a oneof the last one counts.
        if field.kind == KIND_BYTES and OP_RANGE <= <int>field.number <= OP_DELETE:
            if operation.type != <int>field.number:
                memset(operation, 0, sizeof(Operation))
                operation.type = <int>field.number
            if _request_decode(field.bytes, operation) < 0:
                return -1


cdef int _request_decode(Slice message, Operation *operation) noexcept nogil:
    cdef Field field
    cdef int code
    while True:
        code = field_next(&message, &field)
        if code <= 0:
            return code
        if field.kind == KIND_BYTES and field.number == 1:
            operation.key = field.bytes
        elif field.kind == KIND_BYTES and field.number == 2:
            if operation.type == OP_PUT:
                operation.value = field.bytes
            else:
                operation.range_end = field.bytes
        elif field.kind == KIND_VARINT:
            _set_flag(operation, field)


cdef void _set_flag(Operation *operation, Field field) noexcept nogil:
    cdef bint on = field.value != 0
    if operation.type == OP_RANGE:
        if field.number == 3:
            operation.limit = <int64_t>field.value
        elif field.number == 4:
            operation.keys_only = on
        elif field.number == 5:
            operation.count_only = on
    elif operation.type == OP_PUT:
        if field.number == 3:
            operation.prev_kv = on
    elif field.number == 4:
        operation.prev_kv = on
    elif field.number == 5:
        operation.count = on


cdef int comparison_decode(Slice message, Comparison *comparison) noexcept nogil:
    cdef Field field
    cdef int code
    memset(comparison, 0, sizeof(Comparison))
    while True:
        code = field_next(&message, &field)
        if code <= 0:
            return code
        if field.kind == KIND_VARINT and field.number == 1:
            comparison.result = <int>field.value
        elif field.kind == KIND_BYTES:
            if field.number == 3:
                comparison.key = field.bytes
            elif field.number == 4:
                comparison.value = field.bytes
                comparison.has_value = True
            elif field.number == 64:
                comparison.range_end = field.bytes


cdef int next_message(Slice *rest, uint32_t number, Slice *message) noexcept nogil:
    cdef Field field
    cdef int code
    while True:
        code = field_next(rest, &field)
        if code <= 0:
            return code
        if field.number == number and field.kind == KIND_BYTES:
            message[0] = field.bytes
            return 1
