"""Inbound flow control: how much of its request a stream should be able to hold."""
from libc.stddef cimport size_t

from regatta.http2._stream cimport Stream

cdef enum:
    WINDOW_BYTES = 65535        # what a stream may send unasked

# The body's length as announced, saturated just over the limit; 0 if it was not.
cdef size_t content_length(const Stream *stream) noexcept nogil
# How much of its request the stream should be able to hold, all in all; it holds *held* now.
cdef size_t wanted_bytes(const Stream *stream, size_t held) noexcept nogil
# Say whether the message that is arriving can't be completed in the open window.
cdef bint lacks_window(const Stream *stream, size_t opened) noexcept nogil
