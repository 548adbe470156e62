"""One HTTP/2 connection, server side, around libnghttp2: bytes in, calls and bytes out.

There is no socket and no clock here. A unary gRPC call whose path the CallSink wants is answered
inside libnghttp2's callbacks without a Python object; every other call becomes a Call, handed
to on_call after the batch of bytes that brought it. Everything runs under the GIL, on the thread
that owns the session; `nogil` below only proves that no Python object is touched.
"""
cimport cython
from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.object cimport PyObject
from cpython.ref cimport Py_DECREF, Py_INCREF
from libc.stdint cimport int32_t, uint8_t, uint32_t
from libc.stdio cimport snprintf
from libc.string cimport memcpy, strlen

import logging

from regatta.errors import Code
from regatta.limits import request_bytes_max, rest_body_bytes_max

from regatta.http2._call cimport (
    OUTSTANDING_BYTES_MAX, Call, Owner, drop_unpacked, make_call,
)
from regatta.http2._coding cimport CODING_UNKNOWN, CODINGS, UNPACK_TEXT_BYTES, coding_of
from regatta.http2._grpc cimport (
    BAD_TIMEOUT, CONTENT_PLAIN, CONTENT_UNSUPPORTED, content_kind, parse_timeout,
)
from regatta.http2._headers cimport (
    ANSWER_HEADERS_MAX, add_status, begin_count, begin_headers, set_header, set_headers,
)
from regatta.http2._link cimport Link, link_alone, link_append, link_init, link_remove
from regatta.http2._memory cimport block_memory
from regatta.http2._nghttp2_h cimport *
from regatta.http2._pairs cimport pairs_append
from regatta.http2._sink cimport DECLINED, FAILED, KEPT, POSTPONED, CallSink, Reply, reply_begin, reply_end
from regatta.http2._stream cimport (
    FAULT_TEXT_BYTES, PREFIX_BYTES, SCAN_FINE, Message, Stream, stream_answer, stream_equals,
    stream_fault, stream_free, stream_header, stream_new, stream_prefix, stream_receive, stream_scan, stream_take,
    stream_text,
)
from regatta.http2._watch cimport watch_init, watch_input
from regatta.http2._window cimport WINDOW_BYTES, content_length, lacks_window, wanted_bytes
from regatta.wire._buffer cimport Buffer, buffer_append, buffer_recycle, buffer_reserve

cdef enum:
    STREAMS_MAX = 1000
    CONNECTION_WINDOW_BYTES = 16 << 20
    BUDGET_BYTES = 64 << 20                     # for requests larger than WINDOW_BYTES together
    HEADER_LIST_BYTES_MAX = 65536
    HEADER_LIST_ABUSE_BYTES = 4 * HEADER_LIST_BYTES_MAX        # ends the connection
    HEADER_OVERHEAD_BYTES = 32                  # of each header, RFC 9113, 6.5.2
    RESETS_BURST = 20_000                       # honest clients cancel thousands of calls
    RESETS_PER_S = 1_000
    SHOWN_ENCODING_BYTES = 60                   # of one that is unknown
    STARVED_IN_A_TURN = 16                      # calls whose turn it is; they may have to wait again

logger = logging.getLogger("server")

cdef size_t message_bytes_max = request_bytes_max
cdef size_t body_bytes_max = rest_body_bytes_max
cdef int INTERNAL = Code.INTERNAL
cdef int INVALID_ARGUMENT = Code.INVALID_ARGUMENT
cdef int UNIMPLEMENTED = Code.UNIMPLEMENTED

# What the output() that is running has collected; shared, since it is empty between calls.
cdef Buffer collected
# The native answer that was packed last; likewise.
cdef Buffer packed

cdef nghttp2_nv[1] TRAILERS_OK
cdef nghttp2_session_callbacks *CALLBACKS
cdef nghttp2_option *OPTIONS


@cython.final
cdef class Session(Owner):
    """One HTTP/2 connection, server side. See the stub for what each member means."""

    def __cinit__(self, CallSink sink, object on_call, object on_output):
        cdef nghttp2_settings_entry[3] settings
        link_init(&self.live, NULL)
        link_init(&self.attention, NULL)
        link_init(&self.deferred, NULL)
        link_init(&self.waiting, NULL)
        link_init(&self.postponed, NULL)
        watch_init(&self.watch)
        self.sink, self.on_call, self.on_output = sink, on_call, on_output
        self.budget_bytes = BUDGET_BYTES
        self.output_due = True
        if nghttp2_session_server_new3(&self.h2, CALLBACKS, <void *>self, OPTIONS, block_memory()):
            raise MemoryError
        settings[0] = [NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, STREAMS_MAX]
        settings[1] = [NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, WINDOW_BYTES]
        settings[2] = [NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, HEADER_LIST_BYTES_MAX]
        if (nghttp2_submit_settings(self.h2, 0, settings, 3)
                or nghttp2_session_set_local_window_size(self.h2, 0, 0, CONNECTION_WINDOW_BYTES)):
            raise MemoryError

    def __dealloc__(self):
        # Streams with a Call keep the session alive, so here there are only others.
        nghttp2_session_del(self.h2)
        while not link_alone(&self.live):
            self.stream_closed(<Stream *>self.live.after.owner, True)

    # -- what the owner calls --------------------------------------------------------------------

    def receive(self, const uint8_t[::1] data):
        if data.shape[0] > 0:
            self.feed(&data[0], data.shape[0])

    cdef int feed(self, const uint8_t *data, Py_ssize_t size) except -1:
        if self.h2 == NULL or self.dead or self.deaf:
            return 0
        self.entered = True
        self.begin_turn()
        if self.take_in(data, size) < 0:
            self.dead = True
        self.output_due = not self.dead
        self.relieve()
        self.end_batch()
        self.dispatch()
        self.entered = False
        return 0

    cdef int take_in(self, const uint8_t *data, size_t size) noexcept nogil:
        cdef int error_code = NGHTTP2_NO_ERROR
        cdef size_t good_size = watch_input(&self.watch, data, size, &error_code)
        if nghttp2_session_mem_recv2(self.h2, data, good_size) < 0:
            return self.end_overflown() if self.overflown_id else -1
        # A stream holds its peer back by its own window; the connection's is for all of them.
        if nghttp2_session_consume_connection(self.h2, self.consumed_bytes):
            return -1
        self.consumed_bytes = 0
        if good_size == size:
            return 0
        return nghttp2_session_terminate_session(self.h2, error_code)

    cdef int end_overflown(self) noexcept nogil:
        """Tell the peer which stream's window it made too large, and end the connection."""
        self.deaf = True
        self.draining, self.drained = True, False
        if nghttp2_submit_rst_stream(self.h2, 0, self.overflown_id, NGHTTP2_FLOW_CONTROL_ERROR):
            return -1
        return self.name_last_call(NGHTTP2_FLOW_CONTROL_ERROR)

    cpdef bytes output(self, size_t bytes_max):
        cdef bytes data = b""
        if self.notified:
            self.begin_turn()
        self.notified = False
        self.entered = True
        while self.output_due and not data and self.h2 != NULL:
            self.pump(bytes_max)
            data = PyBytes_FromStringAndSize(<const char *>collected.data, collected.size)
            self.relieve()
            self.end_batch()
            self.dispatch()
        self.entered = False
        if not data:
            self.wake()
        return data

    @property
    def reading_paused(self):
        return self.is_reading_paused()

    cdef bint is_reading_paused(self) noexcept:
        # When only the peer's flow control holds the output back, its window updates must be read.
        return self.output_due and self.outstanding_bytes >= OUTSTANDING_BYTES_MAX

    @property
    def finished(self):
        return self.is_finished()

    cdef bint is_finished(self) noexcept:
        if self.h2 == NULL or self.dead:
            return True
        return ((self.deaf or not nghttp2_session_want_read(self.h2)) and not nghttp2_session_want_write(self.h2))

    def start_drain(self):
        # The peer learns at once that it should go elsewhere. Which calls are the last that we
        # take is told when the ping comes back: then it can't have others on their way.
        if self.h2 == NULL or self.draining:
            return
        self.draining = self.output_due = True
        if nghttp2_submit_shutdown_notice(self.h2) or nghttp2_submit_ping(self.h2, 0, NULL):
            raise MemoryError
        self.wake()

    def end_drain(self):
        if self.h2 != NULL and self.name_last_call(NGHTTP2_NO_ERROR) < 0:
            raise MemoryError
        self.wake()

    cdef int name_last_call(self, int error_code) noexcept nogil:
        if not self.draining or self.drained:
            return 0
        self.drained = self.output_due = True
        return nghttp2_submit_goaway(
            self.h2, 0, nghttp2_session_get_last_proc_stream_id(self.h2), error_code, NULL, 0)

    def close(self):
        if self.h2 == NULL:
            return
        nghttp2_session_del(self.h2)
        self.h2 = NULL
        # libnghttp2 does not tell about the streams that it deletes with a session.
        while not link_alone(&self.live):
            self.stream_closed(<Stream *>self.live.after.owner, True)
        self.dispatch()

    # -- what libnghttp2 calls -------------------------------------------------------------------

    cdef inline Stream *find(self, int32_t stream_id) noexcept nogil:
        """Return the stream of that id; nearly always it is the one that was asked for before."""
        if self.latest == NULL or self.latest.id != stream_id:
            self.latest = <Stream *>nghttp2_session_get_stream_user_data(self.h2, stream_id)
        return self.latest

    cdef int headers_begun(self, int stream_id) noexcept nogil:
        cdef Stream *stream = stream_new(stream_id)
        if stream == NULL:
            return NGHTTP2_ERR_CALLBACK_FAILURE
        link_append(&self.live, &stream.live)
        self.call_count += 1
        self.incoming = self.latest = stream
        return nghttp2_session_set_stream_user_data(self.h2, stream_id, stream)

    cdef int header_received(self, Stream *stream, const uint8_t *name, size_t name_size,
                             const uint8_t *value, size_t value_size) noexcept nogil:
        stream.header_list_bytes += name_size + value_size + HEADER_OVERHEAD_BYTES
        if stream.header_list_bytes > HEADER_LIST_ABUSE_BYTES:
            # A few bytes can stand for a long list, and each costs the time of the whole.
            return nghttp2_session_terminate_session(self.h2, NGHTTP2_ENHANCE_YOUR_CALM)
        if stream.header_list_bytes > HEADER_LIST_BYTES_MAX:
            stream.headers_overflow = True
            return 0
        if stream_header(stream, name, name_size, value, value_size) < 0:
            return NGHTTP2_ERR_CALLBACK_FAILURE
        return 0

    cdef int data_received(self, Stream *stream, bint last, const uint8_t *data,
                           size_t size) noexcept nogil:
        self.consumed_bytes += size
        if stream == NULL:
            return 0
        if stream.finished:
            return self.discard(stream, size)
        if stream_receive(stream, data, size) < 0:
            return NGHTTP2_ERR_CALLBACK_FAILURE
        if stream.grpc:
            if self.messages_received(stream) < 0:
                return NGHTTP2_ERR_CALLBACK_FAILURE
        elif stream.body.size > body_bytes_max:
            return self.refuse_plain(stream, 413, b"Request Entity Too Large\n")
        if not last:
            self.regulate(stream)
        return 0

    cdef int discard(self, Stream *stream, size_t size) noexcept nogil:
        """Data came after the answer was settled: forget it, up to a limit."""
        stream.discarded_bytes += size
        if not stream.grpc and stream.discarded_bytes > body_bytes_max:
            nghttp2_submit_rst_stream(self.h2, 0, stream.id, NGHTTP2_NO_ERROR)
        self.regulate(stream)
        return 0

    cdef int frame_received(self, const nghttp2_frame *frame) noexcept nogil:
        cdef Stream *stream
        cdef int failed = 0
        if frame.hd.type == NGHTTP2_DATA or frame.hd.type == NGHTTP2_HEADERS:
            stream = self.find(frame.hd.stream_id)
            if stream == NULL:
                return 0
            if frame.hd.type == NGHTTP2_HEADERS and frame.headers.cat == NGHTTP2_HCAT_REQUEST:
                self.incoming = NULL
                failed = self.request_begun(stream)
            if frame.hd.flags & NGHTTP2_FLAG_END_STREAM and failed >= 0:
                failed = self.request_ended(stream)
        elif frame.hd.type == NGHTTP2_PING and frame.hd.flags & NGHTTP2_FLAG_ACK:
            failed = self.name_last_call(NGHTTP2_NO_ERROR)
        return NGHTTP2_ERR_CALLBACK_FAILURE if failed < 0 else 0

    cdef int data_sent(self, Stream *stream, const uint8_t *frame_header,
                       size_t size) noexcept nogil:
        if (buffer_append(&collected, frame_header, 9) < 0
                or buffer_append(&collected, stream.answer.data + stream.sent, size) < 0):
            return NGHTTP2_ERR_CALLBACK_FAILURE
        stream.sent += size
        self.outstanding_bytes -= size
        if stream.sent == stream.answer.size:
            stream.sent = 0
            buffer_recycle(&stream.answer)
            if stream.dispatched and not stream.finished:
                self.notify(stream)
        if collected.size >= self.output_bytes_max:
            self.output_full = True
            return NGHTTP2_ERR_PAUSE
        return 0

    cdef int frame_sent(self, const nghttp2_frame *frame) noexcept nogil:
        """Once a gRPC answer is complete, stop the peer from sending the rest of its request.

        Some HTTP clients read an answer only after their request: those may send on, see discard.
        """
        cdef Stream *stream
        if ((frame.hd.type != NGHTTP2_HEADERS and frame.hd.type != NGHTTP2_DATA)
                or not frame.hd.flags & NGHTTP2_FLAG_END_STREAM):
            return 0
        stream = self.find(frame.hd.stream_id)
        if stream == NULL or stream.ended or not stream.grpc:
            return 0
        return nghttp2_submit_rst_stream(self.h2, 0, stream.id, NGHTTP2_NO_ERROR)

    cdef int stream_closed(self, Stream *stream, bint failed) noexcept nogil:
        link_remove(&stream.live)
        link_remove(&stream.deferred)
        link_remove(&stream.waiting)
        link_remove(&stream.starved)
        if self.incoming == stream:
            self.incoming = NULL
        if self.latest == stream:
            self.latest = NULL
        stream.closed = True
        stream.refused = stream.refused or failed or not stream.finished
        self.forgone_bytes += stream.answer.size - stream.sent
        self.call_count -= 1
        self.reserve(stream, 0)
        if stream.keeper != NULL:
            stream.keeper[0] = NULL
            stream.keeper = NULL
        if stream.call != NULL:
            link_append(&self.attention, &stream.attention)
        else:
            link_remove(&stream.attention)
            stream_free(stream)
        return 0

    # -- a request on its way in -----------------------------------------------------------------

    cdef int request_begun(self, Stream *stream) noexcept nogil:
        """The headers are in: settle who answers."""
        cdef int kind
        if stream.headers_overflow:
            return self.refuse_plain(stream, 431, b"Request Header Fields Too Large\n")
        kind = content_kind(stream_text(stream, stream.content_type), stream.content_type.size)
        if kind == CONTENT_UNSUPPORTED:
            stream.grpc = True
            return self.refuse(stream, 415, INVALID_ARGUMENT, b"unsupported gRPC content-type")
        if kind != CONTENT_PLAIN:
            stream.grpc = True
            return self.grpc_begun(stream)
        if content_length(stream) > body_bytes_max:
            return self.refuse_plain(stream, 413, b"Request Entity Too Large\n")
        return self.leave_to_python(stream)

    cdef int grpc_begun(self, Stream *stream) noexcept nogil:
        if not stream_equals(stream, stream.method, b"POST"):
            return self.refuse(stream, 405, INTERNAL, b"gRPC calls are made with POST")
        stream.coding = coding_of(stream_text(stream, stream.encoding), stream.encoding.size)
        if stream.coding == CODING_UNKNOWN:
            return self.refuse_coding(stream)
        if stream.timeout.size:
            stream.timeout_ns = parse_timeout(stream_text(stream, stream.timeout),
                                              stream.timeout.size)
            if stream.timeout_ns == BAD_TIMEOUT:
                return self.refuse(stream, 200, INTERNAL, b"malformed grpc-timeout")
        if self.sink is not None and self.sink.wants(
                <const char *>stream_text(stream, stream.path), stream.path.size):
            stream.native = True
            return 0
        return self.leave_to_python(stream)

    cdef int messages_received(self, Stream *stream) noexcept nogil:
        cdef uint32_t count_before = stream.message_count
        cdef int scan = stream_scan(stream, message_bytes_max)
        if scan != SCAN_FINE:
            return self.refuse_scan(stream, scan)
        if stream.native and stream.message_count and stream.scanned < stream.body.size:
            # More than one message is no unary call.
            stream.native = False
            return self.leave_to_python(stream)
        if stream.dispatched and stream.message_count > count_before:
            self.notify(stream)
        return 0

    cdef int request_ended(self, Stream *stream) noexcept nogil:
        stream.ended = True
        if stream.finished:
            return 0
        if stream.grpc and stream.scanned < stream.body.size:
            return self.refuse(stream, 200, INTERNAL, b"the request ended inside a message")
        if stream.native:
            if stream.message_count == 1:
                return self.admit(stream)
            stream.native = False
            return self.leave_to_python(stream)
        self.notify(stream)
        return 0

    cdef int leave_to_python(self, Stream *stream) noexcept nogil:
        stream.dispatched = True
        return self.admit(stream)

    cdef int admit(self, Stream *stream) noexcept nogil:
        """Serve the call, or keep it: until the peer has read more of what was answered, or for
        the next turn, if unpacking the request is too much for this one."""
        if (self.outstanding_bytes >= OUTSTANDING_BYTES_MAX
                or (stream.native and self.must_wait(stream))):
            link_append(&self.deferred, &stream.deferred)
            return 0
        return self.serve(stream)

    cdef int serve(self, Stream *stream) noexcept nogil:
        if stream.native:
            return self.serve_native(stream)
        self.notify(stream)
        return 0

    cdef int serve_native(self, Stream *stream) noexcept nogil:
        cdef char[UNPACK_TEXT_BYTES] text
        cdef Message message
        cdef int code = 0, failed
        stream_take(stream, &message)
        if message.compressed:
            code = self.unpack_message(stream, &message, text)
        if code:
            failed = self.refuse(stream, 200, code, text)
        else:
            failed = self.answer_native(stream, &message)
        if message.compressed:
            drop_unpacked()
        return failed

    cdef int answer_native(self, Stream *stream, const Message *message) noexcept nogil:
        cdef Reply reply
        if buffer_reserve(&stream.answer, PREFIX_BYTES) < 0:
            return -1
        reply_begin(&reply, <PyObject *>self, stream)
        return self.settle(stream, &reply, self.ask_sink(stream, message, &reply))

    cdef int answer_again(self, Stream *stream) noexcept nogil:
        """Answer a call that was postponed."""
        cdef Reply reply
        reply_begin(&reply, <PyObject *>self, stream)
        return self.settle(stream, &reply, self.ask_sink_again(stream, &reply))

    cdef int settle(self, Stream *stream, Reply *reply, int outcome) noexcept nogil:
        """Do what the sink wants, and take back the memory of the answer."""
        cdef int compressed
        reply_end(reply)
        if outcome == POSTPONED:
            stream.place = reply.place
            link_append(&self.postponed, &stream.deferred)
            return 0
        if outcome == DECLINED:
            stream.taken = 0
            stream.native = False
            stream.dispatched = True
            self.notify(stream)
            return 0
        if outcome == FAILED:
            return self.refuse(stream, 200, INTERNAL, b"internal error")
        if outcome == KEPT:
            stream.keeper = reply.keeper
            self.abandon_request(stream)
            return 0
        if reply.status:
            return self.refuse(stream, 200, reply.status, reply.message)
        packed.size = 0
        compressed = self.pack_answer(stream, reply.data, reply.size, &packed)
        if compressed < 0:
            return -1
        if compressed:
            memcpy(reply.data, packed.data, packed.size)    # it is the shorter
            reply.size = packed.size
        stream_prefix(stream.answer.data, compressed, reply.size)
        stream.answer.size = PREFIX_BYTES + reply.size
        stream.finished = True
        self.outstanding_bytes += stream.answer.size
        if compressed:
            return self.submit(stream, begin_headers(stream.coding), begin_count(stream.coding),
                               True)
        return self.submit(stream, begin_headers(0), begin_count(0), True)

    cdef void answer_kept(self, Stream *stream, const void *message, size_t size, int code,
                          const char *text) noexcept:
        # It goes as it is: what is kept has small answers.
        cdef int failed
        stream.keeper[0] = NULL
        stream.keeper = NULL
        if code:
            failed = self.refuse(stream, 200, code, text)
        else:
            failed = stream_answer(stream, False, message, size)
            stream.finished = True
            self.outstanding_bytes += stream.answer.size
            if failed == 0:
                failed = self.submit(stream, begin_headers(0), begin_count(0), True)
        if failed < 0:
            self.dead = self.output_due = True
        self.wake()

    cdef int ask_sink(self, Stream *stream, const Message *message, Reply *reply) noexcept nogil:
        # If on_call raises, Python's unraisable hook reports it and 0 comes back: FAILED.
        self.sink_asked = True
        return self.sink.on_call(<const char *>stream_text(stream, stream.path),
                                 stream.path.size, message.data, message.size, reply)

    cdef int ask_sink_again(self, const Stream *stream, Reply *reply) noexcept nogil:
        return self.sink.on_postponed(stream.place, reply)      # likewise

    cdef void notify(self, Stream *stream) noexcept nogil:
        """Have the stream shown to Python, unless it is not its turn to begin yet."""
        if link_alone(&stream.deferred):
            link_append(&self.attention, &stream.attention)

    # -- inbound flow control --------------------------------------------------------------------
    # Invariant: what a stream holds of its request and what the peer may still send of it is at
    # most WINDOW_BYTES plus what the stream has reserved of the connection's budget.

    cdef void regulate(self, Stream *stream) noexcept nogil:
        """Let the peer send on if it may: after data has come, and after some was taken."""
        cdef size_t held = stream.body.size - stream.taken
        cdef size_t opened, wanted, increase
        if stream.closed or self.h2 == NULL:
            return
        opened = self.opened_bytes(stream)
        self.reserve(stream, max(held + opened, <size_t>WINDOW_BYTES) - WINDOW_BYTES)
        wanted = wanted_bytes(stream, held)
        if stream.ended or wanted <= held + opened:
            return
        increase = wanted - held - opened
        if wanted > WINDOW_BYTES:
            link_append(&self.waiting, &stream.waiting)
            self.grant_waiting()
        elif increase >= WINDOW_BYTES // 2 or lacks_window(stream, opened):
            # Less is not worth a frame, unless the peer needs it to complete a message.
            self.open_window(stream, increase)

    cdef size_t opened_bytes(self, Stream *stream) noexcept nogil:
        """What the peer may still send on the stream."""
        if stream.ended:
            return 0
        return max(nghttp2_session_get_stream_local_window_size(self.h2, stream.id), 0)

    cdef void open_window(self, Stream *stream, size_t increase) noexcept nogil:
        # It can only fail for lack of memory, and then the peer waits until its patience ends.
        nghttp2_submit_window_update(self.h2, 0, stream.id, <int32_t>increase)
        self.output_due = True

    cdef void reserve(self, Stream *stream, size_t size) noexcept nogil:
        """Set what the stream holds of the budget; an increase must be there."""
        cdef bint freed = size < stream.reserved_bytes
        self.budget_bytes += stream.reserved_bytes
        self.budget_bytes -= size
        stream.reserved_bytes = size
        if freed:
            self.grant_waiting()

    cdef void grant_waiting(self) noexcept nogil:
        """Give what there is of the budget to those who wait for it, in their order."""
        cdef Stream *stream
        cdef size_t held, opened, wanted
        while not link_alone(&self.waiting) and self.h2 != NULL:
            stream = <Stream *>self.waiting.after.owner
            held = stream.body.size - stream.taken
            opened = self.opened_bytes(stream)
            wanted = wanted_bytes(stream, held)
            if wanted - WINDOW_BYTES > self.budget_bytes + stream.reserved_bytes:
                return
            link_remove(&stream.waiting)
            if wanted > held + opened:
                self.reserve(stream, wanted - WINDOW_BYTES)
                self.open_window(stream, wanted - held - opened)

    # -- answers ---------------------------------------------------------------------------------

    cdef int refuse(self, Stream *stream, int http_status, int code,
                    const char *text) noexcept nogil:
        """Answer a gRPC error that the session itself, or the sink, found. *text* may be NULL."""
        cdef size_t size = 0 if text == NULL else strlen(text)
        if add_status(&stream.trailers, code, text, size) < 0:
            return -1
        if code == UNIMPLEMENTED:
            pairs_append(&stream.trailers, b"grpc-accept-encoding", 20, CODINGS, strlen(CODINGS))
        stream.refused = True
        if stream.call != NULL:
            self.notify(stream)
        return self.finish_grpc(stream, http_status)

    cdef int finish_grpc(self, Stream *stream, int http_status) noexcept nogil:
        """Send the trailers after what was answered; alone if nothing was."""
        cdef nghttp2_nv[ANSWER_HEADERS_MAX + 2] headers
        cdef char[16] digits
        stream.finished = True
        self.abandon_request(stream)
        if stream.response_begun:
            return self.resume(stream)
        snprintf(digits, sizeof(digits), "%d", http_status)
        set_header(&headers[0], ":status", digits, strlen(digits), False)
        headers[1] = begin_headers(0)[1]
        return self.submit(stream, headers, 2 + set_headers(&headers[2], &stream.trailers), False)

    cdef int refuse_scan(self, Stream *stream, int scan) noexcept nogil:
        cdef char[FAULT_TEXT_BYTES] text
        return self.refuse(stream, 200, stream_fault(stream, scan, message_bytes_max, text), text)

    cdef int refuse_coding(self, Stream *stream) noexcept nogil:
        cdef char[SHOWN_ENCODING_BYTES + 64] text
        snprintf(text, sizeof(text), "grpc: Decompressor is not installed for grpc-encoding \"%.*s\"",
                 <int>min(stream.encoding.size, <uint32_t>SHOWN_ENCODING_BYTES),
                 <const char *>stream_text(stream, stream.encoding))
        return self.refuse(stream, 200, UNIMPLEMENTED, text)

    cdef int refuse_plain(self, Stream *stream, int http_status, const char *text) noexcept nogil:
        """Answer an HTTP error that the session itself found."""
        cdef nghttp2_nv[2] headers
        cdef char[16] digits
        if stream.response_begun:
            return 0
        snprintf(digits, sizeof(digits), "%d", http_status)
        set_header(&headers[0], ":status", digits, strlen(digits), False)
        set_header(&headers[1], "content-type", b"text/plain; charset=utf-8", 25, True)
        if buffer_append(&stream.answer, text, strlen(text)) < 0:
            return -1
        self.outstanding_bytes += stream.answer.size
        stream.refused = stream.finished = True
        if stream.call != NULL:
            self.notify(stream)
        self.abandon_request(stream)
        return self.submit(stream, headers, 2, True)

    cdef void abandon_request(self, Stream *stream) noexcept nogil:
        """The answer is settled: what is there of the request, or still comes, is dropped."""
        stream.taken = stream.scanned = 0
        buffer_recycle(&stream.body)
        link_remove(&stream.waiting)
        link_remove(&stream.starved)
        if stream.call == NULL:
            link_remove(&stream.deferred)
        self.regulate(stream)

    cdef int submit(self, Stream *stream, const nghttp2_nv *headers, size_t count,
                    bint with_data) noexcept nogil:
        cdef nghttp2_data_provider2 provider
        provider.source.ptr = stream
        provider.read_callback = on_read
        stream.response_begun = True
        self.output_due = True
        return nghttp2_submit_response2(self.h2, stream.id, headers, count,
                                        &provider if with_data else NULL)

    cdef int resume(self, Stream *stream) noexcept nogil:
        """There is more of the answer."""
        if not stream.parked:
            return 0
        stream.parked = False
        self.output_due = True
        return nghttp2_session_resume_data(self.h2, stream.id)

    # -- between batches -------------------------------------------------------------------------

    cdef int pump(self, size_t bytes_max) noexcept:
        """Move output from libnghttp2 to *collected* until some *bytes_max* bytes are there."""
        cdef const uint8_t *data
        cdef Py_ssize_t size
        collected.size = 0
        self.output_bytes_max = bytes_max
        self.output_full = False
        while collected.size < bytes_max and not self.output_full:
            size = nghttp2_session_mem_send2(self.h2, &data)
            if size < 0 or buffer_append(&collected, data, size) < 0:
                self.dead = True
                self.output_due = False
                return 0
            if size == 0 and not self.output_full:
                self.output_due = False
                return 0
        return 0

    cdef void begin_turn(self) noexcept:
        """Others have had the event loop: messages may be unpacked and packed again."""
        cdef Stream *stream
        self.unpacked_bytes = self.packed_bytes = 0
        self.output_due = self.output_due or self.is_starving()
        for _ in range(STARVED_IN_A_TURN):
            if link_alone(&self.starved):
                return
            stream = <Stream *>self.starved.after.owner
            link_remove(&stream.starved)
            self.notify(stream)

    cdef bint is_starving(self) noexcept nogil:
        """Say whether anything waits for the next turn to be unpacked."""
        return not link_alone(&self.starved) or (
            not link_alone(&self.deferred) and self.outstanding_bytes < OUTSTANDING_BYTES_MAX)

    cdef int relieve(self) noexcept:
        """Serve calls that were kept back, as far as the outstanding output allows."""
        cdef Link *link = &self.live
        cdef Stream *stream
        self.outstanding_bytes -= self.forgone_bytes
        self.forgone_bytes = 0
        if self.outstanding_bytes >= OUTSTANDING_BYTES_MAX:
            return 0
        if self.cap_felt:
            self.cap_felt = False
            while link.after != &self.live:
                link = link.after
                stream = <Stream *>link.owner
                if stream.call != NULL and not stream.finished:
                    self.notify(stream)
        while (not link_alone(&self.deferred)
                and self.outstanding_bytes < OUTSTANDING_BYTES_MAX):
            stream = <Stream *>self.deferred.after.owner
            if stream.native and self.must_wait(stream):
                return 0
            link_remove(&stream.deferred)
            if self.serve(stream) < 0:
                self.dead = True
                return 0
            # At once, since what is outstanding then decides about the next one.
            self.answer_postponed()
        return 0

    cdef int answer_postponed(self) noexcept nogil:
        cdef Stream *stream
        while not link_alone(&self.postponed):
            stream = <Stream *>self.postponed.after.owner
            link_remove(&stream.deferred)
            if self.outstanding_bytes >= OUTSTANDING_BYTES_MAX:
                stream.taken = 0        # the sink is asked anew
                link_append(&self.deferred, &stream.deferred)
            elif self.answer_again(stream) < 0:
                self.dead = True
        return 0

    cdef int end_batch(self) noexcept nogil:
        self.answer_postponed()
        if self.sink_asked:
            self.sink_asked = False
            self.sink.on_batch_end()
        return 0

    cdef int dispatch(self) except -1:
        """Show to Python what has happened on the streams that it answers."""
        cdef Stream *stream
        while not link_alone(&self.attention):
            stream = <Stream *>self.attention.after.owner
            link_remove(&stream.attention)
            self.show(stream)
        return 0

    cdef int show(self, Stream *stream) except -1:
        cdef Call call
        if stream.call == NULL:
            if stream.refused:
                return 0
            call = make_call(self, stream)
            Py_INCREF(call)
            stream.call = <PyObject *>call
            return self.run(call, self.on_call, (call,))
        call = <Call>stream.call
        if not stream.closed:
            return self.run(call, call.listener, ())
        call.detach()
        stream_free(stream)
        Py_DECREF(call)
        if call.cancelled:
            self.run(call, call.listener, ())
        return 0

    cdef int run(self, Call call, object callback, tuple arguments) except -1:
        """Call back; a fault in there costs the one call its answer, and nobody else's."""
        if callback is None:
            return 0
        try:
            callback(*arguments)
        except Exception:
            logger.exception("the handler of %s failed", call.path)
            if call.is_grpc:
                call.finish(INTERNAL, "internal error")
            else:
                call.respond(500, (), b"")
        return 0

    cdef int wake(self) except -1:
        """Tell the owner that there is output, unless it is going to ask anyway."""
        if ((self.output_due or self.is_starving()) and not self.entered and not self.notified
                and self.h2 != NULL):
            self.notified = True
            self.on_output()
        return 0


# -- libnghttp2's callbacks: each finds its session and stream, and hands on -----------------------

cdef int on_begin_headers(nghttp2_session *h2, const nghttp2_frame *frame,
                          void *session) noexcept nogil:
    if frame.headers.cat != NGHTTP2_HCAT_REQUEST:
        return 0
    return (<Session>session).headers_begun(frame.hd.stream_id)


cdef int on_header(nghttp2_session *h2, const nghttp2_frame *frame, const uint8_t *name,
                   size_t name_size, const uint8_t *value, size_t value_size, uint8_t flags,
                   void *session) noexcept nogil:
    cdef Stream *stream = (<Session>session).incoming
    if frame.headers.cat != NGHTTP2_HCAT_REQUEST or stream == NULL:
        return 0
    return (<Session>session).header_received(stream, name, name_size, value, value_size)


cdef int on_data_chunk(nghttp2_session *h2, uint8_t flags, int32_t stream_id, const uint8_t *data,
                       size_t size, void *session) noexcept nogil:
    return (<Session>session).data_received(
        (<Session>session).find(stream_id), flags & NGHTTP2_FLAG_END_STREAM, data, size)


cdef int on_frame_received(nghttp2_session *h2, const nghttp2_frame *frame,
                           void *session) noexcept nogil:
    return (<Session>session).frame_received(frame)


cdef int on_invalid_frame(nghttp2_session *h2, const nghttp2_frame *frame, int error,
                          void *session) noexcept nogil:
    # libnghttp2 would end the connection without a word about the stream: end_overflown is for that.
    if (frame.hd.type != NGHTTP2_WINDOW_UPDATE or frame.hd.stream_id == 0
            or error != NGHTTP2_ERR_FLOW_CONTROL):
        return 0
    (<Session>session).overflown_id = frame.hd.stream_id
    return NGHTTP2_ERR_CALLBACK_FAILURE


cdef int on_frame_sent(nghttp2_session *h2, const nghttp2_frame *frame,
                       void *session) noexcept nogil:
    return (<Session>session).frame_sent(frame)


cdef int on_stream_closed(nghttp2_session *h2, int32_t stream_id, uint32_t error_code,
                          void *session) noexcept nogil:
    cdef Stream *stream = (<Session>session).find(stream_id)
    if stream == NULL:
        return 0
    return (<Session>session).stream_closed(stream, error_code != NGHTTP2_NO_ERROR)


cdef int on_send_data(nghttp2_session *h2, nghttp2_frame *frame, const uint8_t *frame_header,
                      size_t size, nghttp2_data_source *source, void *session) noexcept nogil:
    return (<Session>session).data_sent(<Stream *>source.ptr, frame_header, size)


cdef Py_ssize_t on_read(nghttp2_session *h2, int32_t stream_id, uint8_t *unused, size_t size_max,
                        uint32_t *flags, nghttp2_data_source *source,
                        void *session) noexcept nogil:
    """Say how much of the answer goes into the next DATA frame, and whether it is the last."""
    cdef Stream *stream = <Stream *>source.ptr
    cdef size_t left = stream.answer.size - stream.sent
    cdef nghttp2_nv[ANSWER_HEADERS_MAX] trailers
    cdef int failed
    if left == 0 and not stream.finished:
        stream.parked = True
        return NGHTTP2_ERR_DEFERRED
    flags[0] |= NGHTTP2_DATA_FLAG_NO_COPY
    if left > size_max or not stream.finished:
        return min(left, size_max)
    flags[0] |= NGHTTP2_DATA_FLAG_EOF
    if stream.grpc:
        flags[0] |= NGHTTP2_DATA_FLAG_NO_END_STREAM
        if stream.trailers.size == 0:
            failed = nghttp2_submit_trailer(h2, stream_id, TRAILERS_OK, 1)
        else:
            failed = nghttp2_submit_trailer(h2, stream_id, trailers,
                                            set_headers(trailers, &stream.trailers))
        if failed < 0:
            return NGHTTP2_ERR_CALLBACK_FAILURE
    return left


cdef int prepare() except -1:
    """Make what all sessions share."""
    set_header(&TRAILERS_OK[0], "grpc-status", b"0", 1, True)
    if nghttp2_session_callbacks_new(&CALLBACKS) or nghttp2_option_new(&OPTIONS):
        raise MemoryError
    nghttp2_session_callbacks_set_on_begin_headers_callback(CALLBACKS, on_begin_headers)
    nghttp2_session_callbacks_set_on_header_callback(CALLBACKS, on_header)
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(CALLBACKS, on_data_chunk)
    nghttp2_session_callbacks_set_on_frame_recv_callback(CALLBACKS, on_frame_received)
    nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(CALLBACKS, on_invalid_frame)
    nghttp2_session_callbacks_set_on_frame_send_callback(CALLBACKS, on_frame_sent)
    nghttp2_session_callbacks_set_on_stream_close_callback(CALLBACKS, on_stream_closed)
    nghttp2_session_callbacks_set_send_data_callback(CALLBACKS, on_send_data)
    nghttp2_option_set_no_auto_window_update(OPTIONS, 1)
    nghttp2_option_set_stream_reset_rate_limit(OPTIONS, RESETS_BURST, RESETS_PER_S)
    return 0


prepare()
