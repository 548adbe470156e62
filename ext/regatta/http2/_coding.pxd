"""The encodings of gRPC messages: which there are, into them and out of them."""
from libc.stdint cimport uint8_t

from regatta.http2._stream cimport Message
from regatta.wire._buffer cimport Buffer

cdef enum Coding:
    CODING_IDENTITY = 0
    CODING_GZIP = 1
    CODING_SNAPPY = 2           # the framed format
    CODING_ZSTD = 3
    CODING_UNKNOWN = 4

cdef enum:
    PACKED_BYTES_MIN = 4096     # smaller answers go as they are
    UNPACK_TEXT_BYTES = 128

cdef const char *CODINGS        # all that are known, as grpc-accept-encoding has them

cdef Coding coding_of(const uint8_t *name, size_t size) noexcept nogil
cdef const char *coding_name(int coding) noexcept nogil

# Put into *target* what *message* is without its encoding. Returns 0, or the gRPC code of what is
# wrong, and why in *text*, UNPACK_TEXT_BYTES long.
cdef int unpack(int coding, const Message *message, size_t bytes_max, Buffer *target,
                char *text) noexcept nogil

# Put into *target* the message in its encoding. Returns 1, or 0 if that is not worth while: then
# *target* is as it was. -1 for no memory.
cdef int pack(int coding, const void *message, size_t size, Buffer *target) noexcept nogil
