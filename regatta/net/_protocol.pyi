import asyncio
from collections.abc import Callable
from typing import Self, final

from aiohttp.web_protocol import RequestHandler

from regatta.http2 import Call
from regatta.http2 import CallSink
from regatta.net.listener import Listener

@final
class Connection(asyncio.BufferedProtocol):
    """One accepted connection; HTTP/2 or HTTP/1.1 by ALPN or the first bytes."""

    def __new__(
        cls,
        loop: asyncio.AbstractEventLoop,
        listener: Listener,
        sink: CallSink | None,
        connect: Callable[[str], Callable[[Call], None]],
        make_http1: Callable[[], RequestHandler],
    ) -> Self: ...
    @property
    def stream_count(self) -> int:
        """The HTTP/2 streams that are open; 0 for HTTP/1.1."""
    def start_drain(self) -> None:
        """Take no more requests; close once those in flight are answered."""
    def settle(self, task: object = None) -> None:
        """Tell that all is answered; what is left is to say good-bye."""
    def abort(self) -> None:
        """Close at once; what was not written is lost."""
    def expect_hello(self) -> None:
        """Close at once if the peer has not even begun to speak."""
    def flush(self) -> None:
        """Write what is due."""
    def flush_soon(self) -> None:
        """Have flush() called in the event loop's next turn."""
