"""Faults, and what else an operator or bad luck brings: one at a time, now and then."""

from __future__ import annotations

from typing import TYPE_CHECKING

from regatta.raft import ChangeKind
from regatta.raft import ConfChange
from regatta.raft import ConfState
from regatta.raft import ProposalDropped
from regatta.raft import Transition
from tests.simulation.network import Link
from tests.simulation.replica import Replica

if TYPE_CHECKING:
    from tests.simulation.simulation import Simulation

entries_kept_max = 12  # behind the applied index when a log is compacted


CHANGES = (
    ChangeKind.ADD_NODE,
    ChangeKind.ADD_NODE,
    ChangeKind.REMOVE_NODE,
    ChangeKind.ADD_LEARNER_NODE,
    ChangeKind.UPDATE_NODE,
)


class Faults:
    """Draws what goes wrong next, and when; every fault ends by itself."""

    def __init__(self, simulation: Simulation) -> None:
        self._simulation = simulation
        self._random = simulation.random
        self._counts = simulation.totals.faults
        self._names = list(simulation.weather.faults)
        self._weights = list(simulation.weather.faults.values())
        self._is_over = False

    def start(self) -> None:
        """Begin to strike."""
        self._strike_later()

    def stop(self) -> None:
        """Strike no more; outages that are under way end when they would have ended."""
        self._is_over = True

    def _strike_later(self) -> None:
        mean = self._simulation.weather.fault_units
        self._simulation.after(1 + int(self._random.expovariate(1 / mean)), self._strike)

    def _strike(self, _: object) -> bool:
        if self._is_over:
            return False
        self._strike_later()
        (name,) = self._random.choices(self._names, self._weights)
        return bool(getattr(self, f"_{name}")())

    def _outage(self) -> int:
        return 1 + int(self._random.random() * self._simulation.weather.outage_units_max)

    def _a_replica(self) -> Replica | None:
        replicas = self._simulation.replicas
        running = [replicas[node] for node in sorted(replicas) if not replicas[node].is_paused]
        return self._random.choice(running) if running else None

    def _a_leader(self) -> Replica | None:
        leaders = self._simulation.leaders()
        return self._random.choice(leaders) if leaders else None

    # Processes and clocks.

    def _crash(self) -> bool:
        return self._stop(self._a_replica())

    def _crash_leader(self) -> bool:
        return self._stop(self._a_leader())

    def _power_cut(self) -> bool:
        for node in sorted(self._simulation.replicas):
            self._stop(self._simulation.replicas[node])
        return True

    def _stop(self, replica: Replica | None) -> bool:
        if replica is None:
            return False
        lost_count, is_torn = self._simulation.stop(replica.node)
        self._counts["crashes"] += 1
        self._counts["writes lost in a crash"] += lost_count
        self._counts["writes torn in a crash"] += is_torn
        # Some come back at once: they have forgotten nothing but what was not synced.
        outage = self._outage() if self._random.random() < 0.6 else 1 + self._outage() // 50
        self._simulation.after(outage, self._start, replica.node)
        return True

    def _start(self, node: int) -> bool:
        return self._simulation.start(node)

    def _pause(self) -> bool:
        replica = self._a_replica()
        if replica is None:
            return False
        self._counts["pauses"] += 1
        replica.note("pauses")
        replica.is_paused = True
        self._simulation.after(self._outage(), self._resume, replica)
        return True

    def _resume(self, replica: Replica) -> bool:
        replica.resume()
        return False

    def _clock(self) -> bool:
        replica = self._a_replica()
        if replica is None:
            return False
        self._counts["clocks set to another pace"] += 1
        replica.pace = self._simulation.draw_pace()
        replica.note("has a clock of another pace:", replica.pace)
        return True

    # The network.

    def _partition(self) -> bool:
        nodes = self._all_nodes()
        self._random.shuffle(nodes)
        size = self._random.randint(1, len(nodes) - 1)
        return self._cut_off(nodes[:size], nodes[size:])

    def _isolate_leader(self) -> bool:
        leader = self._a_leader()
        if leader is None:
            return False
        others = [node for node in self._all_nodes() if node != leader.node]
        # Sometimes one follower stays with it: it takes entries that no quorum will have.
        company = [others.pop(self._random.randrange(len(others)))] if len(others) > 2 else []
        if self._random.random() < 0.5:
            others += company
            company = []
        return self._cut_off([leader.node, *company], others)

    def _cut_off(self, here: list[int], there: list[int]) -> bool:
        self._counts["partitions"] += 1
        links = [(a, b) for a in here for b in there]
        return self._cut(links + [(b, a) for a, b in links], f"{here} from {there}")

    def _cut_off_later(self, halves: tuple[int, list[int]]) -> bool:
        return not self._is_over and self._cut_off([halves[0]], halves[1])

    def _all_nodes(self) -> list[int]:
        return list(range(1, self._simulation.weather.node_count + 1))

    def _cut_one_way(self) -> bool:
        count = self._simulation.weather.node_count
        sender = self._random.randint(1, count)
        receivers = [node for node in range(1, count + 1) if node != sender]
        receivers = self._random.sample(receivers, self._random.randint(1, len(receivers)))
        links = [(sender, receiver) for receiver in receivers]
        if self._random.random() < 0.5:
            links = [(b, a) for a, b in links]
        self._counts["links cut one way"] += len(links)
        return self._cut(links, f"one way: {links}")

    def _cut(self, links: list[Link], how: str) -> bool:
        self._simulation.note("the network is cut,", how)
        self._simulation.network.cut(links)
        self._simulation.after(self._outage(), self._mend, links)
        return True

    def _mend(self, links: list[Link]) -> bool:
        self._simulation.note("the network is mended:", links)
        self._simulation.network.mend(links)
        return True

    # What operators do.

    def _campaign(self) -> bool:
        replica = self._a_replica()
        if replica is None:
            return False
        self._counts["elections called by hand"] += 1
        replica.note("is told to campaign")
        replica.core.campaign()
        replica.turn()
        return True

    def _forget_leader(self) -> bool:
        replica = self._a_replica()
        if replica is None:
            return False
        replica.note("is told to forget its leader")
        replica.core.forget_leader()
        replica.turn()
        return True

    def _transfer(self) -> bool:
        leader = self._a_leader()
        if leader is None:
            return False
        self._counts["transfers of leadership"] += 1
        target = self._random.choice(leader.core.conf_state.voters)
        leader.note("is told to hand over to", target)
        leader.core.transfer_leader(target)
        leader.turn()
        # Sometimes it does not hear that it has been followed.
        if self._random.random() < 0.4:
            others = [node for node in self._all_nodes() if node != leader.node]
            self._simulation.after(
                1 + int(self._random.random() * 40), self._cut_off_later, (leader.node, others)
            )
        return True

    def _compact(self) -> bool:
        replica = self._a_replica()
        if replica is None:
            return False
        # What the core knows to be applied: while a snapshot is installed, the machine is ahead.
        index = replica.core.applied - self._random.randint(0, entries_kept_max)
        if index <= 0:
            return False
        self._counts["logs compacted"] += 1
        replica.compact(index)
        return True

    def _change(self) -> bool:
        leader = self._a_leader()
        if leader is None:
            return False
        change = self._draw_change(leader.core.conf_state, leader.node)
        leader.note("is told to change the membership:", change)
        try:
            leader.core.propose_conf_change(change)
        except ProposalDropped:
            leader.note("drops it")
        leader.turn()
        # Often a second one at once, which has to wait its turn: the leader must see to that.
        if self._random.random() < 0.4:
            self._simulation.after(self._random.randint(1, 30), self._change_again)
        return True

    def _change_again(self, _: object) -> bool:
        return self._change() if not self._is_over else False

    def _draw_change(self, state: ConfState, leader: int) -> ConfChange:
        """Draw a change that leaves two voters or more, or the end of a joint membership."""
        random = self._random
        # Who leads should hand over before it goes, and most operators see to that.
        is_careful = random.random() < 0.99
        if state.voters_outgoing and random.random() < 0.8:
            return ConfChange()
        count = 1 if random.random() < 0.5 else random.randint(2, 3)
        voters = set(state.voters)
        changes = []
        nodes = random.sample(range(1, self._simulation.weather.node_count + 1), count)
        for node in nodes:
            kind = random.choice(CHANGES)
            is_loss = kind in (ChangeKind.REMOVE_NODE, ChangeKind.ADD_LEARNER_NODE)
            if is_loss and (len(voters) <= 2 or (node == leader and is_careful)):
                kind = ChangeKind.ADD_NODE
            if kind == ChangeKind.ADD_NODE:
                voters.add(node)
            elif kind != ChangeKind.UPDATE_NODE:
                voters.discard(node)
            changes.append((kind, node))
        if count == 1 and random.random() < 0.4:
            return ConfChange(tuple(changes), v1=True)
        transition = random.choice(list(Transition)) if count > 1 or random.random() < 0.3 else 0
        return ConfChange(tuple(changes), Transition(transition))
