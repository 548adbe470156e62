from cpython.bytes cimport PyBytes_AS_STRING
from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport uint8_t
from libc.stdint cimport uint32_t
from libc.string cimport memcpy
from libc.string cimport memset

from regatta.store._record cimport USER_KEY_MAX
from regatta.wire._command cimport COMMAND_DELETE
from regatta.wire._command cimport COMMAND_TXN
from regatta.wire._command cimport COMPARE_EQUAL
from regatta.wire._command cimport COMPARE_NOT_EQUAL
from regatta.wire._command cimport OP_DELETE
from regatta.wire._command cimport OP_NONE
from regatta.wire._command cimport OP_PUT
from regatta.wire._command cimport OP_RANGE
from regatta.wire._command cimport TXN_COMPARE_FIELD
from regatta.wire._command cimport TXN_FAILURE_FIELD
from regatta.wire._command cimport Comparison
from regatta.wire._command cimport Operation
from regatta.wire._command cimport comparison_decode
from regatta.wire._command cimport next_message
from regatta.wire._command cimport operation_decode
from regatta.wire._reader cimport KIND_BYTES
from regatta.wire._reader cimport KIND_VARINT
from regatta.wire._reader cimport Field
from regatta.wire._reader cimport field_next
from regatta.wire._sized cimport bytes_size
from regatta.wire._sized cimport bytes_write
from regatta.wire._sized cimport head_write
from regatta.wire._sized cimport message_field_size
from regatta.wire._sized cimport number_size
from regatta.wire._sized cimport number_write

from regatta import limits

cdef enum:
    COMPARE_TARGET_VALUE = 0    # the one that there is

cdef size_t value_bytes_max = limits.value_bytes_max


cdef int write_decode(Slice message, int kind, Write *write) noexcept nogil:
    memset(write, 0, sizeof(Write))
    write.kind = kind
    if kind == WRITE_TXN:
        return _txn_decode(message, write)
    write.adds_data = kind == WRITE_PUT
    return _single_decode(message, write)


cdef int _single_decode(Slice message, Write *write) noexcept nogil:
    cdef bint deletes = write.kind == WRITE_DELETE
    cdef Field field
    cdef int code
    while True:
        code = field_next(&message, &field)
        if code <= 0:
            return code
        if field.kind == KIND_BYTES:
            if field.number == 1:
                write.table = field.bytes
            elif field.number == 2:
                write.key = field.bytes
            elif field.number == 3 and deletes:
                write.range_end = field.bytes
            elif field.number == 3:
                write.value = field.bytes
        elif field.kind == KIND_VARINT:
            if field.number == 4:
                write.prev_kv = field.value != 0
            elif field.number == 5 and deletes:
                write.count = field.value != 0


cdef int _txn_decode(Slice message, Write *write) noexcept nogil:
    """Find the table and the size of the Txn, whose fields are the request's, each one lower."""
    cdef Slice rest = message
    cdef Field field
    cdef int code
    write.message = message
    while True:
        code = field_next(&rest, &field)
        if code <= 0:
            return code
        if field.kind != KIND_BYTES:
            continue
        if field.number == 1:
            write.table = field.bytes
        elif TXN_COMPARE_FIELD <= field.number - 1 <= TXN_FAILURE_FIELD:
            write.txn_size += message_field_size(field.bytes.size)
            if field.number - 1 != TXN_COMPARE_FIELD and _note_operation(field.bytes, write) < 0:
                return -1


cdef int _note_operation(Slice message, Write *write) noexcept nogil:
    """Note what an operation of either branch may do."""
    cdef Operation operation
    if operation_decode(message, &operation) < 0:
        return -1
    if operation.type == OP_PUT:
        write.adds_data = True
    if operation.type == OP_RANGE or operation.prev_kv:
        write.prev_kv = True
    if operation.type != OP_NONE and operation.type != OP_RANGE:
        write.key = operation.key       # there is one that writes
    return 0


cdef bint write_is_sound(const Write *write) noexcept nogil:
    return (write.table.size > 0 and 1 <= write.key.size <= USER_KEY_MAX
            and write.value.size <= value_bytes_max
            and (write.kind != WRITE_TXN or _txn_is_sound(write.message)))


cdef bint _txn_is_sound(Slice rest) noexcept nogil:
    cdef Field field
    while field_next(&rest, &field) == 1:
        if field.kind != KIND_BYTES or field.number == 1:
            continue
        if field.number - 1 == TXN_COMPARE_FIELD:
            if not _comparison_is_sound(field.bytes):
                return False
        elif field.number - 1 <= TXN_FAILURE_FIELD and not _operation_is_sound(field.bytes):
            return False
    return True


cdef bint _comparison_is_sound(Slice message) noexcept nogil:
    cdef Comparison comparison
    cdef Field field
    if (comparison_decode(message, &comparison) < 0
            or not COMPARE_EQUAL <= comparison.result <= COMPARE_NOT_EQUAL
            or not 1 <= comparison.key.size <= USER_KEY_MAX
            or comparison.range_end.size > USER_KEY_MAX):
        return False
    while field_next(&message, &field) == 1:
        if field.number == 2 and field.kind == KIND_VARINT and field.value != COMPARE_TARGET_VALUE:
            return False
    return True


cdef bint _operation_is_sound(Slice message) noexcept nogil:
    cdef Operation operation
    return (operation_decode(message, &operation) == 0
            and (operation.type == OP_NONE
                 or (1 <= operation.key.size <= USER_KEY_MAX
                     and operation.value.size <= value_bytes_max
                     and (operation.type == OP_DELETE or operation.range_end.size <= USER_KEY_MAX))))


cdef bytes encode_command(const Write *write):
    cdef size_t size = bytes_size(write.table.size)
    cdef bytes command
    cdef uint8_t *at
    if write.kind == WRITE_TXN:
        size += number_size(COMMAND_TXN) + message_field_size(write.txn_size)
    else:
        size += _single_size(write)
    command = PyBytes_FromStringAndSize(NULL, size)
    at = <uint8_t *>PyBytes_AS_STRING(command)
    at = bytes_write(at, 1, write.table.data, write.table.size)
    if write.kind == WRITE_TXN:
        at = number_write(at, 2, COMMAND_TXN)
        _txn_write(head_write(at, 7, write.txn_size), write.message)
    else:
        _single_write(at, write)
    return command


cdef size_t _pair_size(const Write *write) noexcept nogil:
    return bytes_size(write.key.size) + bytes_size(write.value.size)


cdef size_t _single_size(const Write *write) noexcept nogil:
    cdef size_t size = message_field_size(_pair_size(write))
    if write.kind == WRITE_PUT:
        return size
    return (size + number_size(COMMAND_DELETE) + message_field_size(write.range_end.size)
            + number_size(write.count))


cdef void _single_write(uint8_t *at, const Write *write) noexcept nogil:
    cdef bint deletes = write.kind == WRITE_DELETE
    if deletes:
        at = number_write(at, 2, COMMAND_DELETE)
    at = head_write(at, 3, _pair_size(write))
    at = bytes_write(at, 1, write.key.data, write.key.size)
    at = bytes_write(at, 4, write.value.data, write.value.size)
    if deletes:
        # It is optional and set: an empty one is written, too.
        if write.range_end.size:
            at = bytes_write(at, 8, write.range_end.data, write.range_end.size)
        else:
            at = head_write(at, 8, 0)
        number_write(at, 11, write.count)


cdef void _txn_write(uint8_t *at, Slice message) noexcept nogil:
    cdef uint32_t number
    cdef Slice rest, part
    for number in range(TXN_COMPARE_FIELD, TXN_FAILURE_FIELD + 1):
        rest = message
        while next_message(&rest, number + 1, &part) == 1:
            at = head_write(at, number, part.size)
            memcpy(at, part.data, part.size)
            at += part.size
