"""A node from its start to its crash: the real core and log, and a driver with simulated disks.

The driver keeps the contract of asynchronous storage writes as a real one has to: what the core
wants written is queued at once and synced later, one sync at a time and each for all that waits;
responses go only after that, and so do requests for votes. What is committed goes to the state
machine in turns of its own.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, NamedTuple
from zlib import crc32

from regatta.raft import APPEND_THREAD
from regatta.raft import APPLY_THREAD
from regatta.raft import Config
from regatta.raft import Core
from regatta.raft import Entry
from regatta.raft import EntryKind
from regatta.raft import Message
from regatta.raft import MessageType
from regatta.raft import ProposalDropped
from regatta.raft import ReadState
from regatta.raft import Role
from regatta.raft import Snapshot
from regatta.raft import SnapshotTemporarilyUnavailable
from regatta.raft import StableLog
from regatta.raft import StepError
from regatta.raft import decode_conf_change
from tests.simulation.disk import LogDisk
from tests.simulation.disk import MachineDisk
from tests.simulation.disk import State
from tests.simulation.weather import tick_units

if TYPE_CHECKING:
    from tests.simulation.simulation import Simulation

_VOTE = int(MessageType.VOTE)


class Write(NamedTuple):
    """What is to be written to the log, and what must wait for it."""

    message: Message
    asked_count: int  # of all writes until then
    vote_requests: list[Message]


class Replica:
    """One run of one node. Its disks outlive it; after `crash` it does nothing any more."""

    def __init__(
        self, simulation: Simulation, node: int, disk: LogDisk, machine: MachineDisk
    ) -> None:
        self.node = node
        self.is_paused = False
        # What came in while it was paused, in order: action and argument.
        self.missed: list[tuple[object, object]] = []
        self.pace = 1.0  # of its clock: ticks in the time of one perfect tick
        self._simulation = simulation
        self._disk, self._machine = disk, machine
        self._invariants = simulation.invariants
        self._send = simulation.network.send
        self._is_stopped = False
        # What a sync is under way for, and what waits for the next one.
        self._syncing: list[Write] = []
        self._queued: list[Write] = []
        self._applying: deque[Message] = deque()
        self._recover_log()
        state = machine.state
        self._log = StableLog(
            disk,
            state.membership,
            state.index,
            state.term,
            recent_bytes_max=simulation.weather.recent_bytes_max,
            take_snapshot=self._take_snapshot,
        )
        config = Config(
            node=node,
            draw_timeout=simulation.draw,
            applied=state.index,
            async_storage_writes=True,
            **simulation.weather.core,
        )
        self.core = Core(config, self._log)
        self._invariants.started(node, self.core, state)

    def _recover_log(self) -> None:
        """Reset the log to a snapshot whose installation a crash has interrupted."""
        state = self._machine.state
        # Had it been reset, entries and a commit index could have followed: they stay.
        if self._machine.installing and not self._disk.holds(state.index, state.term):
            self._disk.reset(state.index, state.term)
            self._disk.sync(self._disk.asked_count)
        self._machine.installing = False

    def _take_snapshot(self) -> Snapshot:
        state = self._machine.state
        if state.index == 0:
            raise SnapshotTemporarilyUnavailable
        return Snapshot(state.index, state.term, state.membership, state.digest.to_bytes(4, "big"))

    # What happens to it. Each tells whether anything did.

    def tick(self, _: object = None) -> bool:
        if self._must_wait(self.tick):
            return False
        self._simulation.after(max(1, round(tick_units / self.pace)), self.tick)
        self.note("ticks")
        self.core.tick()
        self.turn()
        return True

    def receive(self, message: Message) -> bool:
        self.note("receives", message)
        self._step(message)
        self.turn()
        return True

    def hear_unreachable(self, peer: int) -> bool:
        if self._must_wait(self.hear_unreachable, peer):
            return False
        self.note("cannot reach", peer)
        self.core.report_unreachable(peer)
        self.turn()
        return True

    def hear_of_snapshot(self, report: tuple[int, bool]) -> bool:
        if self._must_wait(self.hear_of_snapshot, report):
            return False
        self.note("hears of its snapshot", report)
        self.core.report_snapshot(*report)
        self.turn()
        return True

    def compact(self, index: int) -> None:
        """Forget the log up to an applied index, as soon as the machine is surely that far."""
        self.note("compacts its log up to", index)
        self._machine.sync()
        self._log.compact(index)

    def crash(self) -> tuple[int, bool]:
        """Stop at once; return how many writes were lost and whether one was torn."""
        self._is_stopped = True
        lost_count, is_torn = self._disk.crash(
            self._simulation.random, self._syncing[-1].asked_count if self._syncing else 0
        )
        self._machine.crash(self._simulation.random)
        self.note("crashes and loses writes:", (lost_count, "one torn" if is_torn else "none torn"))
        return lost_count, is_torn

    def resume(self) -> None:
        """Go on after a pause; what was missed happens now."""
        if self.is_paused:
            self.is_paused = False
            for action, argument in self.missed:
                self._simulation.after(0, action, argument)
            self.missed.clear()

    @property
    def applied(self) -> int:
        """Return the index that the state machine has reached."""
        return self._machine.state.index

    @property
    def is_leader(self) -> bool:
        return self.core.leader == self.node

    # What it does about it.

    def _step(self, message: Message) -> None:
        try:
            self.core.step(message)
        except ProposalDropped:
            self.note("drops the proposal")
        except StepError as error:
            # Everybody here is honest; but the sender, or this node itself, may be no member now.
            if "peer not found" not in str(error):
                raise
            self.note("does not know the sender")

    def turn(self) -> None:
        """Do all that the core wants done, then look at what has become of the node."""
        core, invariants, node = self.core, self._invariants, self.node
        while core.has_ready():
            ready = core.ready()
            state = ready.hard_state
            vote_requests = []
            for message in ready.messages:
                to = message.to
                if to == APPEND_THREAD:
                    invariants.logged(node, core, message)
                    if state is not None:
                        invariants.moved(node, core, state)
                        state = None
                    self._write(message, vote_requests)
                elif to == APPLY_THREAD:
                    self._hand_out(message)
                elif message.type == _VOTE:
                    # A candidate that forgot its term could lead that term twice, and one that
                    # lost entries could be elected by votes that were given for them.
                    vote_requests.append(message)
                else:
                    self._send(message)
            if state is not None:
                invariants.moved(node, core, state)
            soft_state = ready.soft_state
            if soft_state is not None and soft_state.role == Role.LEADER:
                invariants.elected(node, core)
            for read_state in ready.read_states:
                self._read(read_state)

    def _write(self, message: Message, vote_requests: list[Message]) -> None:
        must_sync = self._log.write(message)
        write = Write(message, self._disk.asked_count, vote_requests)
        if not must_sync and not self._syncing:
            self._written(write)
            return
        self._queued.append(write)
        if not self._syncing:
            self._start_sync()

    def _start_sync(self) -> None:
        self._syncing, self._queued = self._queued, []
        for write in self._syncing:
            if write.message.snapshot is not None:
                self._install(write.message.snapshot)
        delay = 1 + int(self._simulation.random.random() * self._simulation.weather.sync_units_max)
        self._simulation.after(delay, self._synced)

    def _synced(self, _: object = None) -> bool:
        if self._must_wait(self._synced):
            return False
        self.note("has synced appends:", len(self._syncing))
        self._machine.installing = False
        writes, self._syncing = self._syncing, []
        # One after the other, for the checks: a later one may take back what an earlier one wrote.
        for write in writes:
            self._disk.sync(write.asked_count)
            self._written(write)
        if self._queued:
            self._start_sync()
        self.turn()
        return True

    def _written(self, write: Write) -> None:
        """Go on after a write: it is durable, and so are all before it."""
        self._log.written(write.message)
        for request in write.vote_requests:
            self._send(request)
        for response in write.message.responses:
            self._invariants.promised(self.node, response)
            if response.to == self.node:
                self._step(response)
            else:
                self._send(response)

    def _install(self, snapshot: Snapshot) -> None:
        before = self._machine.state
        digest = int.from_bytes(snapshot.data, "big")
        after = State(snapshot.index, snapshot.term, snapshot.conf_state, digest)
        self.note("installs the snapshot", (snapshot.index, snapshot.term))
        self._invariants.installed(self.node, before, after)
        self._machine.install(after)
        self._simulation.totals.snapshots += 1

    def _hand_out(self, message: Message) -> None:
        self._invariants.handed_out(self.node, message.entries)
        self._applying.append(message)
        if len(self._applying) == 1:
            self._start_to_apply()

    def _start_to_apply(self) -> None:
        delay = 1 + int(self._simulation.random.random() * self._simulation.weather.apply_units_max)
        self._simulation.after(delay, self._apply)

    def _apply(self, _: object = None) -> bool:
        if self._must_wait(self._apply):
            return False
        message = self._applying.popleft()
        self.note("applies", message)
        self._machine.begin_turn()
        for entry in message.entries:
            # A snapshot that was installed in the meantime may be beyond it.
            if entry.index > self._machine.state.index:
                self._apply_entry(entry)
        for response in message.responses:
            self.core.step(response)
        if self._applying:
            self._start_to_apply()
        self.turn()
        return True

    def _apply_entry(self, entry: Entry) -> None:
        before = self._machine.state
        membership = before.membership
        if entry.kind != EntryKind.NORMAL:
            change = decode_conf_change(EntryKind(entry.kind), entry.data)
            membership = self.core.apply_conf_change(change)
            self.note("has the membership", membership)
            if self.is_leader and self.node not in membership.voters + membership.voters_outgoing:
                self._simulation.totals.seeds_without_recovery = 1
        digest = crc32(entry.data, before.digest ^ entry.term)
        after = State(entry.index, entry.term, membership, digest)
        self._invariants.applied(self.node, before, after)
        self._machine.state = after
        if entry.kind == EntryKind.NORMAL and entry.data:
            self._simulation.clients.applied(self.node, entry)

    def _read(self, state: ReadState) -> None:
        self.note("may read at", state.index)
        self._simulation.clients.may_read(self.node, state)

    # Helpers.

    def _must_wait(self, action: object, argument: object = None) -> bool:
        """Tell whether it is stopped, or paused: then the action is taken up later."""
        if self.is_paused and not self._is_stopped:
            self.missed.append((action, argument))
        return self._is_stopped or self.is_paused

    def note(self, what: str, detail: object = "") -> None:
        """Put something that happens to this node into the trace."""
        simulation = self._simulation
        simulation.trace.add((simulation.step, simulation.now, self.node, what, detail))
