"""A load generator for regatta.v1.KV that checks every answer, in C from the socket to the check.

One thread, non-blocking sockets and epoll, TLS by OpenSSL, HTTP/2 by libnghttp2. Each connection
keeps a number of calls under way. Closed loop: an answer brings the next call. Open loop: calls
have their moments on a schedule, and a latency counts from that moment, sent late or not.
"""
cimport cython
from cpython.exc cimport PyErr_CheckSignals
from libc.errno cimport EAGAIN
from libc.errno cimport EINTR
from libc.errno cimport errno
from libc.stdint cimport int32_t
from libc.stdint cimport uint8_t
from libc.stdint cimport uint32_t
from libc.stdint cimport uint64_t
from libc.stdlib cimport calloc
from libc.stdlib cimport free
from libc.stdlib cimport malloc
from libc.string cimport memcmp
from libc.string cimport memcpy
from libc.string cimport memset
from posix.time cimport CLOCK_MONOTONIC
from posix.time cimport clock_gettime
from posix.time cimport timespec

from _messages cimport FAMILY_BYTES
from _messages cimport PREFIX_BYTES
from _messages cimport REQUEST_BYTES_MAX
from _messages cimport TABLE_BYTES_MAX
from _messages cimport Spec
from _messages cimport check_put
from _messages cimport check_range
from _messages cimport write_put
from _messages cimport write_range
from _nghttp2_client_h cimport NGHTTP2_SETTINGS_ENABLE_PUSH
from _nghttp2_client_h cimport nghttp2_session_client_new
from _nghttp2_client_h cimport nghttp2_submit_request2
from _openssl_h cimport *
from _snappy cimport CHUNK_BYTES_MAX
from _snappy cimport SNAPPY_OVERHEAD_BYTES
from _snappy cimport snappy_begin
from _snappy cimport snappy_decode
from regatta.http2._nghttp2_h cimport *
from regatta.wire._buffer cimport Buffer
from regatta.wire._buffer cimport buffer_append
from regatta.wire._buffer cimport buffer_free
from regatta.wire._reader cimport Slice

import os
import select
import socket

cdef extern from "sys/epoll.h" nogil:
    ctypedef union epoll_data_t:
        void *ptr
    struct epoll_event:
        uint32_t events
        epoll_data_t data
    int EPOLLIN, EPOLLOUT, EPOLL_CTL_ADD, EPOLL_CTL_MOD
    int epoll_ctl(int, int, int, epoll_event *)
    int epoll_wait(int, epoll_event *, int, int)

cdef extern from "sys/socket.h" nogil:
    int MSG_NOSIGNAL
    Py_ssize_t recv(int, void *, size_t, int)
    Py_ssize_t send(int, const void *, size_t, int)

cdef extern from * nogil:
    int __builtin_clzll(unsigned long long)

cdef enum:
    RECEIVE_BYTES = 65536
    OUTPUT_BYTES = 16384            # handed to TLS at once: one record
    EVENTS_MAX = 64
    WINDOW_BYTES = 1 << 30
    HEADERS_MAX = 9
    SUBBUCKETS = 32                 # a latency is known to a 32nd of itself
    BUCKET_COUNT = 64 * SUBBUCKETS
    SLICE_NS = 100_000_000          # then Python looks for signals
    STALL_NS = 30_000_000_000       # without an answer the server is given up
    UNIMPLEMENTED = 12              # of gRPC

cdef uint32_t WRITE = 1 << 31       # in a call's number: a Put, not a Range
cdef const char *CUT = b"the connection ended"

writes_from = WRITE


cdef struct Slot:                   # a call under way, or room for one
    Connection *connection
    Slot *next                      # in the list of free ones
    uint32_t number
    int status                      # grpc-status; -1 while there is none
    uint64_t due_ns
    uint8_t *request
    size_t request_size
    size_t sent
    Buffer answer

cdef struct Connection:
    Load *load
    int descriptor
    SSL *tls                        # NULL: plain text
    nghttp2_session *session
    Slot *slots
    Slot *free
    uint32_t free_count
    Buffer output
    size_t written
    bint waits                      # for room in the socket
    bint dirty                      # has calls to send

cdef struct Load:
    Spec spec
    Connection *connections
    uint32_t connection_count
    uint32_t stream_count
    int poller
    const uint32_t *numbers         # what is asked, over and over
    size_t number_count
    size_t position
    uint64_t interval_ns            # of the open loop; 0: closed loop
    uint64_t next_ns                # when its next call is due
    uint32_t next_connection
    uint64_t left                   # calls that may still begin
    uint64_t now_ns
    uint64_t heard_ns
    uint64_t answered
    uint64_t answer_bytes           # messages of answers, as they came
    uint64_t under_way
    uint64_t latency_sum_ns
    uint64_t latency_max_ns
    uint64_t[BUCKET_COUNT] latencies
    const char *fault               # NULL, or what ended it all
    uint32_t fault_number
    int fault_status
    Buffer plain                    # an answer after decompression
    nghttp2_nv[HEADERS_MAX] headers[2]      # of a Range, of a Put
    uint8_t[RECEIVE_BYTES] received


cdef nghttp2_session_callbacks *CALLBACKS


cdef inline uint64_t clock_ns() noexcept nogil:
    cdef timespec now
    clock_gettime(CLOCK_MONOTONIC, &now)
    return <uint64_t>now.tv_sec * 1_000_000_000 + <uint64_t>now.tv_nsec


cdef inline uint32_t bucket_of(uint64_t ns) noexcept nogil:
    """Values below 32 have a bucket each; above, each power of two has 32."""
    cdef int power
    if ns < SUBBUCKETS:
        return <uint32_t>ns
    power = 63 - __builtin_clzll(ns)
    return <uint32_t>((power - 5) * SUBBUCKETS + <int>(ns >> (power - 5)))


cdef int fail(Load *load, const char *fault, const Slot *slot) noexcept nogil:
    """Note the first fault, which ends the run."""
    if load.fault == NULL:
        load.fault = fault
        load.fault_number = slot.number if slot != NULL else 0
        load.fault_status = slot.status if slot != NULL else -1
    return -1


# --- What libnghttp2 calls ---------------------------------------------------

cdef nghttp2_ssize on_read(nghttp2_session *session, int32_t stream, uint8_t *to, size_t size,
                           uint32_t *flags, nghttp2_data_source *source, void *user) noexcept nogil:
    cdef Slot *slot = <Slot *>source.ptr
    cdef size_t part = min(size, slot.request_size - slot.sent)
    memcpy(to, slot.request + slot.sent, part)
    slot.sent += part
    if slot.sent == slot.request_size:
        flags[0] |= NGHTTP2_DATA_FLAG_EOF
    return <nghttp2_ssize>part


cdef int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
                   size_t name_size, const uint8_t *value, size_t value_size, uint8_t flags,
                   void *user) noexcept nogil:
    cdef Slot *slot
    cdef size_t i
    if name_size != 11 or memcmp(name, b"grpc-status", 11) != 0:
        return 0
    slot = <Slot *>nghttp2_session_get_stream_user_data(session, frame.hd.stream_id)
    if slot == NULL:
        return 0
    slot.status = 0
    for i in range(min(value_size, <size_t>3)):
        slot.status = 10 * slot.status + value[i] - c'0'
    return 0


cdef int on_data(nghttp2_session *session, uint8_t flags, int32_t stream, const uint8_t *data,
                 size_t size, void *user) noexcept nogil:
    cdef Slot *slot = <Slot *>nghttp2_session_get_stream_user_data(session, stream)
    if slot != NULL and buffer_append(&slot.answer, data, size) < 0:
        return NGHTTP2_ERR_CALLBACK_FAILURE
    return 0


cdef int on_close(nghttp2_session *session, int32_t stream, uint32_t error, void *user) noexcept nogil:
    cdef Connection *connection = <Connection *>user
    cdef Load *load = connection.load
    cdef Slot *slot = <Slot *>nghttp2_session_get_stream_user_data(session, stream)
    cdef const char *fault
    cdef uint64_t latency_ns
    if slot == NULL:
        return 0
    fault = check_answer(load, slot)
    if fault != NULL:
        fail(load, fault, slot)
    latency_ns = load.now_ns - slot.due_ns
    load.latencies[bucket_of(latency_ns)] += 1
    load.latency_sum_ns += latency_ns
    load.latency_max_ns = max(load.latency_max_ns, latency_ns)
    load.answered += 1
    load.answer_bytes += slot.answer.size
    load.under_way -= 1
    slot.next, connection.free = connection.free, slot
    connection.free_count += 1
    return 0


cdef const char *check_answer(Load *load, Slot *slot) noexcept nogil:
    """Return what is wrong with a call's answer, or NULL."""
    cdef Slice message
    cdef const uint8_t *at = slot.answer.data
    if slot.status != 0:
        return b"no success"
    if slot.answer.size < PREFIX_BYTES:
        return b"no message"
    message.data, message.size = at + PREFIX_BYTES, slot.answer.size - PREFIX_BYTES
    if message.size != (<size_t>at[1] << 24 | <size_t>at[2] << 16 | <size_t>at[3] << 8 | at[4]):
        return b"not one message"
    if at[0] == 1:
        load.plain.size = 0
        if not load.spec.snappy or snappy_decode(message.data, message.size, &load.plain) < 0:
            return b"badly compressed"
        message.data, message.size = load.plain.data, load.plain.size
    if slot.number & WRITE:
        return check_put(message)
    return check_range(message, &load.spec, slot.number)


# --- Sending and receiving ---------------------------------------------------

cdef void begin_call(Connection *connection, uint64_t due_ns) noexcept nogil:
    """Take a free slot of the connection for the next call."""
    cdef Load *load = connection.load
    cdef Slot *slot = connection.free
    cdef nghttp2_data_provider2 provider
    cdef size_t head = PREFIX_BYTES, size
    cdef bint is_write
    connection.free = slot.next
    connection.free_count -= 1
    slot.number, slot.status, slot.sent, slot.due_ns = load.numbers[load.position], -1, 0, due_ns
    load.position = load.position + 1 if load.position + 1 < load.number_count else 0
    slot.answer.size = 0
    is_write = slot.number & WRITE != 0
    if load.spec.snappy:
        head += SNAPPY_OVERHEAD_BYTES
    if is_write:
        size = write_put(slot.request + head, &load.spec, slot.number & ~WRITE)
    else:
        size = write_range(slot.request + head, &load.spec, slot.number)
    if load.spec.snappy:
        snappy_begin(slot.request + PREFIX_BYTES, slot.request + head, size)
    slot.request_size = head + size
    size = slot.request_size - PREFIX_BYTES
    slot.request[0] = load.spec.snappy
    slot.request[1], slot.request[2] = size >> 24, size >> 16 & 0xFF
    slot.request[3], slot.request[4] = size >> 8 & 0xFF, size & 0xFF
    provider.source.ptr = slot
    provider.read_callback = on_read
    if nghttp2_submit_request2(connection.session, NULL, load.headers[is_write],
                               HEADERS_MAX if load.spec.snappy else HEADERS_MAX - 2,
                               &provider, slot) < 0:
        fail(load, b"no stream left", slot)
    load.left -= 1
    load.under_way += 1


cdef int flush(Connection *connection) noexcept nogil:
    """Hand all that there is to send to the socket, or as much as it takes."""
    cdef const uint8_t *piece
    cdef nghttp2_ssize size
    connection.dirty = False
    while True:
        while connection.output.size < OUTPUT_BYTES:
            size = nghttp2_session_mem_send2(connection.session, &piece)
            if size < 0 or buffer_append(&connection.output, piece, <size_t>size) < 0:
                return fail(connection.load, b"HTTP/2 can't go on", NULL)
            if size == 0:
                break
        if connection.output.size == 0:
            return watch(connection, False)
        while connection.written < connection.output.size:
            size = write_some(connection, connection.output.data + connection.written,
                              connection.output.size - connection.written)
            if size < 0:
                return fail(connection.load, CUT, NULL)
            if size == 0:
                return watch(connection, True)
            connection.written += size
        connection.output.size = connection.written = 0


cdef int watch(Connection *connection, bint waits) noexcept nogil:
    """See to it that the poller tells of room in the socket, or no longer does."""
    cdef epoll_event event
    if connection.waits == waits:
        return 0
    connection.waits = waits
    event.events = EPOLLIN | (EPOLLOUT if waits else 0)
    event.data.ptr = connection
    return epoll_ctl(connection.load.poller, EPOLL_CTL_MOD, connection.descriptor, &event)


cdef nghttp2_ssize write_some(Connection *connection, const void *data, size_t size) noexcept nogil:
    """Return how many bytes were taken, 0 if there is no room, -1 at the connection's end."""
    cdef nghttp2_ssize taken
    cdef int code
    if connection.tls == NULL:
        taken = send(connection.descriptor, data, size, MSG_NOSIGNAL)
        return 0 if taken < 0 and errno == EAGAIN else taken
    taken = SSL_write(connection.tls, data, <int>size)
    if taken > 0:
        return taken
    code = SSL_get_error(connection.tls, <int>taken)
    return 0 if code == SSL_ERROR_WANT_WRITE or code == SSL_ERROR_WANT_READ else -1


cdef nghttp2_ssize read_some(Connection *connection, void *to, size_t size) noexcept nogil:
    """Return how many bytes came, 0 if there are none now, -1 at the connection's end."""
    cdef nghttp2_ssize taken
    cdef int code
    if connection.tls == NULL:
        taken = recv(connection.descriptor, to, size, 0)
        if taken < 0 and errno == EAGAIN:
            return 0
        return taken if taken > 0 else -1
    taken = SSL_read(connection.tls, to, <int>size)
    if taken > 0:
        return taken
    code = SSL_get_error(connection.tls, <int>taken)
    return 0 if code == SSL_ERROR_WANT_READ or code == SSL_ERROR_WANT_WRITE else -1


cdef int receive(Connection *connection) noexcept nogil:
    """Take what has come, and in the closed loop begin a call for each answer."""
    cdef Load *load = connection.load
    cdef nghttp2_ssize size
    load.now_ns = clock_ns()
    while True:
        size = read_some(connection, load.received, RECEIVE_BYTES)
        if size < 0:
            return fail(load, CUT, NULL)
        if size > 0:
            load.heard_ns = load.now_ns
        if nghttp2_session_mem_recv2(connection.session, load.received, <size_t>size) < 0:
            return fail(load, b"malformed HTTP/2", NULL)
        if size == 0 or connection.tls == NULL or not SSL_has_pending(connection.tls):
            break
    if load.interval_ns == 0:
        fill(connection)
    return flush(connection) if load.fault == NULL else -1


cdef void fill(Connection *connection) noexcept nogil:
    """Begin as many calls as there are free slots."""
    cdef Load *load = connection.load
    while connection.free != NULL and load.left > 0 and load.fault == NULL:
        begin_call(connection, load.now_ns)


cdef void begin_due_calls(Load *load) noexcept nogil:
    """Begin the calls whose moment has come, as far as there are free slots."""
    cdef Connection *connection
    cdef uint32_t _tried, i
    while load.next_ns <= load.now_ns and load.left > 0:
        for _tried in range(load.connection_count):
            connection = &load.connections[load.next_connection]
            load.next_connection = (load.next_connection + 1) % load.connection_count
            if connection.free != NULL:
                break
        else:
            break               # all are busy: the schedule goes on counting
        begin_call(connection, load.next_ns)
        connection.dirty = True
        load.next_ns += load.interval_ns
    for i in range(load.connection_count):
        if load.connections[i].dirty:
            flush(&load.connections[i])


cdef void serve(Load *load, uint64_t until_ns) noexcept nogil:
    """Go on until *until_ns*, a fault, or until no call is under way and none may begin."""
    cdef epoll_event[EVENTS_MAX] events
    cdef Connection *connection
    cdef int count, wait_ms, i
    load.now_ns = clock_ns()
    while load.now_ns < until_ns and load.fault == NULL and (load.left > 0 or load.under_way > 0):
        # The poller knows milliseconds alone, so the last one before a call is due is waited awake.
        wait_ms = 100
        if load.interval_ns and load.left > 0:
            begin_due_calls(load)
            wait_ms = 0
            if load.next_ns > load.now_ns + 2_000_000:
                wait_ms = <int>min((load.next_ns - load.now_ns) // 1_000_000 - 1, <uint64_t>100)
        count = epoll_wait(load.poller, events, EVENTS_MAX, wait_ms)
        if count < 0 and errno != EINTR:
            fail(load, b"the poller failed", NULL)
        for i in range(count):
            connection = <Connection *>events[i].data.ptr
            if load.fault == NULL:
                receive(connection)
        load.now_ns = clock_ns()
        if load.now_ns > load.heard_ns + STALL_NS and load.under_way > 0:
            fail(load, b"no answer for a long time", NULL)


# --- The face for Python -----------------------------------------------------

class WrongAnswer(Exception):
    """A call failed, or its answer was not the right one."""


class Unimplemented(WrongAnswer):
    """The server has no such method or encoding."""


@cython.final
cdef class Client:
    """Connections to one server, and calls under way on them.

    *numbers*, an array of "I", says what is asked, over and over: the number of a pair (of the
    first pair of a range), plus `writes_from` for a Put. *pairs_a_range* 0 asks for single keys
    without a range. *certificate* is the PEM file to trust, None means plain text. *rate* is in
    calls a second, 0 for a closed loop.
    """

    cdef Load *load
    cdef SSL_CTX *context
    cdef object numbers         # keeps the memory of load.numbers
    cdef object poller
    cdef list sockets
    cdef list texts             # keeps the memory of the headers

    def __cinit__(self, *_, **__):
        self.load = <Load *>calloc(1, sizeof(Load))
        if self.load == NULL:
            raise MemoryError
        self.sockets, self.texts = [], []

    def __init__(self, str host, int port, numbers not None, *, certificate=None, bytes table=b"regatta",
                 bytes family=b"key-", size_t value_size=100, uint32_t connections=8,
                 uint32_t streams=32, uint32_t pairs_a_range=0, bint linearizable=False,
                 bint snappy=False, double rate=0.0):
        cdef const uint32_t[::1] view = numbers
        cdef Spec *spec = &self.load.spec
        if not 0 < len(table) <= TABLE_BYTES_MAX or len(family) != FAMILY_BYTES or view.shape[0] == 0:
            raise ValueError("the table's or family's name, or the numbers, can't be used")
        if snappy and value_size + REQUEST_BYTES_MAX + TABLE_BYTES_MAX > CHUNK_BYTES_MAX:
            raise ValueError("values are too large for one chunk")
        memcpy(spec.table, <const char *>table, len(table))
        memcpy(spec.family, <const char *>family, FAMILY_BYTES)
        spec.table_size, spec.value_size, spec.pair_count = len(table), value_size, pairs_a_range
        spec.linearizable, spec.snappy = linearizable, snappy
        self.numbers = view
        self.load.numbers, self.load.number_count = &view[0], view.shape[0]
        self.load.interval_ns = <uint64_t>(1e9 / rate) if rate > 0 else 0
        self.load.stream_count = streams
        self.make_headers(host, port, certificate is not None)
        if certificate is not None:
            self.make_context(os.fsencode(certificate))
        self.connect(host, port, connections)

    cdef object make_headers(self, str host, int port, bint tls):
        cdef int method, i
        for method, name in enumerate((b"Range", b"Put")):
            pairs = [(b":method", b"POST"), (b":scheme", b"https" if tls else b"http"),
                     (b":authority", b"%s:%d" % (host.encode(), port)),
                     (b":path", b"/regatta.v1.KV/" + name), (b"content-type", b"application/grpc"),
                     (b"te", b"trailers"), (b"user-agent", b"regatta-bench"),
                     (b"grpc-encoding", b"snappy"), (b"grpc-accept-encoding", b"identity,snappy")]
            self.texts.append(pairs)
            for i, (left, right) in enumerate(pairs):
                self.load.headers[method][i].name = <uint8_t *><char *>left
                self.load.headers[method][i].namelen = len(left)
                self.load.headers[method][i].value = <uint8_t *><char *>right
                self.load.headers[method][i].valuelen = len(right)

    cdef object make_context(self, bytes certificate):
        self.context = SSL_CTX_new(TLS_client_method())
        if self.context == NULL:
            raise MemoryError
        SSL_CTX_set_mode(self.context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER)
        SSL_CTX_set_read_ahead(self.context, 1)
        SSL_CTX_set_verify(self.context, SSL_VERIFY_PEER, NULL)
        SSL_CTX_set_alpn_protos(self.context, b"\x02h2", 3)
        if SSL_CTX_load_verify_locations(self.context, certificate, NULL) != 1:
            raise OSError(f"{os.fsdecode(certificate)}: {tls_error()}")

    cdef object connect(self, str host, int port, uint32_t count):
        cdef Connection *connection
        cdef epoll_event event
        self.poller = select.epoll()
        self.load.poller = self.poller.fileno()
        self.load.connections = <Connection *>calloc(count, sizeof(Connection))
        if self.load.connections == NULL:
            raise MemoryError
        for _ in range(count):
            plain = socket.create_connection((host, port))
            self.sockets.append(plain)
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection = &self.load.connections[self.load.connection_count]
            self.load.connection_count += 1
            connection.load, connection.descriptor = self.load, plain.fileno()
            plain.settimeout(None)
            if self.context != NULL:
                self.shake_hands(connection)
            plain.setblocking(False)
            self.begin_session(connection)
            event.events, event.data.ptr = EPOLLIN, connection
            epoll_ctl(self.load.poller, EPOLL_CTL_ADD, connection.descriptor, &event)

    cdef object shake_hands(self, Connection *connection):
        cdef const unsigned char *protocol = NULL
        cdef unsigned int size = 0
        connection.tls = SSL_new(self.context)
        if connection.tls == NULL:
            raise MemoryError
        SSL_set_fd(connection.tls, connection.descriptor)
        if SSL_connect(connection.tls) != 1:
            raise OSError(f"TLS: {tls_error()}")
        SSL_get0_alpn_selected(connection.tls, &protocol, &size)
        if size != 2 or memcmp(protocol, b"h2", 2) != 0:
            raise OSError("TLS: the server doesn't speak HTTP/2")

    cdef object begin_session(self, Connection *connection):
        cdef nghttp2_settings_entry[2] settings
        cdef size_t request_size = PREFIX_BYTES + SNAPPY_OVERHEAD_BYTES + REQUEST_BYTES_MAX
        cdef Slot *slot
        cdef uint32_t i
        request_size += self.load.spec.table_size + self.load.spec.value_size
        if nghttp2_session_client_new(&connection.session, CALLBACKS, connection) != 0:
            raise MemoryError
        settings[0].settings_id, settings[0].value = NGHTTP2_SETTINGS_ENABLE_PUSH, 0
        settings[1].settings_id, settings[1].value = NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, WINDOW_BYTES
        nghttp2_submit_settings(connection.session, NGHTTP2_FLAG_NONE, settings, 2)
        nghttp2_session_set_local_window_size(connection.session, NGHTTP2_FLAG_NONE, 0, WINDOW_BYTES)
        connection.slots = <Slot *>calloc(self.load.stream_count, sizeof(Slot))
        if connection.slots == NULL:
            raise MemoryError
        for i in range(self.load.stream_count):
            slot = &connection.slots[i]
            slot.request = <uint8_t *>malloc(request_size)
            if slot.request == NULL:
                raise MemoryError
            slot.connection, slot.next, connection.free = connection, connection.free, slot
            connection.free_count += 1
        if flush(connection) < 0:
            self.raise_fault()

    def run(self, double seconds, uint64_t calls_max=<uint64_t>-1):
        """Make calls for *seconds*, or *calls_max* of them and wait for all of their answers.

        Return the seconds that it took. Calls under way at the end stay so until the next run.
        Raises WrongAnswer, which leaves the client of no more use.
        """
        cdef Load *load = self.load
        cdef uint64_t start_ns = clock_ns(), end_ns, now_ns
        cdef uint32_t i
        end_ns = start_ns + <uint64_t>(seconds * 1e9)
        load.left, load.now_ns, load.heard_ns, load.next_ns = calls_max, start_ns, start_ns, start_ns
        if load.interval_ns == 0:
            for i in range(load.connection_count):
                fill(&load.connections[i])
                flush(&load.connections[i])
        now_ns = start_ns
        while now_ns < end_ns and load.fault == NULL and (load.left or load.under_way):
            with nogil:
                serve(load, min(end_ns, now_ns + SLICE_NS))
            PyErr_CheckSignals()
            now_ns = clock_ns()
        if load.fault != NULL:
            self.raise_fault()
        return (clock_ns() - start_ns) / 1e9

    def finish(self, double seconds):
        """Wait for the answers to all calls under way, at most for *seconds*."""
        self.run(seconds, 0)
        if self.load.under_way:
            raise WrongAnswer(f"{self.load.under_way} calls had no answer after {seconds} s")

    cdef object raise_fault(self):
        cdef Load *load = self.load
        if load.fault == CUT or load.fault_number == 0 and load.fault_status < 0:
            raise WrongAnswer(load.fault.decode())
        what = "Put" if load.fault_number & WRITE else "Range"
        status = f"grpc-status {load.fault_status}" if load.fault_status >= 0 else "no grpc-status"
        raise (Unimplemented if load.fault_status == UNIMPLEMENTED else WrongAnswer)(
            f"{what} of {load.fault_number & ~WRITE}: {load.fault.decode()}, {status}")

    def forget(self):
        """Begin to count anew."""
        cdef Load *load = self.load
        load.answered = load.answer_bytes = load.latency_sum_ns = load.latency_max_ns = 0
        memset(load.latencies, 0, sizeof(load.latencies))

    @property
    def answered(self):
        """How many calls were answered, every one of them right."""
        return self.load.answered

    @property
    def answer_bytes(self):
        """The bytes of their messages, as they came, gRPC's prefix included."""
        return self.load.answer_bytes

    @property
    def latency_mean_s(self):
        return self.load.latency_sum_ns / max(self.load.answered, 1) / 1e9

    @property
    def latency_max_s(self):
        return self.load.latency_max_ns / 1e9

    def latency_s(self, double share):
        """Return the latency below which a *share* of all calls stayed, within 2 %."""
        cdef uint64_t seen = 0, wanted = <uint64_t>(share * self.load.answered)
        cdef uint64_t low, width
        cdef uint32_t i
        for i in range(BUCKET_COUNT):
            seen += self.load.latencies[i]
            if seen > wanted:
                width = 1 if i < SUBBUCKETS else <uint64_t>1 << (i // SUBBUCKETS - 1)
                low = i if i < SUBBUCKETS else (SUBBUCKETS + i % SUBBUCKETS) * width
                return (low + width / 2.0) / 1e9
        return self.latency_max_s

    def close(self):
        """Cut all connections."""
        cdef Connection *connection
        cdef uint32_t i, j
        for i in range(self.load.connection_count):
            connection = &self.load.connections[i]
            if connection.tls != NULL:
                SSL_free(connection.tls)
            nghttp2_session_del(connection.session)
            if connection.slots != NULL:
                for j in range(self.load.stream_count):
                    free(connection.slots[j].request)
                    buffer_free(&connection.slots[j].answer)
            free(connection.slots)
            buffer_free(&connection.output)
        free(self.load.connections)
        self.load.connections, self.load.connection_count = NULL, 0
        buffer_free(&self.load.plain)
        for plain in self.sockets:
            plain.close()
        self.sockets.clear()
        if self.poller is not None:
            self.poller.close()
            self.poller = None
        if self.context != NULL:
            SSL_CTX_free(self.context)
            self.context = NULL

    def __dealloc__(self):
        if self.load != NULL:
            self.close()
            free(self.load)


cdef str tls_error():
    cdef char[256] text
    cdef unsigned long code = ERR_get_error()
    if code == 0:
        return "the connection ended"
    ERR_error_string_n(code, text, sizeof(text))
    return text.decode()


nghttp2_session_callbacks_new(&CALLBACKS)
nghttp2_session_callbacks_set_on_header_callback(CALLBACKS, on_header)
nghttp2_session_callbacks_set_on_data_chunk_recv_callback(CALLBACKS, on_data)
nghttp2_session_callbacks_set_on_stream_close_callback(CALLBACKS, on_close)
