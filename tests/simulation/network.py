"""The network between the nodes: it loses, repeats, delays, reorders and cuts, but never alters."""

from __future__ import annotations

from typing import TYPE_CHECKING

from regatta.raft import Message
from regatta.raft import MessageType
from regatta.raft import decode_message
from regatta.raft import encode_message

if TYPE_CHECKING:
    from tests.simulation.simulation import Simulation

_SNAP = int(MessageType.SNAP)

Link = tuple[int, int]  # from one node to another: the other way is a link of its own


class Network:
    """Takes messages from nodes and hands them to others, or does not."""

    def __init__(self, simulation: Simulation) -> None:
        self._simulation = simulation
        self._weather = simulation.weather
        self._random = simulation.random.random
        self._faults = simulation.totals.faults
        self._cuts: dict[Link, int] = {}  # how many outages cut a link
        self._newest: dict[Link, int] = {}  # when the last message on a link will arrive
        self._is_calm = False

    def send(self, message: Message) -> None:
        """Put a message on its way."""
        link = message.sender, message.to
        if self._is_calm:
            self._schedule(link, message, 1 + int(self._random() * 3))
            return
        if self._cuts.get(link):
            self._lose(message, "messages cut off")
            return
        weather = self._weather
        chance = self._random()
        if chance < weather.drop:
            self._lose(message, "messages dropped")
            return
        if chance > 1.0 - weather.duplicate:
            self._faults["messages duplicated"] += 1
            self._schedule(link, message, self._delay())
        self._schedule(link, message, self._delay())

    def cut(self, links: list[Link]) -> None:
        """Lose everything on some links until they are mended."""
        for link in links:
            self._cuts[link] = self._cuts.get(link, 0) + 1

    def mend(self, links: list[Link]) -> None:
        """Undo one cut of each of these links."""
        for link in links:
            self._cuts[link] -= 1

    def calm(self) -> None:
        """From now on every message arrives, and soon."""
        self._is_calm = True

    def _delay(self) -> int:
        weather = self._weather
        if self._random() < weather.straggle:
            self._faults["messages delayed"] += 1
            return 1 + int(self._random() * weather.straggle_units_max)
        return 1 + int(self._random() * weather.delay_units_max)

    def _schedule(self, link: Link, message: Message, delay: int) -> None:
        simulation = self._simulation
        arrival = simulation.now + delay
        if arrival < self._newest.get(link, 0):
            self._faults["messages reordered"] += 1
        else:
            self._newest[link] = arrival
        carried = encode_message(message) if self._weather.is_encoded else message
        simulation.after(delay, self._deliver, carried)

    def _deliver(self, carried: Message | bytes) -> bool:
        message = decode_message(carried) if isinstance(carried, bytes) else carried
        replica = self._simulation.replicas.get(message.to)
        if replica is None:
            self._lose(message, "messages to stopped nodes")
            return False
        if replica.is_paused:
            replica.missed.append((self._deliver, carried))
            return False
        if message.type == _SNAP:
            self._report_snapshot(message, True)
        return replica.receive(message)

    def _lose(self, message: Message, how: str) -> None:
        self._faults[how] += 1
        if message.type == _SNAP:
            self._report_snapshot(message, False)
        elif self._random() < 0.05:
            sender = self._simulation.replicas.get(message.sender)
            if sender is not None:
                self._simulation.after(1, sender.hear_unreachable, message.to)

    def _report_snapshot(self, message: Message, is_delivered: bool) -> None:
        """Tell the sender, as a transport does, what became of a snapshot."""
        sender = self._simulation.replicas.get(message.sender)
        if sender is not None:
            report = message.to, is_delivered
            self._simulation.after(1 + int(self._random() * 50), sender.hear_of_snapshot, report)
