from libc.stdint cimport int32_t, uint8_t, uint32_t
from libc.string cimport memcpy, memset

from regatta.http2._nghttp2_h cimport (
    NGHTTP2_DATA, NGHTTP2_FLAG_END_HEADERS, NGHTTP2_FLAG_END_STREAM, NGHTTP2_HEADERS,
    NGHTTP2_NO_ERROR, NGHTTP2_PRIORITY, NGHTTP2_PROTOCOL_ERROR, NGHTTP2_RST_STREAM,
    NGHTTP2_STREAM_CLOSED,
)

cdef enum:
    PREFACE_BYTES = 24
    PRIORITY_BYTES = 5          # a PRIORITY frame's payload
    DEPENDENCY_BYTES = 4        # the beginning of it


cdef void watch_init(Watch *watch) noexcept nogil:
    memset(watch, 0, sizeof(Watch))
    watch.skipped = PREFACE_BYTES


cdef size_t watch_input(Watch *watch, const uint8_t *data, size_t size,
                        int *error_code) noexcept nogil:
    cdef size_t offset = 0, part, begin
    cdef const uint8_t *head
    while offset < size:
        if watch.skipped:
            part = min(watch.skipped, size - offset)
            watch.skipped -= part
            offset += part
            continue
        begin = offset
        head = next_head(watch, data, size, &offset)
        if head == NULL:
            continue
        error_code[0] = judge(watch, head)
        if error_code[0] != NGHTTP2_NO_ERROR:
            return begin
    return size


cdef const uint8_t *next_head(Watch *watch, const uint8_t *data, size_t size,
                              size_t *offset) noexcept nogil:
    """Move on behind a frame's header and set what to skip after it; NULL if there is more to it.

    A PRIORITY frame's header has the stream behind it that the frame names.
    """
    cdef const uint8_t *head = data + offset[0]
    cdef size_t wanted = FRAME_HEADER_BYTES, part, length
    if watch.head_size == 0 and size - offset[0] >= FRAME_HEADER_BYTES and not is_priority(head):
        # This is how nearly all frames come: in one piece.
        offset[0] += FRAME_HEADER_BYTES
        watch.skipped = payload_bytes(head)
        return head
    if watch.head_size >= FRAME_HEADER_BYTES:
        wanted += DEPENDENCY_BYTES
    part = min(wanted - watch.head_size, size - offset[0])
    memcpy(watch.head + watch.head_size, head, part)
    watch.head_size += part
    offset[0] += part
    if watch.head_size < wanted:
        return NULL
    if wanted == FRAME_HEADER_BYTES and is_priority(watch.head):
        return NULL
    length = payload_bytes(watch.head)
    watch.skipped = length - (wanted - FRAME_HEADER_BYTES)
    watch.head_size = 0
    return watch.head


cdef int judge(Watch *watch, const uint8_t *head) noexcept nogil:
    """Return the error that a frame is, and note whether it is its stream's last."""
    cdef int kind = head[3], flags = head[4]
    cdef int32_t stream_id = read_id(head + 5)
    if kind == NGHTTP2_DATA or kind == NGHTTP2_HEADERS:
        if 0 < stream_id <= watch.ended_max and has_ended(watch, stream_id):
            return NGHTTP2_STREAM_CLOSED
        # Headers that go on in CONTINUATION frames end no stream yet.
        if flags & NGHTTP2_FLAG_END_STREAM and (
                kind == NGHTTP2_DATA or flags & NGHTTP2_FLAG_END_HEADERS):
            note_end(watch, stream_id)
    elif kind == NGHTTP2_RST_STREAM:
        note_end(watch, stream_id)
    elif is_priority(head) and (stream_id == 0 or stream_id == read_id(head + FRAME_HEADER_BYTES)):
        return NGHTTP2_PROTOCOL_ERROR
    return NGHTTP2_NO_ERROR


cdef inline bint is_priority(const uint8_t *head) noexcept nogil:
    """Say whether it is a PRIORITY frame of the right size; libnghttp2 refuses the others."""
    return head[3] == NGHTTP2_PRIORITY and payload_bytes(head) == PRIORITY_BYTES


cdef inline size_t payload_bytes(const uint8_t *head) noexcept nogil:
    return <size_t>head[0] << 16 | <size_t>head[1] << 8 | head[2]


cdef inline int32_t read_id(const uint8_t *data) noexcept nogil:
    return <int32_t>((<uint32_t>data[0] & 0x7f) << 24 | <uint32_t>data[1] << 16
                     | <uint32_t>data[2] << 8 | data[3])


cdef bint has_ended(const Watch *watch, int32_t stream_id) noexcept nogil:
    cdef int index
    for index in range(ENDED_STREAMS_MAX):
        if watch.ended[index] == stream_id:
            return True
    return False


cdef void note_end(Watch *watch, int32_t stream_id) noexcept nogil:
    watch.ended[watch.ended_next] = stream_id
    watch.ended_next = (watch.ended_next + 1) % ENDED_STREAMS_MAX
    watch.ended_max = max(watch.ended_max, stream_id)
