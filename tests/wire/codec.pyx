# cython: language_level=3
"""Shows Python what the C-level codecs make of bytes."""
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memset

from regatta.wire._buffer cimport Buffer, buffer_free
from regatta.wire._command cimport Command, Comparison, Operation
from regatta.wire._command cimport command_decode, comparison_decode, next_message, operation_decode
from regatta.wire._reader cimport KIND_BYTES, KIND_VARINT, Field, Slice, field_next
from regatta.wire._varint cimport varint_read, varint_size, varint_write
from regatta.wire._writer cimport message_begin, message_end, write_bytes, write_varint


cdef Slice slice_of(bytes data):
    cdef Slice made
    made.data, made.size = <const uint8_t *><char *>data, len(data)
    return made


cdef bytes bytes_of(Slice data):
    return data.data[:data.size] if data.size else b""


def read_varint(bytes data):
    """Return (value, bytes used), or None if it is malformed."""
    cdef uint64_t value
    cdef Slice whole = slice_of(data)
    cdef const uint8_t *after = varint_read(whole.data, whole.data + whole.size, &value)
    return None if after == NULL else (value, after - whole.data)


def write_one_varint(uint64_t value):
    cdef uint8_t[10] room
    size = varint_write(room, value) - room
    assert size == varint_size(value)
    return room[:size]


def fields(bytes data):
    """Return [(number, kind, value or bytes or None)], or None if the bytes are malformed."""
    cdef Slice rest = slice_of(data)
    cdef Field field
    cdef int code
    found = []
    while True:
        code = field_next(&rest, &field)
        if code < 0:
            return None
        if code == 0:
            return found
        content = None
        if field.kind == KIND_VARINT:
            content = field.value
        elif field.kind == KIND_BYTES:
            content = bytes_of(field.bytes)
        found.append((field.number, field.kind, content))


def messages(bytes data, uint32_t number):
    """Return the messages in field *number* up to the end or to what is malformed."""
    cdef Slice rest = slice_of(data), one
    found = []
    while next_message(&rest, number, &one) > 0:
        found.append(bytes_of(one))
    return found


def command(bytes data):
    cdef Command made
    if command_decode(slice_of(data), &made) < 0:
        return None
    return (made.type, bytes_of(made.kv.key), bytes_of(made.kv.value), bytes_of(made.range_end),
            made.prev_kvs, made.count, bytes_of(made.txn))


def source(bytes data):
    """Return what a command says of its source, None if it has none; False if it is malformed."""
    cdef Command made
    if command_decode(slice_of(data), &made) < 0:
        return False
    if not made.has_source:
        return None
    return (bytes_of(made.source.topic), made.source.partition, made.source.previous,
            made.source.next, made.source.skipped, bytes_of(made.source.topic_id))


def operation(bytes data):
    cdef Operation made
    if operation_decode(slice_of(data), &made) < 0:
        return None
    return (made.type, bytes_of(made.key), bytes_of(made.range_end), bytes_of(made.value),
            made.limit, made.keys_only, made.count_only, made.prev_kv, made.count)


def comparison(bytes data):
    cdef Comparison made
    if comparison_decode(slice_of(data), &made) < 0:
        return None
    return (made.result, bytes_of(made.key), bytes_of(made.range_end), made.has_value,
            bytes_of(made.value))


cdef int write_tree(Buffer *buffer, tree) except -1:
    cdef size_t mark
    for number, content in tree:
        if isinstance(content, int):
            write_varint(buffer, number, content)
        elif isinstance(content, bytes):
            write_bytes(buffer, number, <char *>content, len(content))
        else:
            message_begin(buffer, number, &mark)
            write_tree(buffer, content)
            message_end(buffer, mark)
    return 0


def write(tree):
    """Return the encoding of [(number, int or bytes or a list of the same)]."""
    cdef Buffer buffer
    memset(&buffer, 0, sizeof(buffer))
    try:
        write_tree(&buffer, tree)
        return buffer.data[:buffer.size] if buffer.size else b""
    finally:
        buffer_free(&buffer)
