"""An HTTP/2 client that can do what a well-behaved one doesn't: stall, vanish, send anything."""

import asyncio
import ssl
from collections.abc import Sequence

import ngh2

Headers = Sequence[tuple[bytes, bytes]]

WINDOW_BYTES = 1 << 20


class Answer:
    """What has come back on one stream."""

    def __init__(self, stream: int) -> None:
        self.stream = stream
        self.headers: dict[bytes, bytes] = {}
        self.body = bytearray()
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def status(self) -> int:
        """The gRPC status code; 0 if there is none, as in answers to REST."""
        return int(self.headers.get(b"grpc-status", b"0"))

    @property
    def messages(self) -> list[bytes]:
        """The gRPC messages."""
        found, data = [], bytes(self.body)
        while data:
            size = 5 + int.from_bytes(data[1:5], "big")
            found.append(data[5:size])
            data = data[size:]
        return found


class Client(asyncio.Protocol):
    """One connection. A *deaf* one opens no window after the first, and never reads."""

    def __init__(self, deaf: bool = False) -> None:
        self.deaf = deaf
        self.answers: dict[int, Answer] = {}
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.session = ngh2.Connection(
            ngh2.Role.CLIENT, ngh2.Configuration(auto_window_update=not deaf)
        )

    @classmethod
    async def connect(cls, port: int, tls: ssl.SSLContext, *, deaf: bool = False) -> "Client":
        """Open a connection to 127.0.0.1."""
        loop = asyncio.get_running_loop()
        _, client = await loop.create_connection(
            lambda: cls(deaf), "127.0.0.1", port, ssl=tls, server_hostname="localhost"
        )
        return client

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin the session; called by the loop."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.session.initiate_connection({4: 65_535 if self.deaf else WINDOW_BYTES})
        if not self.deaf:
            self.session.set_local_window_size(8 * WINDOW_BYTES)
        self.flush()
        if self.deaf:
            transport.pause_reading()

    def data_received(self, data: bytes) -> None:
        """Take in answers; called by the loop."""
        if not self.session.want_read:
            return  # we have said good-bye
        self.session.receive_data(data)
        for event in self.session.events():
            match event:
                case ngh2.ResponseReceived(stream, headers) | ngh2.TrailersReceived(
                    stream, headers
                ):
                    self.answers[stream].headers.update(headers)
                case ngh2.DataReceived(stream, body):
                    self.answers[stream].body += body
                case ngh2.StreamClosed(stream):
                    answer = self.answers.pop(stream)
                    if not answer.ended.done():
                        answer.ended.set_result(None)
        self.flush()

    def connection_lost(self, error: Exception | None) -> None:
        """Tell all who wait; called by the loop."""
        for answer in self.answers.values():
            if not answer.ended.done():
                answer.ended.set_exception(ConnectionError("the connection is gone"))
                answer.ended.exception()  # not everyone asks
        if not self.closed.done():
            self.closed.set_result(None)

    def flush(self) -> None:
        """Write what the session has to say."""
        while data := self.session.data_to_send():
            self.transport.write(data)

    def request(self, path: str, body: bytes, headers: Headers, *, end: bool = True) -> Answer:
        """Begin a request; flush() sends it."""
        pseudo = ((b":method", b"POST"), (b":scheme", b"https"), (b":authority", b"localhost"))
        stream: int = self.session.send_request([*pseudo, (b":path", path.encode()), *headers])
        self.session.send_data(stream, body, end_stream=end)
        self.answers[stream] = Answer(stream)
        return self.answers[stream]

    def grpc(self, path: str, message: bytes, *, end: bool = True) -> Answer:
        """Begin a gRPC call."""
        body = b"\0" + len(message).to_bytes(4, "big") + message
        headers = ((b"content-type", b"application/grpc"), (b"te", b"trailers"))
        return self.request(path, body, headers, end=end)

    async def finish(self, *answers: Answer) -> None:
        """Send all that was begun and wait until the answers are complete."""
        self.flush()
        await asyncio.gather(*[answer.ended for answer in answers])

    def cancel(self, answer: Answer) -> None:
        """Reset a stream, if it is still there."""
        if answer.stream in self.answers:
            self.session.reset_stream(answer.stream)
            self.flush()

    async def close(self) -> None:
        """Close the connection in order."""
        self.session.terminate_connection()
        self.flush()
        self.transport.resume_reading()
        self.transport.close()
        await self.closed

    def vanish(self) -> None:
        """Be gone without a word."""
        self.transport.abort()
