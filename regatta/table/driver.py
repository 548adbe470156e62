"""Carries entries from a proposal to its answer: log, commit, apply."""

import asyncio
import logging
import os
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from regatta import limits
from regatta.errors import Internal
from regatta.errors import RegattaError
from regatta.errors import StartError
from regatta.errors import Unavailable
from regatta.errors import error_of
from regatta.raft.solo import FIRST_TERM
from regatta.raft.solo import Solo
from regatta.store import GroupState
from regatta.store import Machine
from regatta.store import RaftLog
from regatta.store import TurnWriter
from regatta.store.node import Stores

log = logging.getLogger("regatta.engine")

replay_bytes_max = 8 * limits.MIB  # read from the log at a time
compaction_entries_max = 20_000  # removed in one transaction


@dataclass(frozen=True, slots=True)
class Applied:
    """What became of a proposal."""

    index: int  # of its log entry
    failure_branch: bool  # of a transaction: its comparisons did not hold
    result: bytes  # an encoded CommandResult


class Group:
    """One Raft group of this node: its core, and how far its log has been worked off."""

    __slots__ = ("applied", "compacted", "compacting", "core", "id", "log_bytes")

    def __init__(self, group_id: int, core: Solo, applied: int, compacted: int) -> None:
        self.id = group_id
        self.core = core
        self.applied = applied
        self.compacted = compacted
        self.compacting = False
        self.log_bytes = 0  # of the entries that were added and not yet removed, about


@dataclass(frozen=True, slots=True)
class Proposal:
    """An entry on its way."""

    group: Group
    index: int
    command: bytes
    waiter: asyncio.Future[Applied]


class Driver:
    """Runs the groups of a node over its two storage threads.

    All methods belong to the event loop's thread, and none of them waits for a disk.
    """

    def __init__(self, stores: Stores, node: int, on_failure: Callable[[str], None]) -> None:
        """*on_failure* is called once, with one line, when storage has failed for good."""
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self.log = RaftLog(stores.log, self._wake)
        self.machine = Machine(stores.data, self._wake)
        self._node = node
        # A lone voter stays in its first term.
        self.term = FIRST_TERM
        self._on_failure = on_failure
        self._threads: list[threading.Thread] = []
        # What the threads are working on, oldest first: one step for each item put in.
        self._appending: deque[Proposal | None] = deque()
        self._applying: deque[Proposal | Callable[[], None]] = deque()
        self._appended = 0  # items of the log that have been dealt with
        self._pending_bytes = 0
        self._flush_due = False
        self._failed = False
        self._stalled = False

    # Starting and stopping.

    def start_threads(self) -> None:
        """Start the storage threads, before the event loop does anything with them."""
        for name, writer in (("regatta-log", self.log), ("regatta-data", self.machine)):
            thread = threading.Thread(target=writer.run, name=name, daemon=True)
            thread.start()
            self._threads.append(thread)

    def attach(self, loop: asyncio.AbstractEventLoop) -> None:
        """Let *loop* hear of finished turns."""
        self._loop = loop
        loop.add_reader(self._wake, self._on_wake)
        self._flush_soon()  # what opening the groups has promised

    async def close(self) -> None:
        """Finish what was proposed, unless storage is failing, and end the threads."""
        while (self._appending or self._applying) and not (self._failed or self._stalled):
            await asyncio.sleep(0.005)
        self._loop.remove_reader(self._wake)
        for writer in (self.log, self.machine):
            writer.close()
        for thread in self._threads:
            await asyncio.to_thread(thread.join)
        os.close(self._wake)

    # What operators see; for any thread.

    @property
    def writers(self) -> dict[str, TurnWriter]:
        """Return the storage threads by the name of their environment."""
        return {"log": self.log, "data": self.machine}

    @property
    def failure(self) -> str:
        """Why storage has failed for good; empty while it has not."""
        return self.log.failure or self.machine.failure or ""

    @property
    def stall(self) -> str:
        """Why a turn is being tried again; empty if none is."""
        return self.log.stalled or self.machine.stalled or ""

    @property
    def pending(self) -> tuple[int, int]:
        """How much is on its way, and the size of its commands in bytes."""
        return len(self._appending) + len(self._applying), self._pending_bytes

    # Groups.

    def open_group(
        self, group_id: int, applied: int, applied_term: int, state: GroupState | None
    ) -> Group:
        """Bring a group's applied state up to its log, and return it ready for proposals.

        Blocks until that is done; for the start only. Raises StartError for a damaged log.
        """
        compacted = state.compacted_index if state else 0
        last = max(self.log.last_index(group_id), compacted)
        if applied < compacted:
            raise StartError(
                f"the log of group {group_id} begins after entry {compacted}, "
                f"but only {applied} entries are applied",
                "Bring back the two directories of one moment.",
            )
        if state is None or last < applied:
            if applied:
                raise StartError(
                    f"the log of group {group_id} ends at entry {last}, "
                    f"but {applied} entries are applied",
                    "Bring back the two directories of one moment.",
                )
            self._promise(group_id)
        self._replay(group_id, applied, last)
        return Group(group_id, Solo(self._node, last), last, compacted)

    def new_group(self, group_id: int) -> Group:
        """Return a group that has just been created."""
        self._promise(group_id)
        self._flush_soon()
        return Group(group_id, Solo(self._node, 0), 0, 0)

    def _promise(self, group_id: int) -> None:
        core = Solo(self._node, 0)
        self.log.set_state(group_id, GroupState(core.term, core.vote))
        self._appending.append(None)

    def _replay(self, group_id: int, applied: int, last: int) -> None:
        if applied < last:
            log.info("applying entries %d to %d of group %d", applied + 1, last, group_id)
        while applied < last:
            entries = self.log.entries(group_id, applied + 1, replay_bytes_max)
            for entry in entries:
                self.machine.apply(group_id, entry.index, entry.term, entry.payload, entry.kind)
            applied = entries[-1].index
            self.machine.flush()
            self._wait_for_machine()

    def _wait_for_machine(self) -> None:
        pause = threading.Event()
        while self.machine.committed < self.machine.queued:
            if self.machine.failure:
                raise StartError(self.machine.failure, "Check the disk and start again.")
            if self.machine.stalled:
                raise StartError(
                    f"can't bring the data up to the log: {self.machine.stalled}",
                    "Make room on the disk and start again.",
                )
            pause.wait(0.001)
        self.machine.take_results()

    # Proposals.

    def propose(self, group: Group, command: bytes) -> asyncio.Future[Applied]:
        """Put an encoded Command into the log of *group*; the future tells what came of it.

        Raises Unavailable, with nothing done, when too much is waiting or storage has failed.
        """
        if self._failed:
            raise Unavailable("the node is stopping")
        if self._pending_bytes + len(command) > limits.queue_bytes_max:
            raise Unavailable("system is too busy try again later")
        index = group.core.propose()
        proposal = Proposal(group, index, command, self._loop.create_future())
        self._pending_bytes += len(command)
        self.log.append(group.id, index, group.core.term, command)
        self._appending.append(proposal)
        self._flush_soon()
        return proposal.waiter

    def _flush_soon(self) -> None:
        """Start the storage threads on what was queued, once for all of this turn of the loop."""
        if not self._flush_due:
            self._flush_due = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flush_due = False
        self.log.flush()
        self.machine.flush()

    # Outcomes.

    def _on_wake(self) -> None:
        os.eventfd_read(self._wake)
        self._take_appended()
        self._take_applied()
        failure = self.log.failure or self.machine.failure
        if failure and not self._failed:
            self._fail(failure)
        self._note_stall()

    def _take_appended(self) -> None:
        committed = self.log.committed
        while self._appended < committed:
            self._appended += 1
            step = self._appending.popleft()
            if step is not None:
                for _ in step.group.core.persisted(step.index):
                    self._apply(step)
        if self._applying:
            self._flush_soon()

    def _apply(self, proposal: Proposal) -> None:
        group = proposal.group
        self.machine.apply(group.id, proposal.index, group.core.term, proposal.command)
        self._applying.append(proposal)

    def _take_applied(self) -> None:
        for code, failure_branch, payload in self.machine.take_results():
            step = self._applying.popleft()
            if isinstance(step, Proposal):
                self._answer(step, code, failure_branch, payload)
            else:
                step()

    def _answer(self, proposal: Proposal, code: int, failure_branch: bool, payload: bytes) -> None:
        group = proposal.group
        group.applied = proposal.index
        self._pending_bytes -= len(proposal.command)
        if not proposal.waiter.done():
            if code:
                proposal.waiter.set_exception(error_of(code, payload.decode()))
            else:
                proposal.waiter.set_result(Applied(proposal.index, failure_branch, payload))
        group.log_bytes += len(proposal.command)
        entry_count = group.applied - group.compacted
        if entry_count >= limits.log_compaction_entries:
            self._compact(group, entries_kept=limits.log_entries_kept)
        elif group.log_bytes >= limits.log_compaction_bytes:
            self._compact(group, entries_kept=entry_count // 2)

    def _compact(self, group: Group, *, entries_kept: int) -> None:
        """Remove old entries, once all that they did is sure to survive a power cut."""
        target = min(group.applied - entries_kept, group.compacted + compaction_entries_max)
        if group.compacting or target <= group.compacted:
            return
        group.compacting = True

        def data_is_synced() -> None:
            self.log.compact(group.id, target)
            self._appending.append(None)
            group.log_bytes = (
                group.log_bytes * (group.applied - target) // (group.applied - group.compacted)
            )
            group.compacted = target
            group.compacting = False
            self._flush_soon()

        self.machine.sync()
        self._applying.append(data_is_synced)
        self._flush_soon()

    def _fail(self, failure: str) -> None:
        """Storage is gone: nothing more can be promised, so everything that waits is told."""
        self._failed = True
        log.error("storage has failed for good: %s", failure)
        error: RegattaError = Internal(f"{failure}: the write may still take effect")
        for step in (*self._appending, *self._applying):
            if isinstance(step, Proposal) and not step.waiter.done():
                step.waiter.set_exception(error)
        self._on_failure(failure)

    def _note_stall(self) -> None:
        """Say once when a turn can't be written, and once when it could."""
        reason = self.log.stalled or self.machine.stalled
        if reason and not self._stalled:
            log.warning("writes are waiting: %s; trying again until it works", reason)
        elif self._stalled and not reason:
            log.warning("writes go on")
        self._stalled = bool(reason)
