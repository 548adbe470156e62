from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t
from libc.stdio cimport snprintf
from libc.string cimport strlen

from regatta.http2._coding cimport CODING_UNKNOWN, coding_name
from regatta.http2._grpc cimport encode_message
from regatta.http2._nghttp2_h cimport (
    NGHTTP2_NV_FLAG_NO_COPY_NAME, NGHTTP2_NV_FLAG_NO_COPY_VALUE, NGHTTP2_NV_FLAG_NONE,
)
from regatta.http2._pairs cimport Span, pairs_append, pairs_next
from regatta.wire._buffer cimport buffer_free


cdef void set_header(nghttp2_nv *header, const char *name, const void *value, size_t value_size,
                     bint value_is_static) noexcept nogil:
    header.name = <uint8_t *>name
    header.namelen = strlen(name)
    header.value = <uint8_t *>value
    header.valuelen = value_size
    header.flags = <uint8_t>NGHTTP2_NV_FLAG_NO_COPY_NAME
    if value_is_static:
        header.flags |= <uint8_t>NGHTTP2_NV_FLAG_NO_COPY_VALUE


cdef nghttp2_nv[CODING_UNKNOWN][3] BEGIN


cdef void prepare() noexcept:
    cdef int coding
    for coding in range(<int>CODING_UNKNOWN):
        set_header(&BEGIN[coding][0], ":status", b"200", 3, True)
        set_header(&BEGIN[coding][1], "content-type", b"application/grpc", 16, True)
        set_header(&BEGIN[coding][2], "grpc-encoding", coding_name(coding),
                   strlen(coding_name(coding)), True)


prepare()


cdef const nghttp2_nv *begin_headers(int coding) noexcept nogil:
    return BEGIN[coding]


cdef size_t set_headers(nghttp2_nv *headers, const Buffer *pairs) noexcept nogil:
    cdef size_t offset = 0, count = 0
    cdef Span name, value
    while offset < pairs.size and count < ANSWER_HEADERS_MAX:
        offset = pairs_next(pairs, offset, &name, &value)
        headers[count].name = pairs.data + name.offset
        headers[count].namelen = name.size
        headers[count].value = pairs.data + value.offset
        headers[count].valuelen = value.size
        headers[count].flags = <uint8_t>NGHTTP2_NV_FLAG_NONE
        count += 1
    return count


cdef int add_pairs(Buffer *pairs, object headers) except -1:
    cdef bytes name, value
    if len(headers) > ANSWER_HEADERS_MAX - 4:
        raise ValueError(f"more than {ANSWER_HEADERS_MAX - 4} headers")
    for name, value in headers:
        if pairs_append(pairs, PyBytes_AS_STRING(name), PyBytes_GET_SIZE(name),
                        PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value)) < 0:
            raise MemoryError
    return 0


cdef int add_status(Buffer *pairs, int code, const char *text, size_t size) noexcept nogil:
    cdef Buffer encoded = [NULL, 0, 0]
    cdef char[16] digits
    cdef int digits_size = snprintf(digits, sizeof(digits), "%d", code)
    cdef int failed = pairs_append(pairs, b"grpc-status", 11, digits, digits_size)
    if size > 0:
        failed |= encode_message(&encoded, text, size)
        failed |= pairs_append(pairs, b"grpc-message", 12, encoded.data, encoded.size)
        buffer_free(&encoded)
    return failed


cdef list list_headers(const Buffer *pairs):
    cdef const char *text = <const char *>pairs.data
    cdef Span name, value
    cdef size_t offset = 0
    cdef list listed = []
    while offset < pairs.size:
        offset = pairs_next(pairs, offset, &name, &value)
        if text[name.offset] != c":":
            listed.append((text[name.offset:name.offset + name.size],
                           text[value.offset:value.offset + value.size]))
    return listed
