"""A client (libnghttp2 by way of ngh2) joined to a Session without a socket."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import ngh2

from regatta.http2 import Call
from regatta.http2 import CallSink
from regatta.http2 import Session

Headers = list[tuple[bytes, bytes]]


def frame(message: bytes, flags: int = 0) -> bytes:
    """Return a gRPC message with its prefix."""
    return bytes([flags]) + len(message).to_bytes(4, "big") + message


def request_headers(path: bytes = b"/test/Call", *more: tuple[bytes, bytes]) -> Headers:
    return [
        (b":method", b"POST"),
        (b":scheme", b"https"),
        (b":authority", b"localhost"),
        (b":path", path),
        (b"content-type", b"application/grpc"),
        (b"te", b"trailers"),
        *more,
    ]


def http_headers(method: bytes, path: bytes, *more: tuple[bytes, bytes]) -> Headers:
    return [
        (b":method", method),
        (b":scheme", b"https"),
        (b":authority", b"localhost"),
        (b":path", path),
        *more,
    ]


@dataclass
class Answer:
    """What the client has seen of one stream."""

    headers: dict[bytes, bytes] = field(default_factory=dict)
    body: bytearray = field(default_factory=bytearray)
    trailers: dict[bytes, bytes] = field(default_factory=dict)
    closed: bool = False
    reset_code: int | None = None

    @property
    def flagged_messages(self) -> list[tuple[int, bytes]]:
        """Each message with its flag, which is 1 if it is compressed."""
        found, rest = [], bytes(self.body)
        while rest:
            size = int.from_bytes(rest[1:5], "big")
            assert len(rest) >= 5 + size
            found.append((rest[0], rest[5 : 5 + size]))
            rest = rest[5 + size :]
        return found

    @property
    def messages(self) -> list[bytes]:
        assert all(flag == 0 for flag, _ in self.flagged_messages)
        return [message for _, message in self.flagged_messages]

    @property
    def status(self) -> int:
        """The gRPC status, from the trailers or from a trailers-only answer."""
        return int({**self.headers, **self.trailers}[b"grpc-status"])

    @property
    def message(self) -> bytes:
        return {**self.headers, **self.trailers}.get(b"grpc-message", b"")


class Peer:
    """The client and the session, and what either has told."""

    def __init__(
        self,
        sink: CallSink | None = None,
        on_call: Callable[[Call], None] | None = None,
        *,
        settings: dict[int, int] | None = None,
        reads_by_itself: bool = True,
    ) -> None:
        self.calls: list[Call] = []
        self.answers: dict[int, Answer] = {}
        self.events: list[ngh2.Event] = []
        self.output_asks = 0
        self.session = Session(sink, on_call or self.calls.append, self.note_output)
        self.client = ngh2.Connection(
            ngh2.Role.CLIENT,
            ngh2.Configuration(
                auto_window_update=reads_by_itself, max_send_header_block_length=1 << 20
            ),
        )
        self.client.initiate_connection(settings or {})

    def note_output(self) -> None:
        self.output_asks += 1

    def send(self, body: bytes = b"", headers: Headers | None = None, *, end: bool = True) -> int:
        """Start a stream and return its id."""
        headers = request_headers() if headers is None else headers
        if end and not body:
            stream_id = self.client.send_request(headers, end_stream=True)
        else:
            stream_id = self.client.send_request(headers)
            if body:
                self.client.send_data(stream_id, body, end_stream=end)
        self.answers[stream_id] = Answer()
        return stream_id

    def exchange(self, bytes_max: int = 1 << 20) -> None:
        """Carry bytes both ways until neither side has more to say."""
        moved = True
        while moved:
            moved = False
            while sent := self.client.data_to_send():
                self.session.receive(sent)
                moved = True
            while self.client.want_read and (output := self.session.output(bytes_max)):
                self.client.receive_data(output)
                moved = True
            self.note_events()

    def note_events(self) -> None:
        for event in self.client.events():
            self.events.append(event)
            match event:
                case ngh2.ResponseReceived(stream_id, headers):
                    self.answers[stream_id].headers.update(headers)
                case ngh2.DataReceived(stream_id, data):
                    self.answers[stream_id].body += data
                case ngh2.TrailersReceived(stream_id, headers):
                    self.answers[stream_id].trailers.update(headers)
                case ngh2.StreamReset(stream_id, error_code):
                    self.answers[stream_id].reset_code = error_code
                case ngh2.StreamClosed(stream_id):
                    self.answers[stream_id].closed = True

    def ask(self, body: bytes = b"", headers: Headers | None = None) -> Answer:
        """Send one whole request and return its answer."""
        stream_id = self.send(body, headers)
        self.exchange()
        return self.answers[stream_id]


@contextmanager
def peer(*arguments: object, **options: object) -> Iterator[Peer]:
    made = Peer(*arguments, **options)  # type: ignore[arg-type]
    try:
        yield made
    finally:
        made.session.close()
