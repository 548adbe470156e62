"""What a node keeps: a disk for its log and one for its state machine, and what a crash leaves."""

from collections.abc import Callable
from random import Random
from typing import NamedTuple

from regatta.raft import Backing
from regatta.raft import ConfState
from regatta.raft import Entry
from regatta.raft import HardState


class LogDisk(Backing):
    """The disk under a StableLog. Writes wait in a queue until a sync has made them durable.

    What is read is what is durable, as StableLog wants it.
    """

    def __init__(self, index: int, term: int) -> None:
        self.state = HardState(term=term, commit=index)
        self.compacted_index = index
        self.compacted_term = term
        self.durable: list[Entry] = []  # the first follows on the compacted one
        self.queued: list[tuple[Callable[..., None], tuple[object, ...]]] = []
        self._done_count = 0

    # What StableLog asks for.

    def load(self) -> tuple[HardState, int, int, int]:
        return self.state, self.compacted_index, self.compacted_term, self.last_index

    def read(self, low: int, high: int, bytes_max: int) -> list[Entry]:
        found: list[Entry] = []
        size = 0
        for entry in self.durable[low - self.compacted_index - 1 : high - self.compacted_index - 1]:
            size += entry.size
            if found and size > bytes_max:
                break
            found.append(entry)
        return found

    def set_hard_state(self, state: HardState) -> None:
        self.queued.append((self._set_hard_state, (state,)))

    def truncate(self, first: int) -> None:
        self.queued.append((self._truncate, (first,)))

    def append(self, entries: list[Entry]) -> None:
        self.queued.append((self._append, (list(entries),)))

    def compact(self, index: int, term: int) -> None:
        self.queued.append((self._compact, (index, term)))

    def reset(self, index: int, term: int) -> None:
        self.queued.append((self._reset, (index, term)))

    # What happens to it.

    @property
    def asked_count(self) -> int:
        """Return how many writes were asked for in its life."""
        return self._done_count + len(self.queued)

    def sync(self, asked_count: int) -> None:
        """Make writes durable, up to the one that was the *asked_count*-th."""
        count = asked_count - self._done_count
        for write, arguments in self.queued[:count]:
            write(*arguments)
        del self.queued[:count]
        self._done_count = asked_count

    def crash(self, random: Random, begun_count: int) -> tuple[int, bool]:
        """Lose what is queued, from any write on; return how many are lost, and if one was torn.

        What was asked for after the *begun_count*-th is lost in any case: its sync had not begun.
        """
        begun_count = max(begun_count, self._done_count)
        self.sync(random.randint(self._done_count, begun_count))
        lost_count, is_torn = len(self.queued), False
        if self._done_count < begun_count:
            write, arguments = self.queued[0]
            if write == self._append and len(arguments[0]) > 1 and random.random() < 0.7:
                is_torn = True
                write(arguments[0][: random.randrange(1, len(arguments[0]))])
        self.queued.clear()
        return lost_count, is_torn

    # What the checks look at.

    @property
    def last_index(self) -> int:
        return self.compacted_index + len(self.durable)

    def holds(self, index: int, term: int) -> bool:
        """Tell whether the entry is durable here; one that was compacted away once was."""
        offset = index - self.compacted_index
        if offset <= 0:
            return True
        return offset <= len(self.durable) and self.durable[offset - 1].term == term

    # The writes themselves, when they become durable.

    def _set_hard_state(self, state: HardState) -> None:
        self.state = state

    def _truncate(self, first: int) -> None:
        del self.durable[first - self.compacted_index - 1 :]

    def _append(self, entries: list[Entry]) -> None:
        if entries[0].index != self.last_index + 1:
            raise AssertionError(f"{entries[0]} written behind {self.last_index}")
        self.durable += entries

    def _compact(self, index: int, term: int) -> None:
        if index > self.compacted_index:
            del self.durable[: index - self.compacted_index]
            self.compacted_index, self.compacted_term = index, term

    def _reset(self, index: int, term: int) -> None:
        self.durable.clear()
        self.compacted_index, self.compacted_term = index, term


class State(NamedTuple):
    """A state machine after some entry: the digest stands for all that it has applied."""

    index: int
    term: int
    membership: ConfState
    digest: int


class MachineDisk:
    """The disk of a state machine. A crash may take the last turn, and leaves the rest whole."""

    def __init__(self, state: State) -> None:
        self.state = state
        self._durable = state
        # Set while a snapshot is in here and the log has not been reset to it yet.
        self.installing = False

    def begin_turn(self) -> None:
        """What was applied until now is durable once the next turn begins."""
        self._durable = self.state

    def sync(self) -> None:
        self._durable = self.state

    def install(self, state: State) -> None:
        """Put a snapshot in the place of all there is, durably."""
        self.state = self._durable = state
        self.installing = True

    def crash(self, random: Random) -> None:
        if random.random() < 0.5:
            self.state = self._durable
        self._durable = self.state
