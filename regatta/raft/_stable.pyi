from collections.abc import Callable

from typing_extensions import disjoint_base

from regatta.raft._message import ConfState
from regatta.raft._message import Entry
from regatta.raft._message import HardState
from regatta.raft._message import Message
from regatta.raft._message import Snapshot
from regatta.raft._storage import Storage

class DamagedLog(Exception):
    """What a backing holds is no log that a replica may go on with; the text begins with a verb."""

@disjoint_base
class Backing:
    """Where a StableLog is kept: a disk, real or simulated. Subclass it and fill it in.

    Writes return at once and become durable later, in the order in which they were asked for and
    never in another: if one is durable, so are all before it. Each is there whole or not at all
    after a crash, but of an append also the first few entries may be. How to learn that something
    is durable is between the backing and the driver. Integers come back as they were given.
    """

    def load(self) -> tuple[HardState, int, int, int]:
        """Return the hard state, index and term of the compacted entry, and the last index.

        Asked once, before anything is written. Zeroes where there is nothing; the last index is
        the compacted one if no entry follows it.
        """
    def read(self, low: int, high: int, bytes_max: int) -> list[Entry]:
        """Return durable entries in [low, high), oldest first, as Storage.entries does.

        Raises DamagedLog, or an error of its own, for an entry that is missing or damaged.
        """
    def set_hard_state(self, state: HardState) -> None:
        """Write a hard state in place of the one there."""
    def truncate(self, first: int) -> None:
        """Remove every entry from index *first* on."""
    def append(self, entries: list[Entry]) -> None:
        """Write entries behind the last one, or behind those that a truncation has left."""
    def compact(self, index: int, term: int) -> None:
        """Remove the entries up to *index*, whose term is *term*; nothing if they are gone."""
    def reset(self, index: int, term: int) -> None:
        """Remove every entry, and go on behind a snapshot of this index and term."""

@disjoint_base
class StableLog(Storage):
    """The durable log of one replica: a core's storage over a backing.

    It reads as what is durable: `write` asks the backing for what a MsgStorageAppend wants, and
    `written` makes it visible once it is durable. Call both for every such message, in the order
    in which the core made them, and `written` before its responses are stepped.
    """

    def __init__(
        self,
        backing: Backing,
        conf_state: ConfState,
        applied: int = 0,
        applied_term: int = 0,
        *,
        recent_bytes_max: int = 262_144,
        take_snapshot: Callable[[], Snapshot] | None = None,
    ) -> None:
        """Recover what *backing* holds.

        *applied* and *applied_term* name the last entry that the state machine has durably
        applied, *conf_state* the membership after it. *recent_bytes_max* bounds the newest
        entries that stay in memory, by their encoded size in bytes; the last write stays beside
        them until the next one or `trim`. *take_snapshot* returns the state machine's newest
        snapshot for peers that are far behind.

        Every entry that is not applied yet is read and checked. Raises DamagedLog if one is
        missing, out of place or of a falling term; if the log ends before what is applied or
        committed or begins after it, or has another entry there; or if its terms are beyond the
        one promised.
        """
    @property
    def backing(self) -> Backing: ...
    @property
    def compacted_index(self) -> int: ...
    @property
    def compacted_term(self) -> int: ...
    @property
    def last_term(self) -> int: ...
    @property
    def hard_state(self) -> HardState:
        """The core's newest, of which term and vote are durable when the message is."""
    @property
    def recent_bytes(self) -> int: ...
    @property
    def recent_bytes_max(self) -> int: ...
    def write(self, message: Message) -> bool:
        """Ask the backing for what a MsgStorageAppend wants written. Returns whether it must sync.

        If not, nothing was asked for: the message's responses may go once all earlier messages
        are durable, and a commit index that moved is written with the next entries.
        Raises ValueError if entries leave a gap.
        """
    def written(self, message: Message) -> None:
        """Take up a message's entries or snapshot: what `write` asked for is durable."""
    def compact(self, index: int) -> int:
        """Remove old entries up to *index* or, if that is more than 20,000, the oldest 20,000.

        Returns the index of the last entry that is gone now; call again for the rest. The state
        machine must have durably applied all up to *index* before. Raises Unavailable beyond the
        last entry.
        """
    def trim(self) -> None:
        """Let go of entries in memory until they are within the bound."""
