"""A client that speaks to a router through a real session, with the bytes passed in memory."""

import asyncio
from urllib.parse import unquote

import ngh2

from regatta.api.deadlines import Wheel
from regatta.api.rest import Rest
from regatta.api.router import Router
from regatta.api.service import Service
from regatta.api.service import methods_of
from regatta.http2 import Session


def router_of(*services: Service) -> Router:
    """Return a router, with REST, over *services*."""
    methods, wheel = methods_of(services), Wheel()
    return Router(methods, wheel, Rest(methods, wheel))


class Answer:
    """What has come back on one stream so far."""

    def __init__(self, peer: "Peer", stream_id: int) -> None:
        self.peer, self.stream_id = peer, stream_id
        self.headers: dict[str, str] = {}
        self.data = bytearray()
        self.reset_code: int | None = None
        self._ended = asyncio.get_running_loop().create_future()

    async def end(self) -> "Answer":
        """Wait until the stream is closed."""
        await self._ended
        return self

    @property
    def ended(self) -> bool:
        """Tell whether the stream is closed."""
        return self._ended.done()

    @property
    def status(self) -> tuple[int, str]:
        """Return gRPC code and text."""
        return int(self.headers["grpc-status"]), unquote(self.headers.get("grpc-message", ""))

    @property
    def messages(self) -> list[bytes]:
        """Return the complete messages."""
        found, data = [], bytes(self.data)
        while len(data) >= 5 and len(data) >= 5 + (size := int.from_bytes(data[1:5], "big")):
            found.append(data[5 : 5 + size])
            data = data[5 + size :]
        return found

    def send(self, *messages: bytes, end: bool = False) -> None:
        """Send further messages."""
        data = b"".join(b"\0" + len(message).to_bytes(4, "big") + message for message in messages)
        self.peer.client.send_data(self.stream_id, data, end_stream=end)
        self.peer.pump()

    def read(self) -> None:
        """Give back the window for all that was received."""
        self.peer.client.acknowledge_received_data(self.unread_bytes, self.stream_id)
        self.unread_bytes = 0
        self.peer.pump()

    def reset(self) -> None:
        """Cancel the call."""
        self.peer.client.reset_stream(self.stream_id)
        self.peer.pump()

    unread_bytes = 0


class Peer:
    """One connection. With *window_bytes* the client takes in no more than it is told to."""

    def __init__(self, router: Router, window_bytes: int | None = None) -> None:
        self.answers: dict[int, Answer] = {}
        self.session = Session(None, router.connection("the peer").dispatch, self._output_due)
        self.client = ngh2.Connection(
            ngh2.Role.CLIENT,
            ngh2.Configuration(
                auto_window_update=window_bytes is None, peer_max_concurrent_streams=1000
            ),
        )
        self.client.initiate_connection({4: 2**24 if window_bytes is None else window_bytes})
        self.client.set_local_window_size(2**30)
        self.pump()

    def call(self, path: str, *messages: bytes, end: bool = True, headers: tuple = ()) -> Answer:
        """Begin a gRPC call with *messages*."""
        answer = self._request("POST", path, (("content-type", "application/grpc"), *headers))
        answer.send(*messages, end=end)
        return answer

    def http(
        self, method: str, path: str, body: bytes = b"", headers: tuple = (), *, end: bool = True
    ) -> Answer:
        """Send a plain HTTP request."""
        answer = self._request(method, path, headers)
        self.client.send_data(answer.stream_id, body, end_stream=end)
        self.pump()
        return answer

    def _request(self, method: str, path: str, headers: tuple) -> Answer:
        pseudo = ((":method", method), (":scheme", "https"), (":authority", "x"), (":path", path))
        encoded = [(name.encode(), value.encode()) for name, value in (*pseudo, *headers)]
        stream_id = self.client.send_request(encoded)
        self.answers[stream_id] = Answer(self, stream_id)
        return self.answers[stream_id]

    def pump(self) -> None:
        """Pass bytes both ways until neither side has any."""
        moved = True
        while moved:
            moved = False
            if data := self.client.data_to_send():
                self.session.receive(data)
                moved = True
            while data := self.session.output(1 << 16):
                self.client.receive_data(data)
                moved = True
            for event in self.client.events():
                self._take(event)

    def _output_due(self) -> None:
        asyncio.get_running_loop().call_soon(self.pump)

    def _take(self, event: ngh2.Event) -> None:
        match event:
            case ngh2.ResponseReceived(stream_id, headers) | ngh2.TrailersReceived(
                stream_id, headers
            ):
                pairs = {name.decode(): value.decode() for name, value in headers}
                self.answers[stream_id].headers |= pairs
            case ngh2.DataReceived():
                answer = self.answers[event.stream_id]
                answer.data += event.data
                answer.unread_bytes += len(event.data)
            case ngh2.StreamClosed(stream_id, error_code):
                answer = self.answers[stream_id]
                answer.reset_code = error_code
                if not answer._ended.done():
                    answer._ended.set_result(None)

    def close(self) -> None:
        """Vanish."""
        self.session.close()
