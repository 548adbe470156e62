"""What the event loop calls for one connection: finds out what the peer speaks, carries bytes.

ALPN says it, or without ALPN the first bytes do. HTTP/2 goes to a Session, here, in C, since at one
request a wake-up a Python frame would be felt; HTTP/1.1 goes to the protocol object that the
listener makes for it.
"""
cimport cython
from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.memoryview cimport PyMemoryView_FromMemory
from libc.stdint cimport uint8_t

from regatta.http2._session cimport Session
from regatta.http2._sink cimport CallSink

cdef extern from "Python.h":
    int PyBUF_WRITE

cdef enum:
    INPUT_BYTES = 128 * 1024
    FIRST_LINE_BYTES_MAX = 8192  # longer ones are left to HTTP/1.1 to refuse
    OUTPUT_BYTES = 256 * 1024   # at most so much is handed to the transport in one write

cdef double DRAIN_TIMEOUT_S = 1.0       # for a peer to show that it has heard of the stop
cdef double PARTING_TIMEOUT_S = 2.0     # for a peer to close after us

cdef bytes PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

# One for the whole process: what arrives in it is consumed before the event loop goes on.
cdef uint8_t[INPUT_BYTES] INPUT
cdef object INPUT_VIEW = PyMemoryView_FromMemory(<char *>INPUT, INPUT_BYTES, PyBUF_WRITE)


@cython.final
cdef class Connection:
    """One accepted connection, as asyncio's BufferedProtocol. See the stub."""

    cdef object loop, listener, transport, write
    cdef CallSink sink
    cdef object connect, make_http1
    cdef Session session        # speaks HTTP/2, once that is settled
    cdef object http1           # speaks HTTP/1.1, once that is settled
    cdef object draining        # the task that waits for its last answer
    cdef object hello_timer     # for the peer to begin to speak
    cdef object timer           # of the next thing that the peer has to do after that, or None
    cdef bint heard             # something has come from the peer
    cdef bint parted            # nothing more is to be said
    cdef bytes seen             # the first bytes, while nothing is settled
    cdef bint writing_paused, reading_paused

    def __cinit__(self, object loop, object listener, CallSink sink, object connect,
                  object make_http1):
        self.loop, self.listener, self.sink = loop, listener, sink
        self.connect, self.make_http1 = connect, make_http1
        self.seen = b""

    # -- the event loop's side -------------------------------------------------------------------

    def connection_made(self, object transport):
        cdef object tls = transport.get_extra_info("ssl_object")
        cdef object spoken = None if tls is None else tls.selected_alpn_protocol()
        self.transport = transport
        self.write = transport.write
        self.hello_timer = self.loop.call_later(self.listener.hello_timeout_s, self.expect_hello)
        self.listener.opened(self)
        if spoken == "h2":
            self.start_http2()
            self.flush()
        elif spoken is not None:
            self.start_http1()

    def get_buffer(self, Py_ssize_t sizehint):
        return INPUT_VIEW

    def buffer_updated(self, Py_ssize_t nbytes):
        if not self.heard:
            self.heard = True
            if self.session is not None:
                self.hello_timer.cancel()
        if self.session is not None:
            self.session.feed(INPUT, nbytes)
            self.flush()
        elif self.http1 is not None:
            self.http1.data_received(PyBytes_FromStringAndSize(<char *>INPUT, nbytes))
        else:
            self.choose(PyBytes_FromStringAndSize(<char *>INPUT, nbytes))

    def eof_received(self):
        if self.http1 is not None:
            return self.http1.eof_received()
        return False

    def pause_writing(self):
        self.writing_paused = True
        if self.http1 is not None:
            self.http1.pause_writing()

    def resume_writing(self):
        self.writing_paused = False
        if self.http1 is not None:
            self.http1.resume_writing()
        self.flush()

    def connection_lost(self, object exc):
        cdef Session session = self.session
        cdef object http1 = self.http1
        self.transport = self.write = self.session = self.http1 = self.draining = None
        self.hello_timer.cancel()
        self.stop_timer()
        if session is not None:
            session.close()
        if http1 is not None:
            http1.connection_lost(exc)
        self.listener.closed(self)

    # -- the listener's side ---------------------------------------------------------------------

    @property
    def stream_count(self):
        return 0 if self.session is None else self.session.call_count

    def start_drain(self):
        if self.parted:
            return
        if self.session is not None:
            self.stop_timer()
            self.timer = self.loop.call_later(DRAIN_TIMEOUT_S, self.session.end_drain)
            self.session.start_drain()
            self.flush()
        elif self.http1 is None:
            self.abort()
        elif self.draining is None:
            # close() lets go of an idle connection's task, shutdown() waits for a busy one's.
            self.http1.close()
            self.draining = self.loop.create_task(self.http1.shutdown(None))
            self.draining.add_done_callback(self.settle)

    def settle(self, object task=None):
        self.listener.settled(self)

    def abort(self):
        if self.transport is not None:
            self.transport.abort()

    cdef object stop_timer(self):
        if self.timer is not None:
            self.timer.cancel()

    def expect_hello(self):
        # A peer that has nothing to ask costs as much as one that works.
        if not self.heard or (self.session is None and self.http1 is None):
            self.abort()

    # -- between them ----------------------------------------------------------------------------

    cdef object choose(self, bytes data):
        """Look at the first bytes, which may come in pieces, and hand them on."""
        cdef bytes seen = self.seen + data
        cdef bytes line = seen.lstrip(b"\r\n")
        self.seen = b""
        if seen.startswith(PREFACE):
            self.start_http2()
            self.session.receive(seen)
            self.flush()
        elif PREFACE.startswith(seen) or (b"\n" not in line and len(seen) < FIRST_LINE_BYTES_MAX):
            self.seen = seen
        elif b" HTTP/" in line.partition(b"\n")[0] or len(seen) >= FIRST_LINE_BYTES_MAX:
            self.start_http1()
            self.http1.data_received(seen)
        else:
            # Neither, so that there is no language in which to say so.
            self.transport.close()

    cdef object start_http2(self):
        if self.heard:
            self.hello_timer.cancel()
        self.session = Session(self.sink, self.connect(self.peer_name()), self.flush_soon)

    def peer_name(self):
        """Return the client's address as text; empty if it has none."""
        peer = self.transport.get_extra_info("peername")
        return f"{peer[0]}:{peer[1]}" if isinstance(peer, tuple) else ""

    cdef object start_http1(self):
        if self.heard:
            self.hello_timer.cancel()
        self.http1 = self.make_http1()
        self.http1.connection_made(self.transport)

    cdef object part(self):
        """Say good-bye, and hear the peer out: a reset could take our last words from it."""
        self.parted = True
        self.stop_timer()
        if self.transport.can_write_eof():
            self.timer = self.loop.call_later(PARTING_TIMEOUT_S, self.transport.close)
            self.transport.write_eof()
        else:
            self.transport.close()  # TLS has a good-bye of its own, that is waited for
        self.settle()

    def flush_soon(self):
        # Answers that become ready in one turn of the loop leave in one write.
        self.loop.call_soon(self.flush)

    cpdef object flush(self):
        """Write what the session has, and settle whether to read on."""
        cdef bytes data
        cdef bint paused
        if self.session is None or self.parted:
            return
        while not self.writing_paused:
            data = self.session.output(OUTPUT_BYTES)
            if not data:
                break
            self.write(data)
            if self.session is None:
                return
        if self.session.dead:
            # A flood, or no HTTP/2 at all: nothing of it is worth waiting for.
            self.abort()
            return
        if self.session.is_finished():
            self.part()
            return
        paused = self.session.is_reading_paused()
        if paused != self.reading_paused:
            self.reading_paused = paused
            if paused:
                self.transport.pause_reading()
            else:
                self.transport.resume_reading()
