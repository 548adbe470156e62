"""One stream's state in C: its request so far, its answer so far. Nothing of libnghttp2 here."""
from cpython.object cimport PyObject
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t
from libc.string cimport memcmp, strlen

from regatta.http2._link cimport Link
from regatta.http2._pairs cimport Span, pairs_append
from regatta.wire._buffer cimport Buffer

cdef enum:
    PREFIX_BYTES = 5            # of a gRPC message: one byte of flags, four of size

cdef struct Message:            # of a request; borrowed
    const uint8_t *data
    size_t size
    bint compressed             # in the encoding that grpc-encoding named

cdef enum Scan:                 # what stream_scan found
    SCAN_FINE = 0
    SCAN_TOO_LARGE = 1          # the message is over the limit; partial_bytes tells by how much
    SCAN_COMPRESSED = 2
    SCAN_BAD_FLAG = 3

cdef enum:
    FAULT_TEXT_BYTES = 96

cdef struct Stream:
    Link live                   # in the session's list of all streams
    Link attention              # waits to be shown to Python
    # Waits until less of the connection's output is outstanding, or until the batch is in.
    Link deferred
    Link waiting                # waits for a part of the connection's budget for large requests
    Link starved                # waits for the next turn to have a message unpacked
    PyObject *call              # owned reference to the Call, or NULL
    size_t place                # what the sink is told of a call that it has postponed
    Stream **keeper             # where the sink keeps the stream of a call it has not answered yet
    int32_t id

    bint grpc
    bint native                 # may be the sink's: no Call is made before the request is complete
    bint dispatched             # left to Python: a Call is made for it, or will be
    bint ended                  # the request side has ended
    bint refused                # the session itself has answered an error
    bint finished               # nothing will be added to the answer
    bint closed                 # libnghttp2 has forgotten it
    bint headers_overflow

    # The request's headers, pseudo headers too, as pairs; the spans lie in it.
    Buffer headers
    size_t header_list_bytes    # as HTTP/2 counts them: 32 more for each
    Span method, path, content_type, encoding, timeout, content_length
    int coding                  # that grpc-encoding named; answers may use it, too
    int64_t timeout_ns          # NO_TIMEOUT when the client gave none

    # The request's body. Invariant: taken <= scanned <= body.size.
    Buffer body
    size_t taken                # bytes that were handed on
    size_t scanned              # gRPC: where the first incomplete message begins
    size_t partial_bytes        # gRPC: that message with its prefix, 0 while the prefix is incomplete
    uint32_t message_count      # gRPC: complete messages in all
    size_t discarded_bytes      # received after the answer was settled
    size_t reserved_bytes       # held of the connection's budget for large requests

    # The answer. Invariant: sent <= answer.size.
    Buffer answer
    size_t sent
    bint response_begun
    bint parked                 # libnghttp2 waits to be told that there is more
    Buffer trailers             # as pairs; empty for a plain grpc-status 0

# Take a stream from the pool; NULL when there is no memory.
cdef Stream *stream_new(int32_t stream_id) noexcept nogil
# Give it back. It must be in no list and hold no reference.
cdef void stream_free(Stream *stream) noexcept nogil

cdef inline const uint8_t *stream_text(const Stream *stream, Span span) noexcept nogil:
    return stream.headers.data + span.offset


cdef inline bint stream_equals(const Stream *stream, Span span, const char *text) noexcept nogil:
    """Say whether a header's value is *text*."""
    return span.size == strlen(text) and memcmp(stream_text(stream, span), text, span.size) == 0


cdef inline int stream_header(Stream *stream, const uint8_t *name, size_t name_size,
                              const uint8_t *value, size_t value_size) noexcept nogil:
    """Keep a header of the request, and where its value is if the session asks for it.

    Returns -1 when there is no memory.
    """
    cdef Span span
    if pairs_append(&stream.headers, name, name_size, value, value_size) < 0:
        return -1
    span.offset = <uint32_t>(stream.headers.size - value_size)
    span.size = <uint32_t>value_size
    if name_size == 5 and memcmp(name, b":path", 5) == 0:
        stream.path = span
    elif name_size == 7 and memcmp(name, b":method", 7) == 0:
        stream.method = span
    elif name_size == 12 and memcmp(name, b"content-type", 12) == 0:
        stream.content_type = span
    elif name_size == 12 and memcmp(name, b"grpc-timeout", 12) == 0:
        stream.timeout = span
    elif name_size == 13 and memcmp(name, b"grpc-encoding", 13) == 0:
        stream.encoding = span
    elif name_size == 14 and memcmp(name, b"content-length", 14) == 0:
        stream.content_length = span
    return 0


# Add received bytes to the body and find the messages in them.
# Returns -1 when there is no memory.
cdef int stream_receive(Stream *stream, const uint8_t *data, size_t size) noexcept nogil
cdef Scan stream_scan(Stream *stream, size_t message_bytes_max) noexcept nogil
# Return the gRPC code of a scan that was not fine, and write why to *text*, FAULT_TEXT_BYTES long.
cdef int stream_fault(const Stream *stream, int scan, size_t message_bytes_max,
                      char *text) noexcept nogil

# Point *message* at the next complete message, without prefix, and count it as taken.
# Returns False if there is none. The bytes stay until the next call on this stream's body.
cdef bint stream_take(Stream *stream, Message *message) noexcept nogil
# Say whether the next message is there and compressed.
cdef inline bint stream_next_is_compressed(const Stream *stream) noexcept nogil:
    return stream.taken < stream.scanned and stream.body.data[stream.taken] != 0
# Drop what was taken from the body.
cdef void stream_trim(Stream *stream) noexcept nogil

cdef inline void stream_prefix(uint8_t *prefix, bint compressed, size_t size) noexcept nogil:
    """Write the five bytes that go before a message of *size* bytes."""
    prefix[0] = compressed
    prefix[1] = <uint8_t>(size >> 24)
    prefix[2] = <uint8_t>(size >> 16)
    prefix[3] = <uint8_t>(size >> 8)
    prefix[4] = <uint8_t>size


# Append one message with its prefix to the answer. Returns -1 when there is no memory.
cdef int stream_answer(Stream *stream, bint compressed, const void *message,
                       size_t size) noexcept nogil
