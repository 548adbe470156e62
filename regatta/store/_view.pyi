from typing import NamedTuple, Protocol, Self, final

from regatta.store._env import Environment

class TableState(NamedTuple):
    """A table as the catalogue of one snapshot has it; the catalogue's own group has no name."""

    name: bytes
    group: int
    applied_index: int
    applied_term: int
    table_id: int
    key_count: int
    byte_count: int  # of keys and stored values
    membership: bytes = b""  # after the applied entry, an encoded ConfState; empty if not known

class Position(NamedTuple):
    """How far a partition of a topic has gone into a table, and what became of its records."""

    topic: str
    partition: int
    next: int  # offset of the first record that is not applied
    applied: int  # records put or deleted
    skipped: int  # records that can't be stored
    topic_id: bytes  # as last told; empty if never

class _Query(Protocol):
    """The fields of a RangeRequest that say which pairs are meant."""

    @property
    def key(self) -> bytes: ...
    @property
    def range_end(self) -> bytes: ...
    @property
    def limit(self) -> int: ...
    @property
    def keys_only(self) -> bool: ...
    @property
    def count_only(self) -> bool: ...
    @property
    def min_mod_revision(self) -> int: ...
    @property
    def max_mod_revision(self) -> int: ...
    @property
    def min_create_revision(self) -> int: ...
    @property
    def max_create_revision(self) -> int: ...

@final
class View:
    """The snapshot that one thread reads from; see the .pxd for its methods."""

    def __new__(cls, environment: Environment) -> Self: ...
    @property
    def environment(self) -> Environment: ...

@final
class Snapshot:
    """A read transaction of its own, for reads that outlast one turn of the event loop.

    It ends when the last reference to it is gone. Use it from one thread at a time.
    """

    def __new__(cls, environment: Environment) -> Self: ...
    def cancel(self) -> None:
        """Make a long read on another thread end soon; its result is then worth nothing."""
    def find(self, name: bytes) -> TableState | None:
        """Return the TableState of a table, or None if there is none of that name."""
    def groups(self) -> list[TableState]:
        """Return a TableState for every group that has applied anything, the catalogue's too."""
    def positions(self, group_id: int) -> list[Position]:
        """Return the Positions of a table's group, sorted by topic and partition.

        Raises DataLoss if one of them is damaged.
        """
    def scan(self, table_id: int, query: _Query, number: int = 3) -> RangeScan:
        """Return a RangeScan; *query* has the fields of a RangeRequest, checked before.

        *number* is the field in which each KeyValue is put out.
        """
    def transact(self, table_id: int, message: bytes) -> tuple[int, bool, bytes]:
        """Run an encoded Txn whose operations are all ranges.

        Returns (gRPC code, failure branch, CommandResult or error text) without taking the GIL
        while it works.
        """
    def hash(self) -> int:
        """Return the 64-bit FNV-1 hash over table name, key and value in that order.

        Raises DataLoss for a damaged record. Works without the GIL.
        """

@final
class RangeScan:
    """Pages of a range from one snapshot, made piece by piece."""

    def __new__(cls, snapshot: Snapshot, table_id: int, query: _Query, number: int) -> Self: ...
    @property
    def snapshot(self) -> Snapshot: ...
    def step(self) -> bool:
        """Work on the page for a stretch of the event loop. Returns True when it is complete."""
    def finish_page(self) -> bool:
        """Work on the page until it is complete, without the GIL; for other threads."""
    def take_page(self) -> tuple[bytes, int, bool]:
        """Return (encoded pairs, number of them, further pairs exist) and begin the next page."""
    @property
    def exhausted(self) -> bool:
        """Whether the last page was the last one."""
