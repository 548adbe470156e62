"""What gRPC lays on top of HTTP/2 headers: content types, timeouts, encoded messages."""
from libc.stdint cimport int64_t, uint8_t

from regatta.wire._buffer cimport Buffer

cdef enum ContentKind:
    CONTENT_PLAIN = 0           # not gRPC at all
    CONTENT_GRPC = 1            # protobuf messages over gRPC
    CONTENT_UNSUPPORTED = 2     # gRPC with another message format, or grpc-web

cdef enum:
    NO_TIMEOUT = -1
    BAD_TIMEOUT = -2

cdef ContentKind content_kind(const uint8_t *value, size_t size) noexcept nogil

# A grpc-timeout in nanoseconds, saturated at 2**63-1; BAD_TIMEOUT if it is malformed.
cdef int64_t parse_timeout(const uint8_t *value, size_t size) noexcept nogil

# Append a grpc-message, percent-encoded. Returns -1 when there is no memory, else 0.
cdef int encode_message(Buffer *target, const char *text, size_t size) noexcept nogil
