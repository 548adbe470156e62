"""A few replicas with logs in memory, and the messages between them in the test's hands."""

from collections import Counter

from regatta.raft import Config
from regatta.raft import ConfState
from regatta.raft import Core
from regatta.raft import Entry
from regatta.raft import EntryKind
from regatta.raft import HardState
from regatta.raft import MembershipError
from regatta.raft import Message
from regatta.raft import ReadState
from regatta.raft import Role
from regatta.raft import Snapshot
from regatta.raft import StepError
from regatta.raft import decode_conf_change
from tests.conformance.storage import MemoryStorage

ELECTION_TICKS = 10


class Replicas:
    """One group in synchronous mode. Nothing moves unless a method here moves it."""

    def __init__(self, voters=(1, 2, 3), learners=(), **settings):
        """Make a replica of each member; *settings* go into every Config."""
        self.settings = {"election_ticks": ELECTION_TICKS, "heartbeat_ticks": 1, **settings}
        self.network: list[Message] = []
        self.cut: set[int] = set()  # whoever hears nobody, and is not heard
        self.storages: dict[int, MemoryStorage] = {}
        self.cores: dict[int, Core] = {}
        self.committed: dict[int, list[Entry]] = {}
        self.read_states: dict[int, list[ReadState]] = {}
        self.impossible = Counter()  # membership changes that could not be applied
        for node in (*voters, *learners):
            state = ConfState(voters=voters, learners=learners)
            self.storages[node] = MemoryStorage(Snapshot(conf_state=state))
            self.start(node)

    def __getitem__(self, node) -> Core:
        return self.cores[node]

    def start(self, node, **settings):
        """Start a replica, or start it anew, from what it has stored."""
        # Node 1 waits for the shortest time, so that the others don't campaign by themselves.
        config = Config(
            node=node,
            draw_timeout=lambda low, high: low if node == 1 else high,
            **{**self.settings, **settings},
        )
        self.cores[node] = Core(config, self.storages[node])
        self.committed[node] = []
        self.read_states[node] = []

    def work(self, node):
        """Do what a replica asks for until it asks for nothing."""
        core, storage = self.cores[node], self.storages[node]
        while core.has_ready():
            ready = core.ready()
            if ready.snapshot is not None:
                storage.apply_snapshot(ready.snapshot)
            storage.append(ready.entries)
            storage.hard_state = ready.hard_state or storage.hard_state
            self.network += ready.messages
            for entry in ready.committed_entries:
                storage.applied(entry, b"", self.state_after(node, entry))
            self.committed[node] += ready.committed_entries
            self.read_states[node] += ready.read_states
            core.advance()

    def state_after(self, node, entry):
        """Apply an entry that changes the membership, and return the new one."""
        if entry.kind == EntryKind.NORMAL:
            return None
        try:
            change = decode_conf_change(entry.kind, entry.data)
            return self.cores[node].apply_conf_change(change)
        except MembershipError:
            self.impossible[node] += 1
            return None

    def deliver(self):
        """Deliver all messages on their way, and return them; nobody has answered yet."""
        for node in self.cores:
            self.work(node)
        delivered, self.network = self.network, []
        for message in delivered:
            if message.to in self.cores and not {message.to, message.sender} & self.cut:
                self.cores[message.to].step(message)
        return delivered

    def settle(self):
        """Deliver messages until none is left."""
        while self.deliver():
            pass

    def elect(self, node):
        """Make a leader."""
        self.cores[node].campaign()
        self.settle()
        assert self.cores[node].role == Role.LEADER
        return self.cores[node]

    def tick(self, count=1):
        """Let time pass for all."""
        for _ in range(count):
            for core in self.cores.values():
                core.tick()

    def data(self, node):
        """Return what was proposed and committed at a replica, membership changes left out."""
        entries = [entry for entry in self.committed[node] if entry.kind == EntryKind.NORMAL]
        return [entry.data for entry in entries if entry.data]


def messages_of(core, type=None):
    """Take a Ready of a replica and return its messages, of one type if given.

    All that it asks for counts as done.
    """
    messages = core.ready().messages
    core.advance()
    return [message for message in messages if type is None or message.type == type]


def single(entries=(), hard_state=None, voters=(1, 2, 3), log=None, **settings):
    """Return replica 1 of a group whose other members are played by the test, and its storage."""
    storage = MemoryStorage(Snapshot(conf_state=ConfState(voters=voters)))
    storage.append(list(entries))
    storage.hard_state = hard_state or HardState()
    settings = {"election_ticks": ELECTION_TICKS, "heartbeat_ticks": 1, **settings}
    config = Config(node=1, draw_timeout=lambda low, high: high, **settings)
    return Core(config, storage, log), storage


def work(core, storage):
    """Store what a replica asks for, and return all its messages."""
    messages = []
    while core.has_ready():
        ready = core.ready()
        storage.append(ready.entries)
        storage.hard_state = ready.hard_state or storage.hard_state
        messages += ready.messages
        core.advance()
    return messages


def state_of(core):
    """Return all of a replica's state that a message it refuses must not change."""
    return (core.term, core.vote, core.committed, core.applied, core.last_index, core.conf_state)


def refuses(core, message) -> str:
    """Return why a replica refuses *message*, or an empty text if it does not."""
    try:
        core.step(message)
    except StepError as error:
        return str(error)
    return ""
