"""The clients of the load: what each writes follows from its seed and from what it was answered.

So the notes of a recording name no operations: whoever goes through them makes them anew.
"""

from dataclasses import dataclass

from tests.cluster.history import DeleteRange
from tests.cluster.history import History
from tests.cluster.history import Operation
from tests.cluster.history import Put
from tests.cluster.history import Workload

SHARED_TABLE = b"shared"
REPLACED_TABLE = b"replaced"
PUTS_BETWEEN_REPLACEMENTS = 12


@dataclass(frozen=True)
class EmptyTable(DeleteRange):
    """Delete a whole table, all of which belongs to one client."""


class Client:
    """Puts, transactions and deletes of a key space of its own in a table that others share."""

    table = SHARED_TABLE

    def __init__(self, number: int, seed: str) -> None:
        self.history = History(b"client-%02d/" % number)
        self._workload = Workload(self.history, f"{seed}/{number}")

    def begin(self) -> Operation:
        """Return the next operation, which is under way from now on."""
        operation = self.next_operation()
        self.history.begin(operation)
        return operation

    def next_operation(self) -> Operation:
        """Return an operation that fits the acknowledged state."""
        return self._workload.next_operation()

    def acknowledge(self, revision: int) -> None:
        """Note that the operation under way was answered."""
        self.history.acknowledge(revision)

    def settle(self, took_effect: bool) -> None:
        """Note what became of the operation under way when the daemon was killed."""
        operation, state = self.history.in_flight, self.history.acknowledged
        self.history.settle(operation.apply(state) if operation and took_effect else state)


class Replacer(Client):
    """Fills a table of its own and empties it with one call, over and over."""

    table = REPLACED_TABLE

    def __init__(self, number: int, seed: str) -> None:
        super().__init__(number, seed)
        self._count = 0

    def next_operation(self) -> Operation:
        self._count += 1
        if self._count % PUTS_BETWEEN_REPLACEMENTS == 0:
            return EmptyTable(self.history.prefix, self.history.prefix + b"\xff")
        key = self.history.prefix + b"%d" % self._count
        return Put(key, b"%d:" % self._count + bytes(self._count % 7 * 100))


class TableMaker(Client):
    """Puts one pair after the other, each into a table that was not there before."""

    def __init__(self, number: int, seed: str) -> None:
        super().__init__(number, seed)
        self._count = 0

    @property
    def table(self) -> bytes:  # type: ignore[override]
        """The table of the newest operation."""
        return b"made-%d" % self._count

    def next_operation(self) -> Operation:
        self._count += 1
        return Put(self.history.prefix + b"%d" % self._count, b"made")

    def acknowledge(self, revision: int) -> None:
        self.history.revision = 0  # each table counts its own
        super().acknowledge(revision)


def make_clients(seed: str, count: int) -> list[Client]:
    """Return *count* ordinary clients, one that replaces a table and one that makes tables."""
    ordinary = [Client(number, seed) for number in range(count)]
    return [*ordinary, Replacer(count, seed), TableMaker(count + 1, seed)]


def tables_of(clients: list[Client]) -> list[bytes]:
    """Return the names of all tables that may be there."""
    made = [client for client in clients if isinstance(client, TableMaker)]
    names = [b"made-%d" % number for client in made for number in range(1, client._count + 1)]
    return [SHARED_TABLE, REPLACED_TABLE, *names]
