from typing import NamedTuple, final

from regatta.store._turns import TurnWriter

class GroupState(NamedTuple):
    """What a group has promised, and where its log begins."""

    term: int
    vote: int = 0  # node id, 0 for none
    commit: int = 0
    compacted_index: int = 0  # entries up to here are gone; 0 for none
    compacted_term: int = 0

class Entry(NamedTuple):
    """One log entry; *kind* 0 is a command."""

    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody calls
    term: int
    kind: int
    payload: bytes

@final
class RaftLog(TurnWriter):
    """Appends, state changes and compactions, committed turn by turn with a full sync."""

    def append(self, group: int, index: int, term: int, payload: bytes, kind: int = 0) -> None:
        """Queue an entry; it is durable once `committed` has reached the present `queued`."""
    def set_state(self, group: int, state: GroupState) -> None:
        """Queue a group's state; it takes the place of the stored one."""
    def compact(self, group: int, index: int) -> None:
        """Queue the removal of a group's entries up to and including *index*.

        The data must be synced with that much applied before. One transaction removes them
        all: ask for some ten thousand at most.
        """
    def states(self) -> dict[int, GroupState]:
        """Return {group id: GroupState} as stored. Raises StartError for a damaged record."""
    def last_index(self, group: int) -> int:
        """Return the index of a group's last entry, or 0 if it has none."""
    def entries(self, group: int, start: int, bytes_max: int) -> list[Entry]:
        """Return the entries of a group from index *start* on, oldest first, without gaps.

        Stops once *bytes_max* bytes are reached, yet returns at least one entry if there is any.
        Raises StartError if an entry is damaged or missing.
        """
