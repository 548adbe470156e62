from collections.abc import Callable
from typing import Self, final

from typing_extensions import Buffer

from regatta.http2._call import Call
from regatta.http2._call import Owner
from regatta.http2._sink import CallSink

@final
class Session(Owner):
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
