"""Clients: they write and read all the time, at any node."""

from __future__ import annotations

from typing import TYPE_CHECKING

from regatta.raft import Entry
from regatta.raft import ProposalDropped
from regatta.raft import ReadState
from tests.simulation.replica import Replica

if TYPE_CHECKING:
    from tests.simulation.simulation import Simulation

_number_bytes = 8  # a write begins with its number, a read's context is its number


class Clients:
    """Proposes writes, asks for reads, and sees what is answered."""

    def __init__(self, simulation: Simulation) -> None:
        self._simulation = simulation
        self._random = simulation.random
        self._count = 0
        self._writes: dict[bytes, int] = {}  # number to the node that was asked
        self._reads: dict[bytes, int] = {}  # number to what was committed when it began

    def start(self) -> None:
        """Begin to write and to read."""
        self._simulation.after(1, self._write)
        self._simulation.after(1, self._read)

    def _next_number(self) -> bytes:
        self._count += 1
        return self._count.to_bytes(_number_bytes, "big")

    def _some_replica(self) -> Replica | None:
        """Return a replica to turn to, mostly one that takes itself for the leader."""
        simulation = self._simulation
        leaders = simulation.leaders()
        if leaders and self._random.random() < 0.8:
            return self._random.choice(leaders)
        replica = simulation.replicas.get(
            1 + int(self._random.random() * simulation.weather.node_count)
        )
        return None if replica is None or replica.is_paused else replica

    def _again(self, units: int, action: object) -> None:
        self._simulation.after(1 + int(self._random.random() * 2 * units), action)

    def _write(self, _: object = None) -> bool:
        weather = self._simulation.weather
        self._again(weather.write_units, self._write)
        replica = self._some_replica()
        if replica is None:
            return False
        numbers = [self._next_number() for _ in range(self._random.randint(1, weather.batch_max))]
        padding = bytes(int(self._random.random() * (weather.payload_bytes_max + 1)))
        replica.note("is asked to write", len(numbers))
        try:
            replica.core.propose_batch([number + padding for number in numbers])
        except ProposalDropped:
            self._simulation.totals.writes_dropped += 1
        else:
            self._writes.update(dict.fromkeys(numbers, replica.node))
        replica.turn()
        return True

    def _read(self, _: object = None) -> bool:
        self._again(self._simulation.weather.read_units, self._read)
        replica = self._some_replica()
        if replica is None:
            return False
        number = self._next_number()
        self._reads[number] = self._simulation.invariants.committed
        replica.note("is asked to read: number", number.hex())
        replica.core.read_index(number)
        replica.turn()
        return True

    def applied(self, node: int, entry: Entry) -> None:
        """An entry was applied on a node: if it was asked there, its client has the answer."""
        number = entry.data[:_number_bytes]
        if self._writes.get(number) == node:
            del self._writes[number]
            self._simulation.totals.writes_acknowledged += 1

    def may_read(self, node: int, state: ReadState) -> None:
        """A node may answer a read once it has applied so far."""
        self._simulation.invariants.read(node, state.index, self._reads[state.context])
        self._simulation.totals.reads += 1
