"""An HTTP/2 session: the contract with what owns the socket, and the parts of its work."""
from libc.stdint cimport int32_t, uint8_t

from regatta.http2._call cimport Call, Owner
from regatta.http2._link cimport Link
from regatta.http2._nghttp2_h cimport nghttp2_frame, nghttp2_nv, nghttp2_session
from regatta.http2._sink cimport CallSink, Reply
from regatta.http2._stream cimport Message, Stream
from regatta.http2._watch cimport Watch

cdef class Session(Owner):
    cdef nghttp2_session *h2    # NULL after close()
    cdef CallSink sink
    cdef object on_call, on_output
    # Heads of the lists that the streams' links of the same names are in.
    cdef Link live, attention, deferred, waiting
    cdef Link postponed                 # of streams that are in it by their link *deferred*
    cdef Watch watch
    cdef Stream *incoming               # whose request headers are arriving, or NULL
    cdef Stream *latest                 # that was asked for last, or NULL
    cdef size_t consumed_bytes          # of the connection's window, in the present input
    # Of answers to calls that were reset. They count until the batch ends, or a batch of calls and
    # resets would build answers without end.
    cdef size_t forgone_bytes
    cdef size_t budget_bytes            # left for requests that are larger than a stream's window
    cdef size_t output_bytes_max        # of the output() that is running
    cdef bint output_due                # output() may have something
    cdef bint output_full               # the output() that is running has reached its limit
    cdef bint notified                  # on_output was called, output() was not yet
    cdef bint entered                   # receive() or output() is running
    cdef bint sink_asked                # since the last on_batch_end
    cdef bint draining                  # a GOAWAY without a last stream has gone
    cdef bint drained                   # the one with the last stream too
    cdef int32_t overflown_id           # the stream whose window the peer has overflown, or 0
    cdef bint deaf                      # nothing is taken in any more; what is due goes out
    cdef bint dead                      # nothing is done any more
    cdef readonly Py_ssize_t call_count

    # Take in received bytes; output may become due.
    cdef int feed(self, const uint8_t *data, Py_ssize_t size) except -1
    cdef int name_last_call(self, int error_code) noexcept nogil
    cdef int end_overflown(self) noexcept nogil
    cdef int take_in(self, const uint8_t *data, size_t size) noexcept nogil
    cpdef bytes output(self, size_t bytes_max)
    cdef bint is_reading_paused(self) noexcept
    cdef bint is_finished(self) noexcept

    # What libnghttp2 calls, by way of the functions below the class.
    cdef Stream *find(self, int32_t stream_id) noexcept nogil
    cdef int headers_begun(self, int stream_id) noexcept nogil
    cdef int header_received(self, Stream *stream, const uint8_t *name, size_t name_size,
                             const uint8_t *value, size_t value_size) noexcept nogil
    cdef int data_received(self, Stream *stream, bint last, const uint8_t *data,
                           size_t size) noexcept nogil
    cdef int discard(self, Stream *stream, size_t size) noexcept nogil
    cdef int frame_received(self, const nghttp2_frame *frame) noexcept nogil
    cdef int data_sent(self, Stream *stream, const uint8_t *frame_header,
                       size_t size) noexcept nogil
    cdef int frame_sent(self, const nghttp2_frame *frame) noexcept nogil
    cdef int stream_closed(self, Stream *stream, bint failed) noexcept nogil

    # A request on its way in.
    cdef int request_begun(self, Stream *stream) noexcept nogil
    cdef int grpc_begun(self, Stream *stream) noexcept nogil
    cdef int messages_received(self, Stream *stream) noexcept nogil
    cdef int request_ended(self, Stream *stream) noexcept nogil
    cdef int leave_to_python(self, Stream *stream) noexcept nogil
    cdef int admit(self, Stream *stream) noexcept nogil
    cdef int serve(self, Stream *stream) noexcept nogil
    cdef int serve_native(self, Stream *stream) noexcept nogil
    cdef int answer_native(self, Stream *stream, const Message *message) noexcept nogil
    cdef int answer_again(self, Stream *stream) noexcept nogil
    cdef int settle(self, Stream *stream, Reply *reply, int outcome) noexcept nogil
    cdef int ask_sink(self, Stream *stream, const Message *message, Reply *reply) noexcept nogil
    cdef int ask_sink_again(self, const Stream *stream, Reply *reply) noexcept nogil
    cdef void notify(self, Stream *stream) noexcept nogil

    # Inbound flow control.
    cdef size_t opened_bytes(self, Stream *stream) noexcept nogil
    cdef void open_window(self, Stream *stream, size_t increase) noexcept nogil
    cdef void reserve(self, Stream *stream, size_t size) noexcept nogil
    cdef void grant_waiting(self) noexcept nogil

    # Answers.
    cdef int refuse(self, Stream *stream, int http_status, int code,
                    const char *text) noexcept nogil
    cdef int refuse_scan(self, Stream *stream, int scan) noexcept nogil
    cdef int refuse_coding(self, Stream *stream) noexcept nogil
    cdef int refuse_plain(self, Stream *stream, int http_status, const char *text) noexcept nogil

    # Between batches.
    cdef int pump(self, size_t bytes_max) noexcept
    cdef void begin_turn(self) noexcept
    cdef bint is_starving(self) noexcept nogil
    cdef int relieve(self) noexcept
    cdef int answer_postponed(self) noexcept nogil
    cdef int end_batch(self) noexcept nogil
    cdef int dispatch(self) except -1
    cdef int show(self, Stream *stream) except -1
    cdef int run(self, Call call, object callback, tuple arguments) except -1
