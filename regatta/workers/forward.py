"""What a reader process can't answer goes to the node, over a Unix socket, and comes back.

gRPC goes by the grpc library, byte for byte, whatever the method; REST by aiohttp. Both are slower
than our own reads: what comes this way is writes, large ranges and the like.
"""

import asyncio
import base64
import binascii
import logging
import re
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import aiohttp
import grpc
from yarl import URL

from regatta.api.answers import send
from regatta.api.answers import text_of
from regatta.api.answers import why_unknown
from regatta.errors import Code
from regatta.errors import RegattaError
from regatta.http2 import Call

Response = tuple[int, list[tuple[str, str]], bytes]

log = logging.getLogger("server.worker")

# Those of the connection itself: each side makes its own.
HOP = frozenset({"connection", "content-length", "date", "host", "keep-alive", "server", "te"}) | {
    "transfer-encoding",
    "upgrade",
}
# What the grpc library sets by itself, or what is settled between the client and us.
NOT_METADATA = HOP | {"content-type", "user-agent"}
METADATA_NAME = re.compile(r"[0-9a-z_.-]+")
METADATA_VALUE = re.compile(rb"[ -~]*")
CHANNEL_OPTIONS = (
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.enable_retries", 0),
    # The node may need a moment; when it is gone, so are we.
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 500),
)
no_node = "the node does not answer: the write may still take effect"


class Forwarder:
    """A reader process's way to its node."""

    def __init__(self, socket_path: Path, methods: Collection[bytes]) -> None:
        """*socket_path* is where the node listens, *methods* are the gRPC paths that it serves.

        To be made while the event loop runs.
        """
        self._methods = methods
        self._socket_path = socket_path
        self._tasks: set[asyncio.Task[None]] = set()

    # Both are made when there is something to hand on: gRPC's threads wake up now and then.

    @cached_property
    def _channel(self) -> grpc.aio.Channel:
        return grpc.aio.insecure_channel(f"unix:{self._socket_path}", options=CHANNEL_OPTIONS)

    @cached_property
    def _session(self) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            connector=aiohttp.UnixConnector(str(self._socket_path), limit=0),
            timeout=aiohttp.ClientTimeout(total=None),
            auto_decompress=False,
        )

    async def close(self) -> None:
        """End every call in flight."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for made in ("_session", "_channel"):
            if made in self.__dict__:
                await self.__dict__[made].close()

    def dispatch(self, call: Call) -> None:
        """Have the node answer *call*."""
        if call.is_grpc and call.path not in self._methods:
            call.finish(Code.UNIMPLEMENTED, why_unknown(call.path, self._methods))
            return
        work = self._grpc if call.is_grpc else self._http
        task = asyncio.get_running_loop().create_task(Forwarded(call).run(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def rest(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes
    ) -> Response:
        """Have the node answer an HTTP request."""
        kept = {name: value for name, value in headers.items() if name.lower() not in HOP}
        url = URL(f"http://node{path}", encoded=True)
        try:
            async with self._session.request(
                method, url, headers=kept, data=body or None, allow_redirects=False
            ) as answer:
                found = [pair for pair in answer.headers.items() if pair[0].lower() not in HOP]
                return answer.status, found, await answer.read()
        except aiohttp.ClientError as error:
            log.warning("%s was not answered: %s", path, error)
            return 503, [("Content-Type", "text/plain; charset=utf-8")], f"{no_node}\n".encode()

    async def _grpc(self, forwarded: "Forwarded") -> None:
        call = forwarded.call
        asked: Any = self._channel.stream_stream(call.path.decode())(
            forwarded.requests(),  # type: ignore[arg-type]
            timeout=None if call.timeout_ns is None else call.timeout_ns / 1e9,
            metadata=metadata_of(call.headers),
        )
        try:
            async for message in asked:
                await forwarded.until_writable()
                await send(call, message)
        except grpc.aio.AioRpcError:
            pass  # it is told below
        finally:
            # Also when our client went away in the middle.
            asked.cancel()
        if forwarded.fault is not None:
            call.finish(forwarded.fault.code, str(forwarded.fault))
            return
        trailers = [
            (key.encode(), value if isinstance(value, bytes) else value.encode())
            for key, value in await asked.trailing_metadata() or ()
        ]
        call.finish((await asked.code()).value[0], await asked.details() or "", trailers)

    async def _http(self, forwarded: "Forwarded") -> None:
        call = forwarded.call
        await forwarded.until(lambda: call.ended)
        headers = {text_of(name): text_of(value) for name, value in call.headers}
        status, found, body = await self.rest(
            text_of(call.method), text_of(call.path), headers, call.take_body()
        )
        call.respond(status, [(name.lower().encode(), text.encode()) for name, text in found], body)


class Forwarded:
    """One call under way, and what it waits for."""

    def __init__(self, call: Call) -> None:
        self.call = call
        self.fault: RegattaError | None = None  # of the request
        self._changes: set[asyncio.Future[None]] = set()

    async def run(self, work: Callable[["Forwarded"], Any]) -> None:
        """Do *work*; it is cancelled when the client wants no answer any more."""
        task = asyncio.current_task()
        assert task is not None

        def on_change() -> None:
            if self.call.cancelled:
                self.call.listener = None
                task.cancel()
            for change in self._changes:
                if not change.done():
                    change.set_result(None)

        self.call.listener = on_change
        try:
            await work(self)
        except asyncio.CancelledError:
            self._refuse(Code.UNAVAILABLE, 503, "the server is stopping")
        except Exception:
            log.exception("handing on %s failed", text_of(self.call.path))
            self._refuse(Code.INTERNAL, 500, "internal error")
        finally:
            self.call.listener = None

    def _refuse(self, code: Code, status: int, text: str) -> None:
        if self.call.is_grpc:
            self.call.finish(code, text)
        else:
            self.call.respond(status, [(b"content-type", b"text/plain")], f"{text}\n".encode())

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until *condition* is true, looking whenever anything about the call has changed."""
        while not condition():
            change = asyncio.get_running_loop().create_future()
            self._changes.add(change)
            try:
                await change
            finally:
                self._changes.discard(change)

    async def until_writable(self) -> None:
        """Wait until the client's side takes another message."""
        await self.until(lambda: self.call.writable)

    async def requests(self) -> AsyncIterator[bytes]:
        """Yield the messages of the request."""
        call = self.call
        message: bytes | None = None

        def has_come() -> bool:
            nonlocal message
            message = call.next_message()
            return message is not None or call.ended

        try:
            while True:
                await self.until(has_come)
                if message is None:
                    return
                yield message
        except RegattaError as error:
            self.fault = error


def metadata_of(headers: list[tuple[bytes, bytes]]) -> list[tuple[str, str | bytes]]:
    """Return the headers that are the client's own, and that gRPC lets pass."""
    found: list[tuple[str, str | bytes]] = []
    for raw_name, raw_value in headers:
        name = text_of(raw_name)
        if name in NOT_METADATA or name.startswith("grpc-") or not METADATA_NAME.fullmatch(name):
            continue
        if not name.endswith("-bin"):
            if METADATA_VALUE.fullmatch(raw_value):
                found.append((name, text_of(raw_value)))
            continue
        try:
            found.append((name, base64.b64decode(raw_value + b"=" * (-len(raw_value) % 4))))
        except binascii.Error:
            continue  # as nobody can tell what it should have been
    return found
