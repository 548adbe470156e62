"""Scenarios between nodes: cores with storage in memory, and one list of messages under way."""

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from regatta.raft import APPEND_THREAD
from regatta.raft import APPLY_THREAD
from regatta.raft import Compacted
from regatta.raft import ConfChange
from regatta.raft import Config
from regatta.raft import ConfState
from regatta.raft import Core
from regatta.raft import Entry
from regatta.raft import EntryKind
from regatta.raft import HardState
from regatta.raft import Message
from regatta.raft import MessageType
from regatta.raft import ProposalDropped
from regatta.raft import Role
from regatta.raft import Snapshot
from regatta.raft import StepError
from regatta.raft import Transition
from regatta.raft import decode_conf_change
from tests.conformance import describe
from tests.conformance.grammar import BadScenario
from tests.conformance.grammar import Directive
from tests.conformance.grammar import boolean
from tests.conformance.grammar import integer
from tests.conformance.output import Output
from tests.conformance.output import UnknownLevel
from tests.conformance.storage import MemoryStorage
from tests.conformance.storage import SnapshotTooOld

election_ticks = 3
heartbeat_ticks = 1
STORAGE_THREADS = (APPEND_THREAD, APPLY_THREAD)

# What each option of add-nodes is called in the core's configuration, and how to read it.
NODE_OPTIONS: dict[str, tuple[str, Callable[[str], Any]]] = {
    "async-storage-writes": ("async_storage_writes", boolean),
    "prevote": ("pre_vote", boolean),
    "checkquorum": ("check_quorum", boolean),
    "step-down-on-removal": ("steps_down_on_removal", boolean),
    "disable-conf-change-validation": ("validates_conf_changes", lambda text: not boolean(text)),
    "inflight": ("inflight_messages_max", integer),
    "max-committed-size-per-ready": ("committed_bytes_max", integer),
    "read-only": ("lease_reads", {"safe": False, "lease-based": True}.__getitem__),
}
TRANSITIONS = {
    "auto": Transition.AUTO,
    "implicit": Transition.JOINT_IMPLICIT,
    "explicit": Transition.JOINT_EXPLICIT,
}


class Refused(Exception):
    """The directive can't be carried out, and says so in its output."""


# Errors that a scenario expects by their text; all others are the harness's or the core's faults.
EXPECTED = (Refused, ProposalDropped, StepError, Compacted, SnapshotTooOld, UnknownLevel)


@dataclass
class Node:
    """A core, what it keeps, and the work of its storage threads."""

    core: Core
    storage: MemoryStorage
    asynchronous: bool
    append_work: deque[Message] = field(default_factory=deque)
    apply_work: deque[Message] = field(default_factory=deque)

    def persist(
        self, hard_state: HardState | None, entries: list[Entry], snapshot: Snapshot | None
    ) -> None:
        """Store what is given; raises Refused for entries beside a snapshot."""
        if hard_state:
            self.storage.hard_state = hard_state
        if snapshot is not None and snapshot.index:
            if entries:
                raise Refused("can't apply snapshot and entries at the same time")
            self.storage.apply_snapshot(snapshot)
        else:
            self.storage.append(entries)

    def apply(self, entries: Iterable[Entry]) -> None:
        """Apply committed entries; changes of the configuration go to the core."""
        for entry in entries:
            if entry.kind == EntryKind.NORMAL:
                self.storage.applied(entry, entry.data, None)
                continue
            change = decode_conf_change(EntryKind(entry.kind), entry.data)
            conf_state = self.core.apply_conf_change(change)
            self.storage.applied(entry, change.context, conf_state)


class InteractionSuite:
    """All nodes, numbered from 1, and the messages between them in one order."""

    def __init__(self) -> None:
        """Begin without nodes."""
        self.commands: dict[str, Callable[[Directive], None]] = {
            "_breakpoint": lambda directive: None,
            "add-nodes": self._add_nodes,
            "campaign": self._campaign,
            "compact": self._compact,
            "deliver-msgs": self._deliver_msgs,
            "forget-leader": self._forget_leader,
            "log-level": self._log_level,
            "process-append-thread": self._process_append_thread,
            "process-apply-thread": self._process_apply_thread,
            "process-ready": self._process_ready,
            "propose": self._propose,
            "propose-conf-change": self._propose_conf_change,
            "raft-log": self._raft_log,
            "raft-state": self._raft_state,
            "report-unreachable": self._report_unreachable,
            "send-snapshot": self._send_snapshot,
            "set-randomized-election-timeout": self._set_election_timeout,
            "stabilize": self._stabilize,
            "status": self._status,
            "tick-election": self._tick_election,
            "tick-heartbeat": self._tick_heartbeat,
            "transfer-leadership": self._transfer_leadership,
        }
        self._output = Output()
        self._nodes: dict[int, Node] = {}
        self._in_flight: list[Message] = []

    def run(self, directive: Directive) -> str:
        """Return what *directive* prints; `ok` if that is nothing."""
        self._output.take()
        try:
            self.commands[directive.command](directive)
        except EXPECTED as error:
            if self._output.silent:
                return str(error)
            self._output.write(str(error))
        return self._output.take() or "ok"

    def _node(self, number: int) -> Node:
        if number not in self._nodes:
            raise BadScenario(f"there is no node {number}")
        return self._nodes[number]

    def _one_node(self, directive: Directive) -> Node:
        numbers = directive.numbers()
        if len(numbers) != 1:
            raise BadScenario(f"{directive.command} takes one node")
        return self._node(numbers[0])

    # --- Nodes -----------------------------------------------------------------------------------

    def _add_nodes(self, directive: Directive) -> None:
        (count,) = directive.numbers()
        options = directive.options()
        snapshot = Snapshot()
        if options.keys() & {"voters", "learners", "index", "content"}:
            index = integer(options["index"].value) if "index" in options else 0
            if index <= 1:
                raise Refused("index must be specified as > 1 due to bootstrap")
            voters, learners = (
                options[key].numbers() if key in options else [] for key in ("voters", "learners")
            )
            content = options["content"].value.encode() if "content" in options else b""
            snapshot = Snapshot(index, 1, ConfState(voters, learners=learners), content)
        settings = {
            name: read(options[key].value)
            for key, (name, read) in NODE_OPTIONS.items()
            if key in options
        }
        for _ in range(count):
            self._add_node(snapshot, settings)

    def _add_node(self, snapshot: Snapshot, settings: dict[str, Any]) -> None:
        number = len(self._nodes) + 1
        config = Config(
            node=number,
            election_ticks=election_ticks,
            heartbeat_ticks=heartbeat_ticks,
            # No scenario depends on a timeout that it did not set itself.
            draw_timeout=lambda low, high: high,
            applied=snapshot.index,
            **settings,
        )
        storage = MemoryStorage(snapshot)
        core = Core(config, storage, self._output.log)
        self._nodes[number] = Node(core, storage, config.async_storage_writes)

    # --- What is asked of a core -----------------------------------------------------------------

    def _campaign(self, directive: Directive) -> None:
        self._one_node(directive).core.campaign()

    def _tick_election(self, directive: Directive) -> None:
        self._tick(directive, election_ticks)

    def _tick_heartbeat(self, directive: Directive) -> None:
        self._tick(directive, heartbeat_ticks)

    def _tick(self, directive: Directive, count: int) -> None:
        core = self._one_node(directive).core
        for _ in range(count):
            core.tick()

    def _set_election_timeout(self, directive: Directive) -> None:
        timeout = directive.options()["timeout"].value
        self._one_node(directive).core.election_timeout = integer(timeout)

    def _propose(self, directive: Directive) -> None:
        node, word = directive.words()
        self._node(integer(node)).core.propose(word.encode())

    def _propose_conf_change(self, directive: Directive) -> None:
        options = directive.options()
        try:
            changes = describe.parse_changes(directive.input)
        except ValueError as error:
            raise Refused(str(error)) from None
        transition = options["transition"].value if "transition" in options else "auto"
        if transition not in TRANSITIONS:
            raise BadScenario(f"unknown transition {transition}")
        v1 = "v1" in options and boolean(options["v1"].value)
        if v1 and (len(changes) != 1 or transition != "auto"):
            raise Refused("v1 conf change can only have one operation and no transition")
        change = ConfChange(changes, TRANSITIONS[transition], v1=v1)
        self._one_node(directive).core.propose_conf_change(change)

    def _transfer_leadership(self, directive: Directive) -> None:
        options = directive.options()
        leader, target = (integer(options[key].value) for key in ("from", "to"))
        self._node(leader).core.transfer_leader(target)

    def _forget_leader(self, directive: Directive) -> None:
        self._one_node(directive).core.forget_leader()

    def _report_unreachable(self, directive: Directive) -> None:
        number, peer = directive.numbers()
        self._node(number).core.report_unreachable(peer)

    # --- What is under way -----------------------------------------------------------------------

    def _send_snapshot(self, directive: Directive) -> None:
        sender, to = directive.numbers()
        node = self._node(sender)
        message = Message(
            MessageType.SNAP,
            to=to,
            sender=sender,
            term=node.core.term,
            snapshot=node.storage.snapshot(),
        )
        self._in_flight.append(message)
        self._output.write(describe.describe_message(message))

    def _deliver_msgs(self, directive: Directive) -> None:
        options = directive.options()
        kind = None
        if "type" in options:
            kind = describe.MESSAGE_TYPES.get(options["type"].value)
            if kind is None:
                raise BadScenario(f"unknown type {options['type'].value}")
        count = 0
        for argument in directive.arguments:
            if argument.key == "drop":
                count += sum(self._deliver(to, kind, True) for to in argument.numbers())
            elif argument.values is None:
                count += self._deliver(integer(argument.key), kind)
        if not count:
            self._output.write("no messages\n")

    def _deliver(self, to: int, kind: MessageType | None = None, drop: bool = False) -> int:
        """Hand all messages for one receiver over, or drop them; return their number."""
        taken = [
            message
            for message in self._in_flight
            if message.to == to
            and kind in (None, message.type)
            and not (drop and is_local(message))
        ]
        # The messages are told apart by what they are, not by what they hold.
        gone = set(map(id, taken))
        self._in_flight = [message for message in self._in_flight if id(message) not in gone]
        for message in taken:
            dropped = "dropped: " if drop else ""
            self._output.write(f"{dropped}{describe.describe_message(message)}\n")
            if drop:
                continue
            try:
                self._node(to).core.step(message)
            except (StepError, ProposalDropped) as error:
                self._output.write(f"{error}\n")
        return len(taken)

    def _stabilize(self, directive: Directive) -> None:
        options = directive.options()
        numbers = directive.numbers() or list(self._nodes)
        level = options["log-level"].value if "log-level" in options else None
        with self._output.at_level(level):
            while self._stabilize_once(numbers):
                pass

    def _stabilize_once(self, numbers: list[int]) -> bool:
        """Let each node do all it can do now; return whether there was anything."""
        busy = False
        for number in numbers:
            if self._node(number).core.has_ready():
                busy = True
                with self._output.block(f"{number} handling Ready"):
                    self._handle_ready(number)
        for number in numbers:
            if any(message.to == number for message in self._in_flight):
                busy = True
                with self._output.block(f"{number} receiving messages"):
                    self._deliver(number)
        for number in numbers:
            if self._node(number).append_work:
                busy = True
                with self._output.block(f"{number} processing append thread"):
                    while self._node(number).append_work:
                        self._append_one(number)
        for number in numbers:
            if self._node(number).apply_work:
                busy = True
                with self._output.block(f"{number} processing apply thread"):
                    while self._node(number).apply_work:
                        self._apply_one(number)
        return busy

    # --- What cores have decided -----------------------------------------------------------------

    def _for_each(self, directive: Directive, heading: str, act: Callable[[int], None]) -> None:
        numbers = directive.numbers()
        for number in numbers:
            if len(numbers) > 1:
                with self._output.block(f"{number} {heading}"):
                    act(number)
            else:
                act(number)

    def _process_ready(self, directive: Directive) -> None:
        self._for_each(directive, "handling Ready", self._handle_ready)

    def _process_append_thread(self, directive: Directive) -> None:
        self._for_each(directive, "processing append thread", self._append_one)

    def _process_apply_thread(self, directive: Directive) -> None:
        self._for_each(directive, "processing apply thread", self._apply_one)

    def _handle_ready(self, number: int) -> None:
        node = self._node(number)
        ready = node.core.ready()
        self._output.write(describe.describe_ready(ready))
        if not node.asynchronous:
            node.persist(ready.hard_state, ready.entries, ready.snapshot)
            node.apply(ready.committed_entries)
        queues = {APPEND_THREAD: node.append_work, APPLY_THREAD: node.apply_work}
        for message in ready.messages:
            queues.get(message.to, self._in_flight).append(message)
        if not node.asynchronous:
            node.core.advance()

    def _append_one(self, number: int) -> None:
        node = self._node(number)
        if (work := self._take_work(node.append_work, "append")) is not None:
            hard_state = HardState(work.term, work.vote, work.commit)
            node.persist(hard_state, work.entries, work.snapshot)
            self._respond(work)

    def _apply_one(self, number: int) -> None:
        node = self._node(number)
        if (work := self._take_work(node.apply_work, "apply")) is not None:
            node.apply(work.entries)
            self._respond(work)

    def _take_work(self, queue: deque[Message], kind: str) -> Message | None:
        if not queue:
            self._output.write(f"no {kind} work to perform")
            return None
        work = queue.popleft()
        described = describe.describe_message(work, with_responses=False)
        self._output.write(f"Processing:\n{described}\n")
        return work

    def _respond(self, work: Message) -> None:
        self._output.write("Responses:\n")
        for response in work.responses:
            self._output.write(f"{describe.describe_message(response)}\n")
        self._in_flight += work.responses

    # --- What is there to see --------------------------------------------------------------------

    def _log_level(self, directive: Directive) -> None:
        (name,) = directive.words()
        self._output.set_level(name)

    def _compact(self, directive: Directive) -> None:
        number, index = directive.numbers()
        storage = self._node(number).storage
        storage.compact(index)
        self._write_log(storage)

    def _raft_log(self, directive: Directive) -> None:
        self._write_log(self._one_node(directive).storage)

    def _write_log(self, storage: MemoryStorage) -> None:
        first, last = storage.first_index(), storage.last_index()
        if last < first:
            self._output.write(f"log is empty: first index={first}, last index={last}")
        self._output.write(describe.describe_entries(storage.all_entries()))

    def _raft_state(self, directive: Directive) -> None:
        for number, node in self._nodes.items():
            core = node.core
            configuration = core.configuration
            votes = number in configuration.voters or number in configuration.voters_outgoing
            self._output.write(
                f"{number}: {describe.role_name(Role(core.role))} "
                f"{'(Voter)' if votes else '(Non-Voter)'} Term:{core.term} Lead:{core.leader}\n"
            )

    def _status(self, directive: Directive) -> None:
        progress = self._one_node(directive).core.status().progress
        self._output.write(describe.describe_progress(progress))


def is_local(message: Message) -> bool:
    """Tell whether a message stays within its node, so that no network can lose it."""
    return (
        message.sender == message.to
        or message.sender in STORAGE_THREADS
        or message.to in STORAGE_THREADS
    )
