"""The contract between an HTTP/2 session and what answers calls natively."""
from cpython.object cimport PyObject
from libc.stdint cimport int64_t
from libc.stdint cimport uint8_t

from regatta.http2._stream cimport Stream
from regatta.wire._buffer cimport Buffer

cdef enum:
    FAILED = 0                  # an exception was raised, and is reported; not to be returned
    DECLINED = 1                # not ours: the call goes to the Python router
    TAKEN = 2                   # answered: Reply is filled in
    KEPT = 3                    # will be answered later, with answer_kept of Reply.session
    POSTPONED = 4               # ask again, with on_postponed, when the batch is in

cdef struct Reply:              # one unary answer; the session owns the memory
    uint8_t *data               # the response message, without gRPC's five-byte prefix
    size_t size                 # bytes of it that count
    size_t capacity             # bytes allocated; grow with reply_reserve only
    int status                  # gRPC code, 0 for OK; if not 0, data is not looked at
    const char *message         # static text for grpc-message when status is not 0
    size_t place                # of a call that is postponed: what on_postponed is told; to be set
    # For calls that are kept.
    PyObject *session           # an Owner, borrowed: keep a reference
    Stream *stream              # what answer_kept is told
    int64_t timeout_ns          # NO_TIMEOUT when the client gave none
    # To be set: where the stream is kept. That becomes NULL when the stream is gone; who gives up
    # that place before sets the stream's own keeper to NULL.
    Stream **keeper

# Lend a sink the memory of a stream's answer, which has room for a prefix at least, and take it back.
cdef void reply_begin(Reply *reply, PyObject *session, Stream *stream) noexcept nogil
cdef void reply_end(const Reply *reply) noexcept nogil
# Make room for *capacity* bytes in all. Returns -1 when there is no memory, else 0.
cdef int reply_reserve(Reply *reply, size_t capacity) noexcept nogil

# Let *buffer* have the reply's memory, with reply.size bytes in use behind what is the session's, so
# that others can append to it; and take it back, with what they appended.
cdef void reply_lend(const Reply *reply, Buffer *buffer) noexcept nogil
cdef void reply_take_back(Reply *reply, const Buffer *buffer) noexcept nogil
# Give back what a large answer took. For calls that are declined after all: they may wait long.
cdef void reply_shrink(Reply *reply) noexcept nogil

cdef class CallSink:
    # Asked when a gRPC call's headers are in: may on_call take calls of this path? Only those are
    # held back until their message is complete; all others go to the Python router at once.
    cdef bint wants(self, const char *path, size_t path_size) noexcept nogil
    # Called for each complete unary gRPC call with an uncompressed message, before any Python
    # object is made for it. *path* and *message* are borrowed for the length of the call.
    cdef int on_call(self, const char *path, size_t path_size,
                     const uint8_t *message, size_t message_size, Reply *reply) except -1 nogil
    # Called when the batch is in for each call that was postponed, in their order, unless its stream
    # is gone by then, or the session's batch has answered enough; such calls come anew, by on_call.
    # Does all that on_call does, but for postponing the call again.
    cdef int on_postponed(self, size_t place, Reply *reply) except -1 nogil
    # Called once after each batch of received bytes in which on_call was called.
    cdef int on_batch_end(self) except -1 nogil
