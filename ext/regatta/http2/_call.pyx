cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdio cimport snprintf

from regatta.errors import error_of
from regatta.limits import request_bytes_max

from regatta.http2._coding cimport (
    PACKED_BYTES_MIN, UNPACK_TEXT_BYTES, coding_name, pack, unpack,
)
from regatta.http2._grpc cimport NO_TIMEOUT
from regatta.http2._headers cimport (
    ANSWER_HEADERS_MAX, add_pairs, add_status, begin_count, begin_headers, list_headers,
    set_headers,
)
from regatta.http2._link cimport link_alone, link_append, link_init
from regatta.http2._pairs cimport pairs_append
from regatta.http2._stream cimport (
    PREFIX_BYTES, stream_answer, stream_next_is_compressed, stream_take, stream_trim,
)
from regatta.wire._buffer cimport Buffer, buffer_append, buffer_free, buffer_recycle

cdef enum:
    UNPACKED_KEPT_BYTES = 65536

cdef size_t message_bytes_max = request_bytes_max

# The message that was unpacked last, and the answer that was packed last; shared by all sessions.
cdef Buffer unpacked, packed


cdef void drop_unpacked() noexcept nogil:
    if unpacked.capacity > UNPACKED_KEPT_BYTES:
        buffer_free(&unpacked)


cdef class Owner:
    """What a call needs of its session; only the part that is the same for all is here."""

    def __cinit__(self, *_arguments):
        link_init(&self.starved, NULL)

    cdef void answer_kept(self, Stream *stream, const void *message, size_t size, int code,
                          const char *text) noexcept:
        pass

    cdef int wake(self) except -1:
        raise NotImplementedError

    cdef void regulate(self, Stream *stream) noexcept nogil:
        pass

    cdef void abandon_request(self, Stream *stream) noexcept nogil:
        pass

    cdef int finish_grpc(self, Stream *stream, int http_status) noexcept nogil:
        return -1

    cdef int submit(self, Stream *stream, const nghttp2_nv *headers, size_t count,
                    bint with_data) noexcept nogil:
        return -1

    cdef int resume(self, Stream *stream) noexcept nogil:
        return -1

    cdef bint must_wait(self, const Stream *stream) noexcept nogil:
        return (self.unpacked_bytes >= UNPACKED_IN_A_TURN_BYTES_MAX
                and stream_next_is_compressed(stream))

    cdef int unpack_message(self, const Stream *stream, Message *message,
                            char *text) noexcept nogil:
        cdef int code = unpack(stream.coding, message, message_bytes_max, &unpacked, text)
        # What is refused for its size was unpacked up to the limit, but for snappy.
        self.unpacked_bytes += message.size + (message_bytes_max if code else unpacked.size)
        message.data, message.size = unpacked.data, unpacked.size
        return code

    cdef int pack_answer(self, const Stream *stream, const void *message, size_t size,
                         Buffer *target) noexcept nogil:
        if (stream.coding == 0 or size < PACKED_BYTES_MIN
                or self.packed_bytes + size > PACKED_IN_A_TURN_BYTES_MAX):
            return 0
        self.packed_bytes += size
        return pack(stream.coding, message, size, target)


@cython.final
cdef class Call:
    """One stream that Python answers. See the stub for what each member means."""

    @property
    def ended(self):
        if self.stream == NULL:
            return self.ended_before
        return self.stream.ended and link_alone(&self.stream.starved)

    @property
    def cancelled(self):
        return self.failed_before if self.stream == NULL else self.stream.refused

    @property
    def writable(self):
        cdef Stream *stream = self.stream
        if stream == NULL or stream.sent < stream.answer.size:
            return False
        if self.session.outstanding_bytes < OUTSTANDING_BYTES_MAX:
            return True
        self.session.cap_felt = True
        return False

    def next_message(self):
        cdef Stream *stream = self.stream
        cdef Message message
        cdef char[UNPACK_TEXT_BYTES] text
        cdef int code
        cdef bytes taken
        if stream == NULL:
            return None
        if self.session.must_wait(stream):
            link_append(&self.session.starved, &stream.starved)
            self.session.wake()
            return None
        if not stream_take(stream, &message):
            return None
        if message.compressed:
            code = self.session.unpack_message(stream, &message, text)
            if code:
                drop_unpacked()
                raise error_of(code, text.decode())
        taken = PyBytes_FromStringAndSize(<const char *>message.data, message.size)
        drop_unpacked()
        stream_trim(stream)
        self.session.regulate(stream)
        self.session.wake()
        return taken

    def take_body(self):
        cdef Stream *stream = self.stream
        cdef bytes taken
        if stream == NULL or stream.body.size == 0:
            return b""
        taken = PyBytes_FromStringAndSize(<const char *>stream.body.data, stream.body.size)
        buffer_recycle(&stream.body)
        self.session.regulate(stream)
        self.session.wake()
        return taken

    def send_message(self, bytes message not None, *, bint compressed=False):
        cdef Stream *stream = self.stream
        cdef const void *data = PyBytes_AS_STRING(message)
        cdef size_t size = PyBytes_GET_SIZE(message)
        cdef int found
        if stream == NULL or stream.finished:
            return
        if compressed and stream.coding == 0:
            raise ValueError("the call has no encoding")
        if not compressed:
            packed.size = 0
            found = self.session.pack_answer(stream, data, size, &packed)
            if found < 0:
                raise MemoryError
            if found:
                compressed, data, size = True, packed.data, packed.size
        if stream_answer(stream, compressed, data, size) < 0:
            raise MemoryError
        self.session.outstanding_bytes += PREFIX_BYTES + size
        # Which of a stream's messages are compressed is told by each; that they may be, here.
        self.begin(begin_headers(stream.coding), begin_count(stream.coding))
        self.session.wake()

    def finish(self, int code=0, str message not None="", object trailers=()):
        cdef Stream *stream = self.stream
        cdef bytes text
        if stream == NULL or stream.finished:
            return
        if code or message or trailers or not stream.response_begun:
            text = message.encode("utf-8", "replace")
            if add_status(&stream.trailers, code, text, PyBytes_GET_SIZE(text)) < 0:
                raise MemoryError
            add_pairs(&stream.trailers, trailers)
        if self.session.finish_grpc(stream, 200) < 0:
            raise MemoryError
        self.session.wake()

    def respond(self, int status, object headers, bytes body not None):
        cdef Stream *stream = self.stream
        cdef nghttp2_nv[ANSWER_HEADERS_MAX] begin
        cdef char[16] digits
        cdef int digits_size = snprintf(digits, sizeof(digits), "%d", status)
        if stream == NULL or stream.finished:
            return
        if pairs_append(&stream.trailers, b":status", 7, digits, digits_size) < 0:
            raise MemoryError
        add_pairs(&stream.trailers, headers)
        if buffer_append(&stream.answer, PyBytes_AS_STRING(body), PyBytes_GET_SIZE(body)) < 0:
            raise MemoryError
        self.session.outstanding_bytes += stream.answer.size
        stream.finished = True
        self.begin(begin, set_headers(begin, &stream.trailers))
        self.session.abandon_request(stream)
        self.session.wake()

    cdef int begin(self, const nghttp2_nv *headers, size_t count) except -1:
        """Send the headers if they have not gone yet; in any case go on sending the answer."""
        cdef Stream *stream = self.stream
        cdef bint with_data = stream.answer.size > 0 or not stream.finished
        cdef int failed
        if stream.response_begun:
            failed = self.session.resume(stream)
        else:
            failed = self.session.submit(stream, headers, count, with_data)
        if failed < 0:
            raise MemoryError
        return 0

    cdef void detach(self) noexcept:
        """The stream goes: keep what is asked about it later."""
        self.ended_before = self.stream.ended
        self.failed_before = self.stream.refused
        self.stream = NULL


cdef Call make_call(Owner session, Stream *stream):
    cdef Call call = Call.__new__(Call)
    cdef const char *text = <const char *>stream.headers.data
    call.session = session
    call.stream = stream
    call.encoding = coding_name(stream.coding).decode()
    call.is_grpc = stream.grpc
    call.path = (text + stream.path.offset)[:stream.path.size]
    call.method = (text + stream.method.offset)[:stream.method.size]
    call.timeout_ns = None if stream.timeout_ns == NO_TIMEOUT else stream.timeout_ns
    call.headers = list_headers(&stream.headers)
    return call
