"""A log in memory, and the applied states as they followed each other."""

from regatta.raft import Compacted
from regatta.raft import ConfState
from regatta.raft import Entry
from regatta.raft import HardState
from regatta.raft import Snapshot
from regatta.raft import Storage
from regatta.raft import Unavailable
from tests.conformance.grammar import BadScenario


class SnapshotTooOld(Exception):
    """There is a snapshot at this index or behind it already."""

    def __init__(self) -> None:
        super().__init__("requested index is older than the existing snapshot")


class MemoryStorage(Storage):
    """All that one node keeps."""

    def __init__(self, snapshot: Snapshot | None = None) -> None:
        """Begin with *snapshot* both as log and as the applied state, or with nothing."""
        self.hard_state = HardState()
        self._stored = snapshot or Snapshot()
        # The entries behind the one at _compacted_index, whose term alone is known.
        self._entries: list[Entry] = []
        self._compacted_index, self._compacted_term = self._stored.index, self._stored.term
        # One for each applied entry, after what it began with.
        self.history = [self._stored]

    def initial_state(self) -> tuple[HardState, ConfState]:
        """Return what a core begins with."""
        return self.hard_state, self._stored.conf_state

    def first_index(self) -> int:
        """Return the index of the first entry that is there, or would be."""
        return self._compacted_index + 1

    def last_index(self) -> int:
        """Return the index of the last entry."""
        return self._compacted_index + len(self._entries)

    def term(self, index: int) -> int:
        """Return the term of an entry that is there, or of the last one that was compacted."""
        if index < self._compacted_index:
            raise Compacted
        if index > self.last_index():
            raise Unavailable
        if index == self._compacted_index:
            return self._compacted_term
        return self._entries[index - self.first_index()].term

    def entries(self, low: int, high: int, bytes_max: int) -> list[Entry]:
        """Return entries from *low* until before *high*; at least one, then up to *bytes_max*."""
        if low <= self._compacted_index:
            raise Compacted
        if not self._entries or high > self.last_index() + 1:
            raise Unavailable
        found = self._entries[low - self.first_index() : high - self.first_index()]
        size_bytes = 0
        for count, entry in enumerate(found):
            size_bytes += entry.size
            if count and size_bytes > bytes_max:
                return found[:count]
        return found

    def snapshot(self) -> Snapshot:
        """Return the state as of the last applied entry."""
        return self.history[-1]

    def append(self, entries: list[Entry]) -> None:
        """Add entries, in place of those from the first one's index on."""
        entries = [entry for entry in entries if entry.index > self._compacted_index]
        if not entries:
            return
        if entries[0].index > self.last_index() + 1:
            raise BadScenario(f"entries after {self.last_index()} begin at {entries[0].index}")
        self._entries[entries[0].index - self.first_index() :] = entries

    def apply_snapshot(self, snapshot: Snapshot) -> None:
        """Replace the log; raises SnapshotTooOld."""
        if self._stored.index and self._stored.index >= snapshot.index:
            raise SnapshotTooOld
        self._stored = snapshot
        self._entries = []
        self._compacted_index, self._compacted_term = snapshot.index, snapshot.term

    def compact(self, index: int) -> None:
        """Drop entries up to *index*; raises Compacted."""
        if index <= self._compacted_index:
            raise Compacted
        term = self.term(index)
        self._entries = self._entries[index - self._compacted_index :]
        self._compacted_index, self._compacted_term = index, term

    def all_entries(self) -> list[Entry]:
        """Return all entries that are there."""
        return list(self._entries)

    def applied(self, entry: Entry, update: bytes, conf_state: ConfState | None) -> None:
        """Note that an entry was applied, which added *update* and made *conf_state* if given."""
        before = self.history[-1]
        conf_state = before.conf_state if conf_state is None else conf_state
        self.history.append(Snapshot(entry.index, entry.term, conf_state, before.data + update))
