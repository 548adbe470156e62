"""One stream's state in C: its request so far, its answer so far. Nothing of libnghttp2 here.

Streams are pooled together with their small buffers, so that a call in the steady state
allocates nothing. The pool is guarded by the GIL.
"""
from libc.stdint cimport int32_t, uint8_t, uint32_t
from libc.stdio cimport snprintf
from libc.stdlib cimport calloc, free
from libc.string cimport memmove, memset

from regatta.errors import Code

from regatta.http2._grpc cimport NO_TIMEOUT
from regatta.http2._link cimport link_init
from regatta.wire._buffer cimport buffer_append, buffer_recycle, buffer_reserve

cdef enum:
    POOL_STREAMS_MAX = 2048

cdef int INTERNAL = Code.INTERNAL
cdef int RESOURCE_EXHAUSTED = Code.RESOURCE_EXHAUSTED

cdef Stream *pool = NULL        # linked by live.owner
cdef Py_ssize_t pooled_count = 0
cdef Py_ssize_t live_count = 0


def live_streams() -> int:
    """Return the number of streams that exist in the whole process; 0 when nothing leaks."""
    return live_count


cdef Stream *stream_new(int32_t stream_id) noexcept nogil:
    global pool, pooled_count, live_count
    cdef Stream *stream = pool
    if stream != NULL:
        pool = <Stream *>stream.live.owner
        pooled_count -= 1
    else:
        stream = <Stream *>calloc(1, sizeof(Stream))
        if stream == NULL:
            return NULL
    live_count += 1
    link_init(&stream.live, stream)
    link_init(&stream.attention, stream)
    link_init(&stream.deferred, stream)
    link_init(&stream.waiting, stream)
    link_init(&stream.starved, stream)
    stream.id = stream_id
    stream.timeout_ns = NO_TIMEOUT
    return stream


cdef void stream_free(Stream *stream) noexcept nogil:
    global pool, pooled_count, live_count
    cdef Buffer[4] kept
    live_count -= 1
    kept[0], kept[1] = stream.headers, stream.body
    kept[2], kept[3] = stream.answer, stream.trailers
    if pooled_count >= POOL_STREAMS_MAX:
        for index in range(4):
            free(kept[index].data)
        free(stream)
        return
    for index in range(4):
        buffer_recycle(&kept[index])
    memset(stream, 0, sizeof(Stream))
    stream.headers, stream.body = kept[0], kept[1]
    stream.answer, stream.trailers = kept[2], kept[3]
    stream.live.owner = pool
    pool = stream
    pooled_count += 1


cdef int stream_receive(Stream *stream, const uint8_t *data, size_t size) noexcept nogil:
    return buffer_append(&stream.body, data, size)


cdef uint32_t message_bytes(const uint8_t *prefix) noexcept nogil:
    return (<uint32_t>prefix[1] << 24 | <uint32_t>prefix[2] << 16
            | <uint32_t>prefix[3] << 8 | prefix[4])


cdef Scan stream_scan(Stream *stream, size_t message_bytes_max) noexcept nogil:
    cdef const uint8_t *prefix
    while True:
        if stream.partial_bytes == 0:
            if stream.body.size - stream.scanned < PREFIX_BYTES:
                return SCAN_FINE
            prefix = stream.body.data + stream.scanned
            stream.partial_bytes = PREFIX_BYTES + <size_t>message_bytes(prefix)
            if prefix[0] > 1:
                return SCAN_BAD_FLAG
            if stream.partial_bytes - PREFIX_BYTES > message_bytes_max:
                return SCAN_TOO_LARGE
            if prefix[0] == 1 and stream.coding == 0:
                return SCAN_COMPRESSED
        if stream.body.size - stream.scanned < stream.partial_bytes:
            return SCAN_FINE
        stream.scanned += stream.partial_bytes
        stream.partial_bytes = 0
        stream.message_count += 1


cdef int stream_fault(const Stream *stream, int scan, size_t message_bytes_max,
                      char *text) noexcept nogil:
    if scan == SCAN_COMPRESSED:
        snprintf(text, FAULT_TEXT_BYTES, "a message is marked as compressed, but there is no grpc-encoding")
        return INTERNAL
    if scan == SCAN_TOO_LARGE:
        snprintf(text, FAULT_TEXT_BYTES, "grpc: received message larger than max (%zu vs. %zu)",
                 stream.partial_bytes - PREFIX_BYTES, message_bytes_max)
        return RESOURCE_EXHAUSTED
    snprintf(text, FAULT_TEXT_BYTES, "a message's flags are neither 0 nor 1")
    return INTERNAL


cdef bint stream_take(Stream *stream, Message *message) noexcept nogil:
    cdef const uint8_t *prefix
    if stream.taken == stream.scanned:
        return False
    prefix = stream.body.data + stream.taken
    message.data, message.size = prefix + PREFIX_BYTES, message_bytes(prefix)
    message.compressed = prefix[0] != 0
    stream.taken += PREFIX_BYTES + message.size
    return True


cdef void stream_trim(Stream *stream) noexcept nogil:
    cdef size_t left = stream.body.size - stream.taken
    if left == 0:
        buffer_recycle(&stream.body)
    elif stream.taken >= left:
        # No more is moved than was taken, so that each byte moves at most once on average.
        memmove(stream.body.data, stream.body.data + stream.taken, left)
        stream.body.size = left
    else:
        return
    stream.scanned -= stream.taken
    stream.taken = 0


cdef int stream_answer(Stream *stream, bint compressed, const void *message,
                       size_t size) noexcept nogil:
    cdef uint8_t[PREFIX_BYTES] prefix
    stream_prefix(prefix, compressed, size)
    if buffer_reserve(&stream.answer, PREFIX_BYTES + size) < 0:
        return -1
    buffer_append(&stream.answer, prefix, PREFIX_BYTES)
    buffer_append(&stream.answer, message, size)
    return 0
