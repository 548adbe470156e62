"""Brings calls to their handlers, and answers and errors back to the calls."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from google.protobuf.message import Message

from regatta import limits
from regatta.api.answers import send
from regatta.api.answers import text_of
from regatta.api.answers import why_unknown
from regatta.api.context import Context
from regatta.api.deadlines import Wheel
from regatta.api.room import Room
from regatta.api.service import Method
from regatta.errors import Code
from regatta.errors import DeadlineExceeded
from regatta.errors import RegattaError
from regatta.errors import ResourceExhausted
from regatta.errors import Unimplemented

if TYPE_CHECKING:
    from regatta.api.rest import Rest
    from regatta.http2 import Call

log = logging.getLogger("server.api")

stopping = "the server is stopping"


class Router:
    """Every method that is served, and every call in flight."""

    def __init__(self, methods: Mapping[str, Method], wheel: Wheel, rest: "Rest") -> None:
        self.methods = {path.encode(): method for path, method in methods.items()}
        self.wheel = wheel
        self.rest = rest
        self.stopped = False
        self.exchanges: set[Exchange] = set()

    def connection(self, peer: str = "") -> "Connection":
        """Return the router's side of one new HTTP/2 connection from address *peer*."""
        return Connection(self, peer)

    def end_endless_calls(self) -> None:
        """End the calls without a time limit, for which a graceful stop can't wait."""
        for exchange in list(self.exchanges):
            if exchange.endless:
                exchange.task.cancel()

    async def close(self) -> None:
        """End every call in flight, and refuse what comes yet. Afterwards no task is left."""
        self.stopped = True
        tasks = [exchange.task for exchange in self.exchanges]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class Connection:
    """The calls of one HTTP/2 connection; `dispatch` is what its session calls."""

    def __init__(self, router: Router, peer: str) -> None:
        self.router = router
        self.peer = peer
        self.room = Room()

    def dispatch(self, call: "Call") -> None:
        """Answer *call*: at once if there is no such method, else in a task of its own."""
        if not call.is_grpc:
            RestExchange(self, call).start()
            return
        method = self.router.methods.get(call.path)
        if method is None:
            call.finish(Code.UNIMPLEMENTED, why_unknown(call.path, self.router.methods))
        else:
            GrpcExchange(self, call, method).start()


class Exchange:
    """One call and the task that answers it."""

    endless = False

    def __init__(self, connection: Connection, call: "Call") -> None:
        self.connection = connection
        self.call = call
        self._changed: asyncio.Future[None] | None = None

    def start(self) -> None:
        """Begin to answer."""
        router = self.connection.router
        if router.stopped:
            self.refuse(Code.UNAVAILABLE, stopping)
            return
        self.task = asyncio.get_running_loop().create_task(self._run())
        router.exchanges.add(self)
        self.task.add_done_callback(self._done)
        self.call.listener = self._on_change

    async def answer(self) -> None:
        """Do all that the call asks for."""
        raise NotImplementedError

    def refuse(self, code: Code, text: str) -> None:
        """Answer with an error."""
        raise NotImplementedError

    def place(self, answer_bytes_max: int, request_bytes: int) -> AbstractAsyncContextManager[None]:
        """Hold room on this connection for one large answer; see Room.place."""
        return self.connection.room.place(answer_bytes_max, request_bytes, self)

    @property
    def writable(self) -> bool:
        """Tell whether the session wants this call's next piece now."""
        return self.call.writable

    async def until_writable(self) -> None:
        """Wait until *writable* is true."""
        while not self.call.writable:
            await self._change()

    async def _change(self) -> None:
        """Wait until anything about the call is different. One waiter at a time."""
        self._changed = asyncio.get_running_loop().create_future()
        await self._changed

    def _on_change(self) -> None:
        if self.call.cancelled:
            self.call.listener = None  # one cancellation is enough
            self.task.cancel()
        elif self._changed is not None and not self._changed.done():
            self._changed.set_result(None)

    async def _run(self) -> None:
        try:
            await self.answer()
        except RegattaError as error:
            if error.code is Code.DATA_LOSS:
                log.error("DATA_LOSS in %s: %s", text_of(self.call.path), error)
            self.refuse(error.code, str(error))
        except Exception:
            log.exception("handling a call failed: %s", text_of(self.call.path))
            self.refuse(Code.INTERNAL, "internal error")

    def _done(self, task: "asyncio.Task[None]") -> None:
        self.connection.router.exchanges.discard(self)
        self.call.listener = None
        # A cancelled task keeps its frames, and with them us and snapshots: no cycle must be left.
        del self.task
        if task.cancelled() and self.call.cancelled:
            self.abandoned()
        elif task.cancelled():
            self.refuse(Code.UNAVAILABLE, self.stopped_text())

    def abandoned(self) -> None:
        """Note that the client doesn't want the answer any more."""

    def stopped_text(self) -> str:
        """Return what a client reads whose call is ended by a stop."""
        return stopping


class GrpcExchange(Exchange):
    """One gRPC call of any of the four kinds."""

    def __init__(self, connection: Connection, call: "Call", method: Method) -> None:
        super().__init__(connection, call)
        self.method = method
        # The event loop's own clock stands still while it works.
        self.begun_s = time.monotonic()
        method.counts.started += 1
        self.endless = method.policy.timeout_s is None
        asked_s = None if call.timeout_ns is None else call.timeout_ns / 1e9
        self.timeout_s = method.policy.timeout_s if asked_s is None else asked_s
        # A stream's default timeout is for its first answer only.
        self.timeout_is_for_opening = asked_s is None and method.streams_answers
        deadline_s = None
        if self.timeout_s is not None and not self.timeout_is_for_opening:
            deadline_s = asyncio.get_running_loop().time() + self.timeout_s
        self.context = Context(call.headers, connection.peer, deadline_s)

    async def answer(self) -> None:
        """Read the request or requests, run the handler, send what it returns."""
        if self.method.streams_answers:
            await self._stream()
        else:
            async with self.connection.router.wheel.limit(self.timeout_s, self.context.expired):
                await self._answer_once()
        self._end(Code.OK)

    def refuse(self, code: Code, text: str) -> None:
        """End the call with *code*."""
        self._end(code, text)

    def abandoned(self) -> None:
        """Count the call as cancelled."""
        self._end(Code.CANCELLED)

    def _end(self, code: Code, text: str = "") -> None:
        # A call that is cancelled is not answered by this, only counted.
        self.call.finish(code, text)
        self.method.counts.finish(code, time.monotonic() - self.begun_s)

    def stopped_text(self) -> str:
        """Return what a client reads whose call is ended by a stop."""
        return f"{stopping}: the write may still take effect" if self.context.proposed else stopping

    async def _answer_once(self) -> None:
        request, room_bytes, request_bytes = await self._request()
        if room_bytes == 0:
            await self._send(await self.method.handler(request, self.context))
            return
        async with self.place(room_bytes, request_bytes):
            await self._send(await self.method.handler(request, self.context))

    async def _stream(self) -> None:
        policy, wheel = self.method.policy, self.connection.router.wheel
        async with (
            wheel.limit(policy.total_s_max, _snapshot_expired),
            wheel.limit(self.timeout_s, self.context.expired) as opening,
        ):
            request, room_bytes, request_bytes = await self._request()
            async with aclosing(self.method.handler(request, self.context)) as answers:
                while True:
                    async with (
                        wheel.limit(policy.idle_s_max, _snapshot_expired),
                        self.place(room_bytes, request_bytes),
                    ):
                        answer = await anext(answers, None)
                        if answer is None:
                            return
                        await self._send(answer)
                    if self.timeout_is_for_opening:
                        opening.lift()

    async def _request(self) -> tuple[Any, int, int]:
        """Return what the handler is given, its answer's largest size, and its own size."""
        if self.method.streams_requests:
            return self._requests(), 0, 0
        first = await self._next_message()
        if first is None or await self._next_message() is not None:
            found = "none" if first is None else "more"
            raise Unimplemented(f"{self.method.path} takes one request message, got {found}")
        request = self.method.decode(first)
        return request, self.method.policy.answer_bytes_max(request), len(first)

    async def _requests(self) -> AsyncIterator[Message]:
        while (message := await self._next_message()) is not None:
            yield self.method.decode(message)

    async def _next_message(self) -> bytes | None:
        """Return the next message of the request side, or None at its end."""
        while (message := self.call.next_message()) is None and not self.call.ended:
            await self._change()
        if message is not None:
            self.method.counts.received += 1
        return message

    async def _send(self, answer: Message | bytes) -> None:
        message = answer if isinstance(answer, bytes) else answer.SerializeToString()
        await send(self.call, message)
        self.method.counts.sent += 1


class RestExchange(Exchange):
    """One plain HTTP request."""

    async def answer(self) -> None:
        """Read the body, let the REST side answer it."""
        router = self.connection.router
        async with router.wheel.limit(limits.write_timeout_s, _too_slow):
            while not self.call.ended:
                await self._change()
        rest = router.rest
        status, headers, body = await rest.handle(
            text_of(self.call.method),
            text_of(self.call.path),
            {text_of(name): text_of(value) for name, value in self.call.headers},
            self.call.take_body(),
            peer=self.connection.peer,
            place=self.place,
        )
        self._respond(status, headers, body)

    def refuse(self, code: Code, text: str) -> None:
        """Answer with the REST side's form of an error."""
        rest = self.connection.router.rest
        path = text_of(self.call.path)
        self._respond(*rest.counted(path, rest.error(code, text)))

    def _respond(self, status: int, headers: Iterable[tuple[str, str]], body: bytes) -> None:
        pairs = [(name.lower().encode(), value.encode()) for name, value in headers]
        self.call.respond(status, pairs, body)


def _too_slow() -> RegattaError:
    return DeadlineExceeded("the request body did not arrive in time")


def _snapshot_expired() -> RegattaError:
    return ResourceExhausted("snapshot expired")
