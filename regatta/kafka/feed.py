"""Batches from the consumer's thread to the event loop, and their outcomes back."""

import asyncio
import logging
from collections import deque
from functools import partial
from queue import Empty
from queue import SimpleQueue
from typing import NamedTuple

from regatta.engine import Applied
from regatta.engine import Engine
from regatta.errors import Internal
from regatta.errors import RegattaError
from regatta.errors import Unavailable
from regatta.kafka._batch import Batch

log = logging.getLogger("regatta.consumer")

# In flight, so that fetching, logging and applying overlap; the bytes are those of the commands.
# What waits for one turn of the data thread becomes the next one, and random keys want large turns;
# twice as many batches gain nothing, and what comes back at once keeps reads waiting.
batches_max = 128
bytes_max = 32 * 1024 * 1024


class Outcome(NamedTuple):
    """What became of a batch."""

    batch: Batch
    error: RegattaError | None  # None where all of it is applied


class Feed:
    """What the consumer's thread has in flight. Its methods belong to that thread."""

    def __init__(self, engine: Engine, loop: asyncio.AbstractEventLoop) -> None:
        self._engine = engine
        self._loop = loop
        self._outcomes: SimpleQueue[Outcome] = SimpleQueue()
        # These two are the loop's: batches that it has yet to propose, and the task that does.
        self._waiting: deque[Batch] = deque()
        self._proposing: asyncio.Task[None] | None = None
        self._count = 0
        self._bytes = 0

    @property
    def is_empty(self) -> bool:
        """Whether nothing is in flight."""
        return self._count == 0

    @property
    def is_full(self) -> bool:
        """Whether no more should be submitted before an outcome has been taken."""
        return self._count >= batches_max or self._bytes >= bytes_max

    def submit(self, batch: Batch) -> None:
        """Send a batch on its way."""
        self._count += 1
        self._bytes += len(batch.command)
        try:
            self._loop.call_soon_threadsafe(self._begin, batch)
        except RuntimeError:  # the loop is closed
            self._outcomes.put(Outcome(batch, Unavailable("the node has stopped")))

    def take(self, wait_s: float) -> list[Outcome]:
        """Return the outcomes that are there; if there are none, wait for the first."""
        found: list[Outcome] = []
        try:
            if wait_s > 0 and self._count:
                found.append(self._outcomes.get(timeout=wait_s))
            while True:
                found.append(self._outcomes.get_nowait())
        except Empty:
            pass
        for outcome in found:
            self._count -= 1
            self._bytes -= len(outcome.batch.command)
        return found

    # On the event loop.

    def _begin(self, batch: Batch) -> None:
        self._waiting.append(batch)
        if self._proposing is None or self._proposing.done():
            self._proposing = self._loop.create_task(self._propose())

    async def _propose(self) -> None:
        # One after the other: a batch must not overtake another while their table is being made.
        while self._waiting:
            batch = self._waiting.popleft()
            try:
                applied = await self._engine.propose_batch(batch.topic.encode(), batch.command)
            except RegattaError as error:
                self._outcomes.put(Outcome(batch, error))
            except Exception as fault:
                self._outcomes.put(Outcome(batch, error_of_fault(batch, fault)))
            else:
                applied.add_done_callback(partial(self._finish, batch))

    def _finish(self, batch: Batch, applied: asyncio.Future[Applied]) -> None:
        fault: BaseException | None = Unavailable("the node is stopping")
        if not applied.cancelled():
            fault = applied.exception()
        if fault is not None and not isinstance(fault, RegattaError):
            fault = error_of_fault(batch, fault)
        self._outcomes.put(Outcome(batch, fault))


def error_of_fault(batch: Batch, fault: BaseException) -> RegattaError:
    """Log a fault of ours, and return the error that stands for it."""
    log.error("a batch of topic %s could not be applied", batch.topic, exc_info=fault)
    return Internal(f"{type(fault).__name__}: {fault}")
