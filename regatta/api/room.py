"""Bounds the answers that are being made for one connection at the same time."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Protocol

from regatta import limits
from regatta.errors import ResourceExhausted

# Requests that wait for room are kept in memory; beyond this many bytes of them more are refused.
waiting_bytes_max = 64 * limits.MIB


class Output(Protocol):
    """Where an answer goes."""

    @property
    def writable(self) -> bool:
        """Tell whether the session wants this call's next piece now."""

    async def until_writable(self) -> None:
        """Wait until *writable* is true."""


class Room:
    """Space for answers in the making, in bytes, given out first come, first served.

    An answer leaves the room when it is handed to the session, which counts it from then on.
    So a connection costs at most *bytes_max*, what its session lets pile up, and the requests
    that wait (also bounded), however many calls it carries.
    """

    def __init__(self, bytes_max: int = limits.txn_answer_bytes_max) -> None:
        self._bytes_max = bytes_max
        self._bytes_taken = 0
        self._bytes_waiting = 0
        self._queue: deque[tuple[int, asyncio.Future[None]]] = deque()

    @asynccontextmanager
    async def place(
        self, answer_bytes_max: int, request_bytes: int, output: Output
    ) -> AsyncIterator[None]:
        """Hold room for one answer of at most *answer_bytes_max* while the body makes it.

        The body starts only when *output* is writable. The caller keeps *request_bytes* alive
        meanwhile. Raises ResourceExhausted if too many bytes wait on this connection already.
        """
        taken = min(answer_bytes_max, self._bytes_max)
        if self._bytes_waiting and self._bytes_waiting + request_bytes > waiting_bytes_max:
            raise ResourceExhausted("too many requests are waiting on this connection")
        self._bytes_waiting += request_bytes
        try:
            await self._enter(taken)
            # Nobody waits for the client inside the room: one that does not read this call's
            # answers must not block its other calls.
            while not output.writable:
                self._leave(taken)
                await output.until_writable()
                await self._enter(taken)
        finally:
            self._bytes_waiting -= request_bytes
        try:
            yield
        finally:
            self._leave(taken)

    async def _enter(self, taken: int) -> None:
        if taken == 0:
            return
        if not self._queue and self._bytes_taken + taken <= self._bytes_max:
            self._bytes_taken += taken
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.append((taken, turn))
        try:
            await turn
        except asyncio.CancelledError:
            # Our turn may have come in the same moment: then it is given back.
            if turn.done() and not turn.cancelled():
                self._leave(taken)
            elif (taken, turn) in self._queue:
                self._queue.remove((taken, turn))
                self._admit()
            raise

    def _leave(self, taken: int) -> None:
        self._bytes_taken -= taken
        self._admit()

    def _admit(self) -> None:
        while self._queue and self._bytes_taken + self._queue[0][0] <= self._bytes_max:
            taken, turn = self._queue.popleft()
            # One may have been cancelled just now, and not know of it yet.
            if not turn.cancelled():
                self._bytes_taken += taken
                turn.set_result(None)
