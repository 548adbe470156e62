"""A hostile HTTP/2 client, and the watch over what it does to a daemon."""

import select
import socket
import ssl
import threading
import time
from contextlib import suppress
from typing import Self

import grpc

from regatta.pb.regatta_pb2 import PutRequest
from regatta.pb.regatta_pb2 import RangeRequest
from tests.cluster.harness import KV
from tests.cluster.harness import Daemon

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PING = 0, 1, 2, 3, 4, 6
GOAWAY, WINDOW_UPDATE, CONTINUATION = 7, 8, 9
END_STREAM, END_HEADERS = 1, 4
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
INITIAL_WINDOW_SIZE = 4
TABLE = b"abuse"
SMALL_KEY, LARGE_KEY = b"small", b"large"


def frame(kind: int, stream: int = 0, payload: bytes = b"", flags: int = 0) -> bytes:
    """Return one HTTP/2 frame."""
    head = bytes([kind, flags]) + stream.to_bytes(4, "big")
    return len(payload).to_bytes(3, "big") + head + payload


def literal(name: bytes, value: bytes) -> bytes:
    """Return a header that goes into no table; *name* below 128 bytes, *value* below 4 KiB."""
    size = len(value)
    digits = bytes([size]) if size < 127 else bytes([127, (size - 127) % 128 | 128])
    if size >= 127:
        digits += bytes([(size - 127) // 128])
    return bytes([0, len(name)]) + name + digits + value


def call_headers(*more: tuple[bytes, bytes]) -> bytes:
    """Return the header block of a Range call."""
    pairs = [
        (b":method", b"POST"),
        (b":scheme", b"https"),
        (b":authority", b"localhost"),
        (b":path", b"/regatta.v1.KV/Range"),
        (b"content-type", b"application/grpc"),
        (b"te", b"trailers"),
        *more,
    ]
    return b"".join(literal(name, value) for name, value in pairs)


def read_request(key: bytes) -> bytes:
    """Return the message of a Range call of one key, with its prefix."""
    message = range_request(key).SerializeToString()
    return b"\0" + len(message).to_bytes(4, "big") + message


def call(stream: int, key: bytes) -> bytes:
    """Return the frames of a whole Range call."""
    headers = frame(HEADERS, stream, call_headers(), END_HEADERS)
    return headers + frame(DATA, stream, read_request(key), END_STREAM)


def window_update(stream: int, increment: int) -> bytes:
    return frame(WINDOW_UPDATE, stream, increment.to_bytes(4, "big"))


def put_request(key: bytes, value: bytes) -> PutRequest:
    return PutRequest(table=TABLE, key=key, value=value)


def range_request(key: bytes) -> RangeRequest:
    return RangeRequest(table=TABLE, key=key)


def dial(daemon: Daemon) -> ssl.SSLSocket:
    """Connect and shake hands for HTTP/2."""
    context = ssl.create_default_context(cafile=str(daemon.certificate.certificate_path))
    context.set_alpn_protocols(["h2"])
    plain = socket.create_connection(("127.0.0.1", daemon.port), timeout=20)
    return context.wrap_socket(plain, server_hostname="localhost")


class Attacker:
    """One TLS connection that speaks HTTP/2 in frames."""

    def __init__(self, daemon: Daemon, settings: dict[int, int] | None = None) -> None:
        self.socket = dial(daemon)
        self.socket.setblocking(False)
        self.closed = False
        self.goaway: int | None = None  # the error that the daemon ended the connection with
        self.resets = 0
        self.data_bytes = 0
        self._input = bytearray()
        payload = b"".join(
            name.to_bytes(2, "big") + value.to_bytes(4, "big")
            for name, value in (settings or {}).items()
        )
        self.send(PREFACE + frame(SETTINGS, 0, payload))

    def send(self, data: bytes, *, reads: bool = True, patience_s: float = 1.0) -> bool:
        """Send *data*; return False if the daemon has closed or takes in nothing for a while."""
        view = memoryview(data)
        deadline_s = time.monotonic() + patience_s
        while view and not self.closed:
            if reads:
                self.read()
            try:
                view = view[self.socket.send(view) :]
                deadline_s = time.monotonic() + patience_s
            except (ssl.SSLWantWriteError, ssl.SSLWantReadError):
                if time.monotonic() > deadline_s:
                    return False
                select.select([self.socket] if reads else [], [self.socket], [], 0.05)
            except OSError:
                self.closed = True
                if not reads:
                    self.read()
        return not self.closed

    def read(self) -> None:
        """Take in what has come and look at its frames."""
        try:
            while received := self.socket.recv(1 << 16):
                self._input += received
            self.closed = True
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            pass
        except OSError:
            self.closed = True
        while len(self._input) >= 9:
            size = int.from_bytes(self._input[:3], "big")
            if len(self._input) < 9 + size:
                return
            self._note(self._input[3], bytes(self._input[9 : 9 + size]))
            del self._input[: 9 + size]

    def _note(self, kind: int, payload: bytes) -> None:
        if kind == GOAWAY:
            self.goaway = int.from_bytes(payload[4:8], "big")
        elif kind == RST_STREAM:
            self.resets += 1
        elif kind == DATA:
            self.data_bytes += len(payload)

    def read_for(self, duration_s: float) -> None:
        """Go on reading until the daemon closes or the time is over."""
        deadline_s = time.monotonic() + duration_s
        while not self.closed and (left_s := deadline_s - time.monotonic()) > 0:
            select.select([self.socket], [], [], min(left_s, 0.05))
            self.read()

    def outcome(self) -> str:
        """Say how the connection has ended, if it has."""
        if self.goaway is not None:
            return f"GOAWAY {self.goaway}"
        return "closed" if self.closed else "stays open"

    def close(self) -> None:
        with suppress(OSError):
            self.socket.close()


class Watch:
    """While it is entered: another client's calls, and the daemon's memory."""

    def __init__(self, daemon: Daemon) -> None:
        self.daemon = daemon
        self.answered = 0
        self.failures: list[str] = []
        self.slowest_s = 0.0
        self.before_bytes = self.peak_bytes = self.after_bytes = daemon.resident_bytes()
        self._done = threading.Event()
        self._threads = [threading.Thread(target=target) for target in (self._call, self._measure)]

    def _call(self) -> None:
        with self.daemon.channel() as channel:
            calls = KV(channel)
            while not self._done.is_set():
                start_s = time.monotonic()
                try:
                    calls.range(range_request(SMALL_KEY), timeout=10)
                    self.answered += 1
                except grpc.RpcError as error:
                    self.failures.append(str(error))
                self.slowest_s = max(self.slowest_s, time.monotonic() - start_s)
                self._done.wait(0.02)

    def _measure(self) -> None:
        while not self._done.wait(0.02):
            self.peak_bytes = max(self.peak_bytes, self.daemon.resident_bytes())

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *unused: object) -> None:
        time.sleep(0.3)  # the daemon notices that the attackers are gone
        self._done.set()
        for thread in self._threads:
            thread.join()
        self.after_bytes = self.daemon.resident_bytes()
