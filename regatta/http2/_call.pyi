from collections.abc import Callable, Sequence
from typing import final

from typing_extensions import disjoint_base

@disjoint_base
class Owner:
    """What a call needs of its session."""

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
    encoding: str
    """In which the request's messages may come and the answers may go: "identity" or another."""
    listener: Callable[[], None] | None
    """Called when a message, the end or a cancellation has come, or writable may be True."""

    @property
    def ended(self) -> bool:
        """Whether the request is complete, and nothing of it waits to be unpacked."""
    @property
    def cancelled(self) -> bool:
        """Whether the peer reset the call or is gone, or the session answered an error itself."""
    @property
    def writable(self) -> bool:
        """Whether a large piece of the answer may be built now: the last one has gone out."""
    def next_message(self) -> bytes | None:
        """Take the next complete gRPC message, unpacked; None if there is none yet.

        Raises ResourceExhausted for one that is too large without its encoding, Internal for one
        that is malformed in it.
        """
    def take_body(self) -> bytes:
        """Take the whole body of a plain HTTP request, once it has ended."""
    def send_message(self, message: bytes, *, compressed: bool = False) -> None:
        """Answer one gRPC message; the headers go first by themselves.

        One of 4 KiB and more is compressed on the way if that is worth while, up to 512 KiB in a
        turn of the event loop. For long ones the caller may give the outcome of compress(), made in
        a thread, and say so.
        """
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
