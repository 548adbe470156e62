"""A group of three replicas, and a peer that sends it anything at all."""

from contextlib import suppress
from random import Random
from typing import Any

from regatta.raft import APPEND_THREAD
from regatta.raft import APPLY_THREAD
from regatta.raft import ConfChange
from regatta.raft import Core
from regatta.raft import Entry
from regatta.raft import EntryKind
from regatta.raft import MalformedMessage
from regatta.raft import MembershipError
from regatta.raft import Message
from regatta.raft import MessageType
from regatta.raft import ProposalDropped
from regatta.raft import Snapshot
from regatta.raft import StepError
from regatta.raft import decode_conf_change
from regatta.raft import decode_message
from tests.fuzz import raft
from tests.fuzz.messages import changed
from tests.fuzz.mutation import below
from tests.fuzz.mutation import pick
from tests.raft.group import Group
from tests.raft.group import Replica

# A group that was lied to may talk for ever: this is how much of it we listen to.
MESSAGES_MAX = 2000
OPTIONS = ("check_quorum", "pre_vote", "steps_down_on_removal")
STORAGE_THREADS = (APPEND_THREAD, APPLY_THREAD)


class HostileGroup(Group):
    """Steps what it must; a message that is refused is a message that is lost."""

    def __init__(self, chance: Random) -> None:
        """Make a group with some options on, and a leader, an entry and a half-done one."""
        options: dict[str, Any] = {option: chance.random() < 0.3 for option in OPTIONS}
        options["lease_reads"] = options["check_quorum"] and chance.random() < 0.5
        super().__init__(**options)
        self.message_count = 0
        self.apply = self.change_membership
        leader = self.elect(1)
        leader.propose(b"entry")
        if chance.random() < 0.5:
            self.run()
        leader.propose(b"another")

    def deliver(self, message: Message) -> None:
        """Step a message where it is for, if anybody is there."""
        self.message_count += 1
        replica = self.replicas.get(message.to)
        if replica and self.message_count < MESSAGES_MAX:
            step(replica.core, message)

    def change_membership(self, replica: Replica, entries: list[Entry]) -> None:
        """Apply entries; a change that can't be read is none, and so is one that is refused."""
        for entry in entries:
            if entry.kind != EntryKind.NORMAL:
                try:
                    change = decode_conf_change(entry.kind, entry.data)
                except MalformedMessage:
                    change = ConfChange()
                with suppress(MembershipError):
                    replica.core.apply_conf_change(change)

    def run_some(self) -> None:
        """Carry out what each replica has to do, once."""
        for replica in self.replicas.values():
            if replica.core.has_ready():
                self.carry_out(replica, replica.core.ready())


def step(core: Core, message: Message) -> None:
    """Step a message that may be refused."""
    with suppress(StepError, ProposalDropped):
        core.step(message)


def make_credible(chance: Random, core: Core, message: Message) -> None:
    """Let a message be one that a member could send now, but for what it claims."""
    message.term = core.term + below(chance, 2)
    message.sender = pick(chance, (1, 2, 3))
    message.index = max(0, core.last_index + 1 - below(chance, 4))
    message.log_term = max(0, message.term - below(chance, 2))
    message.commit = max(0, core.last_index + 1 - below(chance, 4))
    if message.type == MessageType.PROP and not message.entries:
        message.entries = [Entry(0, 0, 0, b"proposal")]
    elif message.type != MessageType.PROP:
        term = message.log_term
        message.entries = [
            Entry(term, message.index + count, entry.kind, entry.data)
            for count, entry in enumerate(message.entries, start=1)
        ]
    if message.snapshot:
        index, conf_state = core.last_index + 2 - below(chance, 4), message.snapshot.conf_state
        message.snapshot = Snapshot(index, message.log_term, conf_state)


def check_group(chance: Random) -> None:
    """Send a group some messages; any may be refused, none may do more harm than a lie does."""
    group = HostileGroup(chance)
    for _ in range(1 + below(chance, 6)):
        data = raft.message(chance).SerializeToString()
        try:
            message = decode_message(changed(chance, data) if chance.random() < 0.3 else data)
        except MalformedMessage:
            continue
        replica = pick(chance, tuple(group.replicas.values()))
        if chance.random() < 0.8:
            make_credible(chance, replica.core, message)
        if message.sender in STORAGE_THREADS:
            continue  # no transport lets these in
        step(replica.core, message)
        if chance.random() < 0.3:
            replica.core.tick()
        if chance.random() < 0.6:
            group.run_some()
        replica.core.status()
