"""Ends what takes too long, with one timer for the process however many calls are in flight."""

import asyncio
from collections.abc import Callable
from types import TracebackType

tick_s = 0.010
slot_count = 512


class Wheel:
    """A ring of slots, one a tick: a limit lies in the slot of the tick in which it runs out.

    Limits further away than one revolution stay in their slot until their revolution comes.
    While nothing is limited there is no timer at all.
    """

    def __init__(self) -> None:
        self._slots: list[set[Limit]] = [set() for _ in range(slot_count)]
        self._limit_count = 0
        # Invariant: every limit that runs out at or before this tick has been ended.
        self._tick_done = 0
        self._timer: asyncio.TimerHandle | None = None

    @property
    def asleep(self) -> bool:
        """Tell whether the wheel costs nothing at the moment."""
        return self._timer is None

    def limit(self, seconds: float | None, error: Callable[[], Exception]) -> "Limit":
        """Return a context that raises *error()* in place of its body's end after *seconds*.

        None means no limit. It may end one tick late, and never early.
        """
        return Limit(self, seconds, error)

    def add(self, limit: "Limit", seconds: float) -> int:
        """Put *limit* in and return the tick in which it runs out."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        if self._timer is None:
            self._tick_done = int(now / tick_s)
            self._timer = loop.call_later(tick_s, self._turn)
        tick = int((now + seconds) / tick_s) + 1
        self._slots[tick % slot_count].add(limit)
        self._limit_count += 1
        return tick

    def remove(self, limit: "Limit", tick: int) -> None:
        """Take out *limit*, which lies at *tick*."""
        self._slots[tick % slot_count].remove(limit)
        self._limit_count -= 1

    def _turn(self) -> None:
        loop = asyncio.get_running_loop()
        tick_now = int(loop.time() / tick_s)
        # After a long stall one revolution still sees every slot.
        for tick in range(self._tick_done + 1, min(tick_now, self._tick_done + slot_count) + 1):
            due = [limit for limit in self._slots[tick % slot_count] if limit.tick <= tick_now]
            for limit in due:
                limit.expire()
        self._tick_done = tick_now
        self._timer = loop.call_later(tick_s, self._turn) if self._limit_count else None


class Limit:
    """An asynchronous context whose body is cancelled, and an error raised, when time is up."""

    __slots__ = ("_cancelling", "_error", "_expired", "_seconds", "_task", "_wheel", "tick")

    def __init__(self, wheel: Wheel, seconds: float | None, error: Callable[[], Exception]) -> None:
        self._wheel = wheel
        self._seconds = seconds
        self._error = error
        self._expired = False
        self._task: asyncio.Task[object] | None = None
        self.tick = 0  # in which it runs out; 0 while it lies in no slot

    async def __aenter__(self) -> "Limit":
        if self._seconds is None:
            return self
        if self._seconds <= 0:
            raise self._error()
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        # Others may cancel the task as well, and their cancellation must not be swallowed.
        self._cancelling = task.cancelling()
        self.tick = self._wheel.add(self, self._seconds)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.lift()
        # Not kept: a cancelled task keeps its frames, and with them this limit.
        task, self._task = self._task, None
        if (
            self._expired
            and task is not None
            and task.uncancel() <= self._cancelling
            and kind is asyncio.CancelledError
        ):
            raise self._error() from None

    def lift(self) -> None:
        """Let the rest of the body take as long as it wants."""
        if self.tick:
            self._wheel.remove(self, self.tick)
            self.tick = 0

    def expire(self) -> None:
        """End the body; called by the wheel."""
        self.lift()
        self._expired = True
        assert self._task is not None
        self._task.cancel()
