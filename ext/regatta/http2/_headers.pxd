"""The headers of answers: from pairs of bytes to what libnghttp2 takes."""
from libc.stddef cimport size_t

from regatta.http2._nghttp2_h cimport nghttp2_nv
from regatta.wire._buffer cimport Buffer

cdef enum:
    ANSWER_HEADERS_MAX = 64

# Fill in a header. *name* must be static.
cdef void set_header(nghttp2_nv *header, const char *name, const void *value, size_t value_size,
                     bint value_is_static) noexcept nogil
# The headers of an answer with status 200, and how many: grpc-encoding is the last, if it is needed.
cdef const nghttp2_nv *begin_headers(int coding) noexcept nogil
cdef inline size_t begin_count(int coding) noexcept nogil:
    return 3 if coding else 2

# Fill in headers from pairs, at most ANSWER_HEADERS_MAX. Returns their number.
cdef size_t set_headers(nghttp2_nv *headers, const Buffer *pairs) noexcept nogil
# Append (name, value) tuples of bytes.
cdef int add_pairs(Buffer *pairs, object headers) except -1
# Append grpc-status and, if there is a text, grpc-message. Returns -1 for no memory.
cdef int add_status(Buffer *pairs, int code, const char *text, size_t size) noexcept nogil
# Return (name, value) tuples of a request's headers, those with a colon left out.
cdef list list_headers(const Buffer *pairs)
