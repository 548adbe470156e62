"""One run: a group of nodes, a network, clients and faults, all from one seed.

The world is a queue of events. A step is one event that was delivered: a message or a tick that
reached a node, a sync or a turn of a state machine that finished, a client's call, a fault. What
would have reached a node that is stopped or paused is no step.
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop
from heapq import heappush
from random import Random

from regatta.raft import ConfState
from tests.simulation.clients import Clients
from tests.simulation.disk import LogDisk
from tests.simulation.disk import MachineDisk
from tests.simulation.disk import State
from tests.simulation.faults import Faults
from tests.simulation.invariants import Invariants
from tests.simulation.invariants import Violation
from tests.simulation.network import Network
from tests.simulation.replica import Replica
from tests.simulation.totals import Totals
from tests.simulation.totals import commits_min
from tests.simulation.trace import Trace
from tests.simulation.weather import forecast
from tests.simulation.weather import tick_units

Action = Callable[..., bool]

# The members begin behind a snapshot; whoever joins later begins with nothing.
first_index, first_term = 1, 1
timeouts_to_heal = 10  # election timeouts, of the longest that are drawn


class Failure(Exception):
    """A run in which something went wrong: what, when, and how it came to it."""

    def __init__(self, simulation: Simulation, cause: Exception) -> None:
        self.seed, self.step, self.cause = simulation.seed, simulation.step, cause
        self.check = cause.check if isinstance(cause, Violation) else type(cause).__name__
        super().__init__(
            f"{simulation.trace}\n\nseed {self.seed} fails at step {self.step}: "
            f"{type(cause).__name__}: {cause}\n{simulation.weather}"
        )


class Simulation:
    """The world of one seed."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.random = Random(seed)
        self.now = 0  # units
        self.step = 0
        self.weather = forecast(self.random)
        self.totals = Totals(seeds=1)
        self.trace = Trace()
        self._queue: list[tuple[int, int, Action, object]] = []
        self._event_count = 0
        nodes = range(1, self.weather.node_count + 1)
        self._disks, self._machines = {}, {}
        first = State(
            first_index, first_term, ConfState(self.weather.voters, (), self.weather.learners), 0
        )
        for node in nodes:
            is_member = node in self.weather.voters + self.weather.learners
            self._disks[node] = LogDisk(first_index, first_term) if is_member else LogDisk(0, 0)
            self._machines[node] = MachineDisk(first if is_member else State(0, 0, ConfState(), 0))
        self.invariants = Invariants(first, self._disks)
        self.network = Network(self)
        self.clients = Clients(self)
        self.replicas: dict[int, Replica] = {}  # those that run
        self.faults = Faults(self)
        for node in nodes:
            self.start(node)

    def run(self, step_count: int) -> Totals:
        """Take so many steps, end all faults, and see the group recover.

        Raises Failure if anything that must hold does not.
        """
        self.clients.start()
        self.faults.start()
        try:
            self._go_on(step_count)
            self._heal()
        except Exception as cause:  # the core's own refusals are failures as well
            raise Failure(self, cause) from cause
        return self._count()

    def _go_on(self, step_count: int) -> None:
        queue = self._queue
        while self.step < step_count:
            self.now, _, action, argument = heappop(queue)
            if action(argument):
                self.step += 1

    def _count(self) -> Totals:
        totals = self.totals
        totals.steps = self.step
        totals.elections = self.invariants.leader_count
        totals.commits = self.invariants.committed - first_index
        totals.membership_changes = self.invariants.membership_change_count
        totals.seeds_that_count = int(totals.commits >= commits_min)
        return totals

    # What the parts use.

    def after(self, delay: int, action: Action, argument: object = None) -> None:
        """Call *action* with *argument* some units from now; events at one time keep order."""
        self._event_count += 1
        heappush(self._queue, (self.now + delay, self._event_count, action, argument))

    def note(self, what: str, detail: object = "") -> None:
        """Put something that happens to no node alone into the trace."""
        self.trace.add((self.step, self.now, 0, what, detail))

    def draw(self, low: int, high: int) -> int:
        """Return a number in [low, high]: the nodes' election timeouts come from here."""
        return low + int(self.random.random() * (high - low + 1))

    def draw_pace(self) -> float:
        """Return how many ticks a clock makes in the time of one perfect tick."""
        error = self.weather.clock_error
        return (
            self.random.uniform(0.5, 2.0)
            if error == 1.0
            else self.random.uniform(1 - error, 1 + error)
        )

    def leaders(self) -> list[Replica]:
        """Return the replicas that take themselves for leaders, ascending."""
        replicas = self.replicas
        found = [replicas[node] for node in sorted(replicas)]
        return [replica for replica in found if replica.is_leader and not replica.is_paused]

    def start(self, node: int) -> bool:
        """Start a node that does not run."""
        if node in self.replicas:
            return False
        replica = Replica(self, node, self._disks[node], self._machines[node])
        replica.note("starts")
        replica.pace = self.draw_pace()
        self.replicas[node] = replica
        self.after(1 + int(self.random.random() * tick_units), replica.tick)
        replica.turn()
        return True

    def stop(self, node: int) -> tuple[int, bool]:
        """Crash a node; return how many writes were lost and whether one was torn."""
        return self.replicas.pop(node).crash()

    # The end.

    def _heal(self) -> None:
        """End all faults; soon there must be a leader, a commit, and no member behind."""
        self.note("all faults end")
        if self.totals.seeds_without_recovery:
            return
        self.faults.stop()
        self.network.calm()
        self.weather.clock_error = 0.0
        self.weather.sync_units_max, self.weather.apply_units_max = 3, 1
        election_ticks = self.weather.core["election_ticks"]
        for node in range(1, self.weather.node_count + 1):
            self.start(node)
            replica = self.replicas[node]
            replica.pace = 1.0
            # Timeouts that happen to be alike would cost an election or two.
            replica.core.election_timeout = election_ticks + (node - 1) % election_ticks
            replica.resume()
        self._watch_leaders()
        reached = self.invariants.committed
        self._wait_for(
            "a leader and a commit",
            lambda: self.invariants.committed > reached and bool(self.leaders()),
        )
        reached = self.invariants.committed
        self._wait_for("members that have caught up", lambda: self._all_have_applied(reached))

    def _watch_leaders(self, _: object = None) -> bool:
        """Restart who leads a group that it is no member of; it may be set up not to step down."""
        for leader in self.leaders():
            state = leader.core.conf_state
            if leader.node not in state.voters + state.voters_outgoing:
                self.stop(leader.node)
                self.start(leader.node)
        self.after(tick_units, self._watch_leaders)
        return False

    def _wait_for(self, what: str, has_come: Callable[[], bool]) -> None:
        deadline = self.now + timeouts_to_heal * self.weather.longest_election_units
        while not has_come():
            self.now, _, action, argument = heappop(self._queue)
            action(argument)
            if self.now > deadline:
                raise Violation("liveness", f"no {what} in {timeouts_to_heal} election timeouts")

    def _all_have_applied(self, index: int) -> bool:
        replicas = self.replicas
        return all(
            node not in replicas or replicas[node].applied >= index
            for node in self.invariants.members()
        )
