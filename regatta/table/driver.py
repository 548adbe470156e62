"""Carries entries from a proposal to its answer: log, commit, apply."""

import asyncio
import logging
import os
import select
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from regatta import limits
from regatta.errors import Internal
from regatta.errors import RegattaError
from regatta.errors import ResourceExhausted
from regatta.errors import StartError
from regatta.errors import Unavailable
from regatta.raft import APPEND_THREAD
from regatta.raft import APPLY_THREAD
from regatta.raft import Entry
from regatta.raft import Message
from regatta.raft import decode_conf_change
from regatta.raft import encode_conf_state
from regatta.store import Checkpointer
from regatta.store import GroupState
from regatta.store import Machine
from regatta.store import RaftLog
from regatta.store import TableState
from regatta.store import TurnWriter
from regatta.store.node import Stores
from regatta.store.space import Room
from regatta.table._leaders import Leaders
from regatta.table._write import Queue
from regatta.table._write import WriteSink
from regatta.table._write import expire
from regatta.table._write import settle
from regatta.table.group import Applied
from regatta.table.group import Group
from regatta.table.group import Proposal
from regatta.table.group import alone
from regatta.table.group import open_group

log = logging.getLogger("regatta.engine")

expiry_interval_s = 0.1  # between looks at the deadlines of kept writes
settle_poll_ms = 200  # a storage thread that is stuck wakes nobody
thread_names = ("regatta-log", "regatta-data", "regatta-checkpoint")
no_room = (
    "the disk is nearly full: delete pairs or make room on it; "
    "writes are taken again as soon as there is room"
)

Result = tuple[int, bool, bytes]  # what applying an entry came to: code, failure branch, answer


@dataclass(slots=True)
class Write:
    """A MsgStorageAppend on its way to the disk."""

    ticket: int  # it is durable once the log has committed so many items
    group: Group
    message: Message


@dataclass(slots=True)
class Work:
    """What the data thread was given, and who takes the results as they come."""

    left: int  # results that are still to come
    take: Callable[[list[Result]], None]


@dataclass(slots=True)
class Compaction:
    """Entries that are to leave a log."""

    ticket: int  # the items of the machine that must be in a checkpoint first
    group: Group
    target: int  # up to this index


class Driver:
    """Runs the groups of a node over its two storage threads.

    All methods belong to the event loop's thread, and none of them waits for a disk. A turn of the
    loop puts all proposals of a group into its log at once, and hands to the storage threads what
    the cores want written and applied. What a core promises others goes out when it is durable.
    """

    def __init__(self, stores: Stores, node: int, on_failure: Callable[[str], None]) -> None:
        """*on_failure* is called once, with one line, when storage has failed for good."""
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self.log = RaftLog(stores.log, self._wake)
        self.machine = Machine(stores.data, self._wake)
        self.checkpointer = Checkpointer(self.machine, self._wake)
        self.leaders = Leaders()
        self._node = node
        self._on_failure = on_failure
        self._crash_report = stores.crash_report
        self._threads: list[threading.Thread] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._groups: list[Group] = []
        self._stirred: dict[Group, None] = {}  # groups that have something to say, oldest first
        # What the threads are working on, oldest first.
        self._writing: deque[Write] = deque()
        self._applying: deque[Work] = deque()
        self._compacting: deque[Compaction] = deque()
        self._turns_seen = 0  # of the data thread
        self.queue = Queue()
        self._expiry: asyncio.TimerHandle | None = None  # while kept writes wait
        self._turn_due = False
        self._failed = False
        self._stalled = False
        self._room = Room(stores.log, stores.data)
        self._short = False  # of room, as far as the log tells

    # Starting and stopping.

    def start_threads(self) -> None:
        """Start the storage threads, before the event loop does anything with them."""
        runs = (self.log.run, self.machine.run, self.checkpointer.run)
        for name, run in zip(thread_names, runs, strict=True):
            thread = threading.Thread(target=run, name=name, daemon=True)
            thread.start()
            self._threads.append(thread)

    def attach(self, loop: asyncio.AbstractEventLoop) -> None:
        """Let *loop* hear of finished turns."""
        self._loop = loop
        self.queue.is_open = True
        loop.add_reader(self._wake, self._on_wake)
        self._turn_soon()

    async def close(self) -> None:
        """Finish what was proposed, unless storage is failing, and end the threads."""
        while self._is_busy and not (self._failed or self._stalled):
            await asyncio.sleep(0.005)
        self.queue.is_open = False
        if self._expiry is not None:
            self._expiry.cancel()
        if self._loop is not None:
            self._loop.remove_reader(self._wake)
        closes = (self.log.close, self.machine.close, self.checkpointer.close)
        for close, thread in zip(closes, self._threads, strict=False):
            close()
            await asyncio.to_thread(thread.join)
        os.close(self._wake)

    @property
    def _is_busy(self) -> bool:
        return bool(self.queue.count or self._writing or self._applying)

    # What operators see; for any thread.

    @property
    def writers(self) -> dict[str, TurnWriter]:
        """Return the storage threads by the name of their environment."""
        return {"log": self.log, "data": self.machine}

    @property
    def failure(self) -> str:
        """Why storage has failed for good; empty while it has not."""
        return self.log.failure or self.machine.failure or self.checkpointer.failure

    @property
    def stall(self) -> str:
        """Why a turn is being tried again; empty if none is."""
        return self.log.stalled or self.machine.stalled or ""

    @property
    def pending(self) -> tuple[int, int]:
        """How many writes are on their way, and the size of their commands in bytes."""
        return self.queue.count, self.queue.bytes

    # Groups.

    def open_group(self, table: TableState, state: GroupState | None) -> Group:
        """Return a group that will take proposals; *state* is what the log has for it, or None.

        It stands for election at once. Raises StartError for a log that is damaged or not that of
        *table*, the group's applied state.
        """
        group = open_group(table, self.log.group(table.group, state), self._node)
        if not table.membership:
            self.machine.set_membership(group.id, encode_conf_state(alone(self._node)))
            self._applying.append(Work(1, lambda _: None))
        last = group.core.last_index
        if group.applied < last:
            log.info("applying entries %d to %d of group %d", group.applied + 1, last, group.id)
        self._groups.append(group)
        group.stand()
        self._stir(group)
        return group

    def settle(self) -> None:
        """Block until this node leads every group and has applied its log; for the start only.

        Raises StartError if storage fails meanwhile.
        """
        poll = select.poll()
        poll.register(self._wake, select.POLLIN)
        self._turn()
        while not all(group.is_settled for group in self._groups):
            if poll.poll(0 if self._stirred else settle_poll_ms):
                os.eventfd_read(self._wake)
            self._take_finished()
            if self.failure:
                raise StartError(self.failure, "Check the disk and start again.")
            if self.stall:
                raise StartError(
                    f"can't bring log and data up to date: {self.stall}",
                    "Make room on the disk and start again.",
                )
            self._turn()

    # Proposals.

    def propose(
        self, group: Group, command: bytes, *, adds_data: bool = True
    ) -> asyncio.Future[Applied]:
        """Put an encoded Command into the log of *group*; the future tells what came of it.

        Raises, with nothing done, Unavailable when too much is waiting or storage has failed, and
        ResourceExhausted when the disk is nearly full and the command *adds_data*.
        """
        if self._failed or self._loop is None:
            raise Unavailable("the node is stopping" if self._failed else "the node is starting")
        if self.queue.bytes + len(command) > limits.queue_bytes_max:
            raise Unavailable("system is too busy try again later")
        if adds_data:
            self._take_room(len(command))
        waiter: asyncio.Future[Applied] = self._loop.create_future()
        group.proposed.append(Proposal(command, waiter))
        self.queue.count += 1
        self.queue.bytes += len(command)
        self._stir(group)
        return waiter

    def sink(self, groups: dict[bytes, Group], read_only: frozenset[bytes]) -> WriteSink:
        """Return what takes writes to *groups*, by name, natively; but not those to *read_only*."""
        return WriteSink(
            self.queue,
            groups,
            read_only,
            self._stir_kept,
            self._admit,
            self._node,
            self.leaders,
        )

    def _stir_kept(self, group: Group) -> None:
        self._stir(group)
        if self._expiry is None and self._loop is not None:
            self._expiry = self._loop.call_later(expiry_interval_s, self._expire)

    def _expire(self) -> None:
        """Answer the kept writes that are too late, and look again while there are others."""
        self._expiry = None
        left = sum(expire(group.proposed) + expire(group.waiting) for group in self._groups)
        if left and self._loop is not None:
            self._expiry = self._loop.call_later(expiry_interval_s, self._expire)

    def _admit(self, command_bytes: int, command_count: int) -> bool:
        if self._short:
            return False  # propose() says when there is room again
        waiting = self.queue
        return self._room.admit(command_bytes, waiting.bytes, waiting.count, command_count)

    def _take_room(self, command_bytes: int) -> None:
        if self._room.admit(command_bytes, self.queue.bytes, self.queue.count):
            if self._short:
                self._short = False
                log.warning("there is room on the disk: writes that add data are taken again")
            return
        spaces = [space for space in (self._room.log, self._room.data) if space.short]
        if not self._short:
            self._short = True
            paths = " and ".join(space.path for space in spaces)
            log.warning(
                "too little room for %s: only deletes are taken until there is more; "
                "delete pairs, or make room on the disk",
                paths,
            )
        if self._room.log in spaces:
            # Pages that hold entries which nobody needs any more are room for the next ones.
            for group in self._groups:
                self._compact(group, entries_kept=0)
        raise ResourceExhausted(no_room)

    # A turn.

    def _stir(self, group: Group) -> None:
        """See to *group* once in this turn of the loop, after everything that happens in it."""
        self._stirred[group] = None
        self._turn_soon()

    def _turn_soon(self) -> None:
        if not self._turn_due and self._loop is not None:
            self._turn_due = True
            self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        self._turn_due = False
        stirred, self._stirred = self._stirred, {}
        try:
            for group in stirred:
                group.enter_log()
                self._carry_out(group)
        except StartError as error:  # the log can't be read any more
            if self._loop is None:
                raise
            self._fail(str(error))
        self.log.flush()
        self.machine.flush()
        # What had nothing to write need not wait for a disk.
        self._take_written()

    def _carry_out(self, group: Group) -> None:
        """Do what the group's core wants done by now."""
        while group.core.has_ready():
            for message in group.core.ready().messages:
                self._deliver(group, message)
        self.leaders.set(group.id, group.core.term, group.core.leader)

    def _deliver(self, group: Group, message: Message) -> None:
        if message.to == APPEND_THREAD:
            self._write(group, message)
        elif message.to == APPLY_THREAD:
            self._apply(group, message)
        elif message.to == self._node:
            group.core.step(message)
            self._stir(group)
        # A group has one voter: what is for others may be lost.

    def _write(self, group: Group, message: Message) -> None:
        is_queued = group.log.write(message)
        if is_queued or message.responses:
            self._writing.append(Write(self.log.queued, group, message))

    def _apply(self, group: Group, message: Message) -> None:
        entries = message.entries
        taken = 0

        def take(results: list[Result]) -> None:
            nonlocal taken
            self._answer(group, entries[taken : taken + len(results)], results)
            taken += len(results)
            if taken == len(entries):
                for response in message.responses:
                    self._deliver(group, response)
                group.stand()

        self._queue_entries(group, entries)
        self._applying.append(Work(len(entries), take))

    def _queue_entries(self, group: Group, entries: list[Entry]) -> None:
        """Hand committed entries to the data thread, each for one result."""
        begin = 0
        for position in [i for i, entry in enumerate(entries) if entry.kind]:
            membership = self._change_membership(group, entries[position])
            if membership:
                entry = entries[position]
                self.machine.apply(group.id, entries[begin:position])
                self.machine.set_membership(group.id, membership, entry.index, entry.term)
                begin = position + 1
        self.machine.apply(group.id, entries[begin:] if begin else entries)

    def _change_membership(self, group: Group, entry: Entry) -> bytes:
        """Return the encoded membership after *entry*, nothing if it makes no sense."""
        try:
            change = decode_conf_change(entry.kind, entry.data)
            return encode_conf_state(group.core.apply_conf_change(change))
        except ValueError as error:
            log.error("entry %d of group %d changes nothing: %s", entry.index, group.id, error)
            return b""

    # Outcomes.

    def _on_wake(self) -> None:
        os.eventfd_read(self._wake)
        self._take_finished()
        if self.failure:
            self._fail(self.failure)
        self._note_stall()

    def _take_finished(self) -> None:
        self._take_written()
        self._take_applied()
        if self.machine.turns != self._turns_seen:
            self._turns_seen = self.machine.turns
            self._room.look(self.queue.bytes, self.queue.count)
            # Pages that only the last checkpoint needs are room, once there is another.
            self.checkpointer.ask(at_once=self._room.is_tight)
        self._take_durable()

    def _take_written(self) -> None:
        """Keep the promises that are durable now."""
        committed = self.log.committed
        while self._writing and self._writing[0].ticket <= committed:
            done = self._writing.popleft()
            done.group.log.written(done.message)
            for response in done.message.responses:
                self._deliver(done.group, response)

    def _take_applied(self) -> None:
        results = self.machine.take_results()
        taken = 0
        while taken < len(results):
            work = self._applying[0]
            portion = results[taken : taken + work.left]
            taken += len(portion)
            work.left -= len(portion)
            if not work.left:
                self._applying.popleft()
            work.take(portion)

    def _answer(self, group: Group, entries: list[Entry], results: list[Result]) -> None:
        """Tell those who wait what applying their entries came to."""
        count, command_bytes = settle(group.waiting, entries, results)
        self.queue.count -= count
        self.queue.bytes -= command_bytes
        group.log_bytes += command_bytes
        group.applied = entries[-1].index
        group.log.trim()
        self._compact_if_long(group)

    # Compaction.

    def _compact_if_long(self, group: Group) -> None:
        entry_count = group.applied - group.log.compacted_index
        if entry_count >= limits.log_compaction_entries:
            self._compact(group, entries_kept=limits.log_entries_kept)
        elif group.log_bytes >= limits.log_compaction_bytes:
            self._compact(group, entries_kept=entry_count // 2)

    def _compact(self, group: Group, *, entries_kept: int) -> None:
        """Remove old entries, once all that they did is sure to survive a power cut."""
        target = group.applied - entries_kept
        if group.compacting or target <= group.log.compacted_index:
            return
        group.compacting = True
        self._compacting.append(Compaction(self.machine.committed, group, target))
        self.checkpointer.ask()

    def _take_durable(self) -> None:
        """Do the compactions that waited for a checkpoint."""
        while self._compacting and self._compacting[0].ticket <= self.checkpointer.durable:
            done = self._compacting.popleft()
            group = done.group
            before = group.log.compacted_index
            compacted = group.log.compact(done.target)
            left, all_of_them = group.applied - compacted, group.applied - before
            group.log_bytes = group.log_bytes * left // all_of_them
            group.compacting = False
            self._turn_soon()
            self._compact_if_long(group)  # by what was applied meanwhile

    # Storage that fails.

    def _fail(self, failure: str) -> None:
        """Storage is gone: nothing more can be promised, so everything that waits is told."""
        if self._failed:
            return
        self._failed = True
        self.queue.is_open = False
        log.error("storage has failed for good: %s", failure)
        self._crash_report.write(failure)
        error: RegattaError = Internal(f"{failure}: the write may still take effect")
        for group in self._groups:
            for proposal in (*group.waiting, *group.proposed):
                proposal.fail(error)
        self._on_failure(failure)

    def _note_stall(self) -> None:
        """Say once when a turn can't be written, and once when it could."""
        reason = self.log.stalled or self.machine.stalled
        if reason:
            self.checkpointer.ask(at_once=True)
        if reason and not self._stalled:
            log.warning("writes are waiting: %s; trying again until it works", reason)
        elif self._stalled and not reason:
            log.warning("writes go on")
        self._stalled = bool(reason)
