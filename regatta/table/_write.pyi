from collections import deque
from collections.abc import Callable, Iterable
from typing import Self, final

from regatta.errors import RegattaError
from regatta.http2 import CallSink
from regatta.measure import NativeCalls
from regatta.raft import Entry
from regatta.table._leaders import Leaders
from regatta.table.group import Group
from regatta.table.group import Proposal

@final
class Queue:
    """The proposals that are not answered: their number, and the bytes of their commands."""

    is_open: bool  # takes more
    count: int
    bytes: int

@final
class KeptWrite:
    """A write that came over HTTP/2, with where its answer goes.

    When the peer gives up, or the deadline comes, it goes on, and nobody hears of it.
    """

    index: int  # of its log entry, 0 before it has one
    @property
    def command(self) -> bytes:
        """The encoded Command."""
    def settle(self, code: int, failure_branch: bool, payload: bytes) -> None:
        """Answer with what applying came to: an encoded CommandResult, or an error's text."""
    def fail(self, error: RegattaError) -> None:
        """Answer with *error* unless there was an answer."""

def settle(
    waiting: deque[Proposal | KeptWrite],
    entries: list[Entry],
    results: list[tuple[int, bool, bytes]],
) -> tuple[int, int]:
    """Answer those of *waiting* that became *entries*, of which each has a result.

    Takes them out of *waiting*, and returns their number and the bytes of their commands.
    """

def expire(proposals: Iterable[Proposal | KeptWrite]) -> int:
    """Answer the kept writes that are over their deadline; return how many are not."""

@final
class WriteSink(CallSink):
    """Takes Put, DeleteRange and small Txns that answer no pairs, and answers them when applied.

    *groups* are the tables that there are, by name; those in *read_only* are not written to.
    *stir* is called after proposals were added to a group. *admit* takes room on the disk for
    commands of so many bytes together, and so many in number; if it returns False there is none.
    All that is unusual is left to the router, but for one thing: while too much waits, writes are
    refused here.
    """

    def __new__(
        cls,
        queue: Queue,
        groups: dict[bytes, Group],
        read_only: frozenset[bytes],
        stir: Callable[[Group], None],
        admit: Callable[[int, int], bool],
        replica: int,
        leaders: Leaders,
    ) -> Self: ...
    @property
    def calls(self) -> dict[str, NativeCalls]:
        """What was answered here, by the method's path."""
