from collections.abc import Callable, Sequence
from typing import Self, final

from typing_extensions import Buffer

from regatta.http2._sink import CallSink

@final
class Call:
    """One stream that Python answers. Once it is cancelled, answering it does nothing."""

    path: bytes
    method: bytes
    is_grpc: bool
    headers: list[tuple[bytes, bytes]]
    """Without pseudo headers; lower-case names, in the order in which they came."""
    timeout_ns: int | None
    """From grpc-timeout; always None for plain HTTP."""
    listener: Callable[[], None] | None
    """Called when a message, the end or a cancellation has come, or writable may be True."""

    @property
    def ended(self) -> bool:
        """Whether the request is complete."""
    @property
    def cancelled(self) -> bool:
        """Whether the peer reset the call or is gone, or the session answered an error itself."""
    @property
    def writable(self) -> bool:
        """Whether a large piece of the answer may be built now: the last one has gone out."""
    def next_message(self) -> bytes | None:
        """Take the next complete gRPC message; None if there is none yet."""
    def take_body(self) -> bytes:
        """Take the whole body of a plain HTTP request, once it has ended."""
    def send_message(self, message: bytes) -> None:
        """Answer one gRPC message; the headers go first by themselves."""
    def finish(
        self, code: int = 0, message: str = "", trailers: Sequence[tuple[bytes, bytes]] = ()
    ) -> None:
        """End a gRPC answer. *message* is any text; names in *trailers* are lower-case.

        Raises ValueError for more than 60 trailers.
        """
    def respond(self, status: int, headers: Sequence[tuple[bytes, bytes]], body: bytes) -> None:
        """Give the whole answer to a plain HTTP request; names in *headers* are lower-case.

        Raises ValueError for more than 60 headers.
        """

@final
class Session:
    """One HTTP/2 connection, server side; no socket and no clock in it.

    *on_call* gets every call that *sink* did not take, from inside receive() or output().
    *on_output* is called when output came up outside these two, once until the next output().
    close() must be called in the end, or calls in flight stay alive.
    """

    call_count: int
    """Streams in flight."""

    def __new__(
        cls,
        sink: CallSink | None,
        on_call: Callable[[Call], None],
        on_output: Callable[[], None],
    ) -> Self: ...
    def receive(self, data: Buffer) -> None:
        """Take in what the peer sent; afterwards output() may have something."""
    def output(self, bytes_max: int) -> bytes:
        """Return what to write next, some *bytes_max* bytes; b"" when there is nothing now."""
    @property
    def reading_paused(self) -> bool:
        """Whether so much output is outstanding that the peer should not be read from."""
    @property
    def finished(self) -> bool:
        """Whether there is nothing more to read or write: the transport can be closed."""
    def start_drain(self) -> None:
        """Ask the peer to make no more calls here (GOAWAY); calls in flight go on."""
    def end_drain(self) -> None:
        """Take no more calls after start_drain(), also if the peer has not answered it yet.

        What the peer sent meanwhile is dropped, and the GOAWAY tells it so: it may try elsewhere.
        """
    def close(self) -> None:
        """The transport is gone: cancel all calls and free everything."""
