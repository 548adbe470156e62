from libc.stdint cimport uint8_t

from regatta.http2._stream cimport PREFIX_BYTES, stream_text

from regatta.limits import rest_body_bytes_max

cdef size_t body_bytes_max = rest_body_bytes_max


cdef size_t content_length(const Stream *stream) noexcept nogil:
    cdef const uint8_t *digits = stream_text(stream, stream.content_length)
    cdef size_t length = 0, index
    for index in range(stream.content_length.size):
        # libnghttp2 lets nothing but digits through.
        length = min(length * 10 + (digits[index] - c"0"), body_bytes_max + 1)
    return length


cdef size_t wanted_bytes(const Stream *stream, size_t held) noexcept nogil:
    cdef size_t wanted = WINDOW_BYTES
    if stream.finished:
        # Nothing is kept any more. A gRPC call is about to be reset.
        return 0 if stream.grpc else WINDOW_BYTES
    if stream.grpc:
        # A large message gets its place when those before it have been taken; and one more byte,
        # so that a second message where there should be one shows itself.
        if stream.taken == stream.scanned:
            wanted = stream.partial_bytes + 1
    elif stream.content_length.size:
        wanted = content_length(stream)
    elif held >= WINDOW_BYTES // 2:
        # No length was announced. Asking for the limit at once, and one more byte to notice an
        # excess by, keeps bodies that grow side by side from waiting for each other for ever.
        wanted = body_bytes_max + 1
    return max(wanted, <size_t>WINDOW_BYTES)


cdef bint lacks_window(const Stream *stream, size_t opened) noexcept nogil:
    cdef size_t partial = max(stream.partial_bytes, <size_t>PREFIX_BYTES)
    return stream.grpc and stream.scanned + partial > stream.body.size + opened
