"""Looks at the headers of a peer's frames as they go by, for what libnghttp2 lets pass.

libnghttp2 forgets a stream once it is closed and reads no priorities, so it ignores three things
that end a connection by the specification: HEADERS or DATA on a stream whose end the peer itself
has sent, a PRIORITY frame for no stream, and one that makes a stream depend on itself. What the
peer sent is all that is looked at: a frame that crosses a reset of ours on its way is no fault.
"""
from libc.stdint cimport int32_t, uint8_t

cdef enum:
    FRAME_HEADER_BYTES = 9
    ENDED_STREAMS_MAX = 32      # remembered: the last ones; a frame for an older one is ignored

cdef struct Watch:
    size_t skipped              # bytes to come that belong to no frame's header
    size_t head_size            # of what is in head
    uint8_t[FRAME_HEADER_BYTES + 4] head        # with the beginning of a PRIORITY frame's payload
    int32_t ended_max           # the highest stream that the peer has ended
    int32_t[ENDED_STREAMS_MAX] ended            # those that it ended last
    unsigned int ended_next     # where the next one goes

# Begin a connection, before its preface.
cdef void watch_init(Watch *watch) noexcept nogil
# Look at what has come. Returns how much of it may be taken in; if that is less than *size*, then
# *error_code* says how the connection is to end.
cdef size_t watch_input(Watch *watch, const uint8_t *data, size_t size,
                        int *error_code) noexcept nogil
