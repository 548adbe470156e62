"""A group in memory, carried out as a daemon does it: storage writes are asynchronous.

Here they are done at once and in order, and no message is lost: what goes wrong, callers add.
"""

from collections.abc import Callable, Iterable
from typing import Any

from regatta.raft import APPEND_THREAD
from regatta.raft import APPLY_THREAD
from regatta.raft import Config
from regatta.raft import ConfState
from regatta.raft import Core
from regatta.raft import Entry
from regatta.raft import Message
from regatta.raft import Ready
from regatta.raft import Role
from regatta.raft import Snapshot
from tests.conformance.storage import MemoryStorage

FIRST_INDEX, FIRST_TERM = 10, 1  # of the snapshot that replicas begin with


class Replica:
    """A core and what it has stored and applied."""

    def __init__(self, node: int, voters: Iterable[int], **options: Any) -> None:
        self.storage = MemoryStorage(Snapshot(FIRST_INDEX, FIRST_TERM, ConfState(voters)))
        settings: dict[str, Any] = {"election_ticks": 10, "heartbeat_ticks": 1}
        settings["draw_timeout"] = lambda low, high: low
        self.core = Core(
            Config(
                node=node, applied=FIRST_INDEX, async_storage_writes=True, **{**settings, **options}
            ),
            self.storage,
        )
        self.applied_count = 0

    def append(self, message: Message) -> None:
        """Store what a message to the storage thread asks for."""
        if message.snapshot is not None:
            self.storage.apply_snapshot(message.snapshot)
        self.storage.append(message.entries)


class Group:
    """Some replicas, and what they send to each other."""

    def __init__(self, nodes: Iterable[int] = (1, 2, 3), **options: Any) -> None:
        """Make replicas of all *nodes*, with *options* for their Config."""
        members = tuple(nodes)
        self.replicas = {node: Replica(node, members, **options) for node in members}
        # What is done with messages to other nodes and with committed entries.
        self.send: Callable[[Message], None] = self.deliver
        self.apply: Callable[[Replica, list[Entry]], None] = self.count

    def elect(self, node: int) -> Core:
        """Make *node* the leader and return its core."""
        core = self.replicas[node].core
        core.campaign()
        self.run()
        assert core.role == Role.LEADER
        return core

    def deliver(self, message: Message) -> None:
        """Step a message where it is for."""
        self.replicas[message.to].core.step(message)

    def count(self, replica: Replica, entries: list[Entry]) -> None:
        """Apply entries to nothing."""
        replica.applied_count += len(entries)

    def run(self) -> None:
        """Go on until no replica has anything to do."""
        busy = True
        while busy:
            busy = False
            for replica in self.replicas.values():
                if replica.core.has_ready():
                    self.carry_out(replica, replica.core.ready())
                    busy = True

    def carry_out(self, replica: Replica, ready: Ready) -> None:
        """Store, send and apply what a core asks for."""
        for message in ready.messages:
            if message.to == APPEND_THREAD:
                replica.append(message)
            elif message.to == APPLY_THREAD:
                self.apply(replica, message.entries)
            else:
                self.send(message)
                continue
            for response in message.responses:
                if response.to == replica.core.node:
                    self.deliver(response)
                else:
                    self.send(response)
