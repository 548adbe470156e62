from typing import Self

from typing_extensions import disjoint_base

from regatta.measure import Histogram
from regatta.store._env import Environment

@disjoint_base
class TurnWriter:
    """Base of the two storage threads; subclasses say what an item does to a transaction.

    *wake_descriptor* is an eventfd that is written after each turn and on failure.
    """

    def __new__(cls, environment: Environment, wake_descriptor: int) -> Self: ...
    @property
    def environment(self) -> Environment: ...
    @property
    def queued(self) -> int: ...
    @property
    def done(self) -> int: ...
    @property
    def turns(self) -> int: ...
    @property
    def queued_bytes(self) -> int:
        """The memory that items took while they waited, of all that were ever put in."""
    @property
    def done_bytes(self) -> int:
        """That of the committed ones."""
    @property
    def turn_time(self) -> Histogram:
        """How long turns took to write, commit and sync."""
    @property
    def committed(self) -> int:
        """How many of the items put in are committed, and synced where the environment syncs."""
    @property
    def failure(self) -> str | None:
        """Why the thread has stopped for good, or None."""
    @property
    def stalled(self) -> str | None:
        """Why the present turn is being tried again, or None."""
    def flush(self) -> None:
        """Let the thread begin on what was put in. Without it, items wait for the next flush."""
    def close(self) -> None:
        """Let the thread finish what was put in, and end."""
    def run(self) -> None:
        """Be the storage thread, until close() or a failure. Never takes the GIL between turns."""
