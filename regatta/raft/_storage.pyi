from typing_extensions import disjoint_base

from regatta.raft._message import ConfState
from regatta.raft._message import Entry
from regatta.raft._message import HardState
from regatta.raft._message import Snapshot

class Compacted(Exception):
    """The asked index was compacted away; only a snapshot has what it held."""

    def __init__(self) -> None: ...

class Unavailable(Exception):
    """The asked index is beyond what is stored."""

    def __init__(self) -> None: ...

class SnapshotTemporarilyUnavailable(Exception):
    """There is no snapshot yet; ask again later."""

    def __init__(self) -> None: ...

@disjoint_base
class Storage:
    """The stable part of one replica's log, as its core reads it. Subclass it and fill it in.

    The log is a run of entries after one *compacted* entry, of which only index and term are
    known (0 and 0 at the beginning). The core never writes here; what it wants written comes out
    of ``Core.ready``. It asks only for what it was told is stable, from inside its own calls, so
    answers must come without waiting.
    """

    def initial_state(self) -> tuple[HardState, ConfState]:
        """Return the hard state and the membership as of the last applied entry or snapshot.

        Asked once, when the core is made.
        """
    def first_index(self) -> int:
        """Return the index after the compacted entry, whether there is such an entry or not."""
    def last_index(self) -> int:
        """Return the index of the last entry; of the compacted one if nothing follows it."""
    def term(self, index: int) -> int:
        """Return the term of the entry at *index*; the compacted one's is known, too.

        Raises Compacted below that one, Unavailable beyond the last.
        """
    def entries(self, low: int, high: int, bytes_max: int) -> list[Entry]:
        """Return the entries with indexes in [low, high), oldest first.

        Stops before the encoded sizes sum up to more than *bytes_max*, yet returns at least one.
        The list is the caller's.
        Raises Compacted if *low* was compacted away, Unavailable if nothing is stored.
        """
    def snapshot(self) -> Snapshot:
        """Return a snapshot of the applied state, its index not below the compacted entry's.

        Raises SnapshotTemporarilyUnavailable if there is none at the moment.
        """
