from typing import NamedTuple, final

from regatta.raft._message import Entry
from regatta.raft._message import HardState
from regatta.raft._stable import Backing
from regatta.store._turns import TurnWriter

class GroupState(NamedTuple):
    """What a group has promised, and where its log begins."""

    term: int
    vote: int = 0  # node id, 0 for none
    commit: int = 0
    compacted_index: int = 0  # entries up to here are gone; 0 for none
    compacted_term: int = 0

@final
class RaftLog(TurnWriter):
    """The log of every group, committed turn by turn with a full sync."""

    def group(self, group: int, state: GroupState | None = None) -> GroupLog:
        """Return the log of one group; *state* is what `states` has for it, None if nothing."""
    def states(self) -> dict[int, GroupState]:
        """Return {group id: GroupState} as stored. Raises StartError for a damaged record."""
    def last_index(self, group: int) -> int:
        """Return the index of a group's last entry, or 0 if it has none."""
    def read(self, group: int, low: int, high: int, bytes_max: int) -> list[Entry]:
        """Return a group's durable entries in [low, high) or up to the last, oldest first.

        Stops before their encoded sizes sum up to more than *bytes_max*, yet returns at least one
        entry if there is any. Raises StartError if an entry is damaged or missing.
        """

@final
class GroupLog(Backing):
    """One group's part of the node's log: what its StableLog is kept in.

    Writes queue up for the log thread, which begins on them at the next `RaftLog.flush`; they are
    durable once `RaftLog.committed` has reached what `RaftLog.queued` is after them.
    """

    def __init__(self, log: RaftLog, group: int, state: GroupState) -> None: ...
    def load(self) -> tuple[HardState, int, int, int]: ...
    def read(self, low: int, high: int, bytes_max: int) -> list[Entry]: ...
    def set_hard_state(self, state: HardState) -> None: ...
    def truncate(self, first: int) -> None: ...
    def append(self, entries: list[Entry]) -> None: ...
    def compact(self, index: int, term: int) -> None: ...
    def reset(self, index: int, term: int) -> None: ...
