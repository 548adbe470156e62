"""A call that Python answers, and what it needs of the session that it came by."""
from libc.stddef cimport size_t

from regatta.http2._link cimport Link
from regatta.http2._nghttp2_h cimport nghttp2_nv
from regatta.http2._stream cimport Message, Stream
from regatta.wire._buffer cimport Buffer

cdef enum:
    OUTSTANDING_BYTES_MAX = 8 << 20             # of answers; more calls wait above it
    # What one connection may do with compressed messages before others have a turn. A message that
    # has begun is unpacked to its end, so there can be more by the size of one.
    UNPACKED_IN_A_TURN_BYTES_MAX = 1 << 20
    PACKED_IN_A_TURN_BYTES_MAX = 512 << 10

cdef class Owner:
    cdef size_t outstanding_bytes       # of answers: built, and not yet handed out by output()
    cdef size_t unpacked_bytes          # of requests, in this turn
    cdef size_t packed_bytes            # of answers, before, in this turn
    cdef bint cap_felt                  # a call may wait for the outstanding bytes to fall
    cdef Link starved                   # head of the calls that wait for the next turn

    # The session's part.
    # Answer a call that a sink has kept, once, unless its stream is gone: *message*, or *text* if
    # *code* is not 0. Not while bytes are received. The stream is gone for the sink afterwards.
    cdef void answer_kept(self, Stream *stream, const void *message, size_t size, int code,
                          const char *text) noexcept
    cdef int wake(self) except -1
    cdef void regulate(self, Stream *stream) noexcept nogil
    cdef void abandon_request(self, Stream *stream) noexcept nogil
    cdef int finish_grpc(self, Stream *stream, int http_status) noexcept nogil
    cdef int submit(self, Stream *stream, const nghttp2_nv *headers, size_t count,
                    bint with_data) noexcept nogil
    cdef int resume(self, Stream *stream) noexcept nogil

    # Say whether the stream's next message has to wait for the next turn to be unpacked.
    cdef bint must_wait(self, const Stream *stream) noexcept nogil
    # Unpack a compressed message into memory that stays until drop_unpacked. Returns 0, or the
    # gRPC code of what is wrong, and why in *text*, UNPACK_TEXT_BYTES long.
    cdef int unpack_message(self, const Stream *stream, Message *message, char *text) noexcept nogil
    # Put an answer into *target* in the call's encoding. Returns 1, or 0 if it better goes as it
    # is: small, hardly smaller in the encoding, or too much for this turn. -1 for no memory.
    cdef int pack_answer(self, const Stream *stream, const void *message, size_t size,
                         Buffer *target) noexcept nogil

cdef void drop_unpacked() noexcept nogil

cdef class Call:
    cdef Owner session
    cdef Stream *stream         # NULL once the stream is gone
    cdef bint ended_before, failed_before
    cdef readonly bytes path, method
    cdef readonly bint is_grpc
    cdef readonly list headers
    cdef readonly object timeout_ns
    cdef readonly str encoding
    cdef public object listener

    cdef int begin(self, const nghttp2_nv *headers, size_t count) except -1
    cdef void detach(self) noexcept

cdef Call make_call(Owner session, Stream *stream)
