"""One Raft group of this node: its core, its log, and the writes that wait for it."""

import asyncio
import logging
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from regatta import limits
from regatta.errors import RegattaError
from regatta.errors import StartError
from regatta.errors import error_of
from regatta.raft import Backing
from regatta.raft import Config
from regatta.raft import ConfState
from regatta.raft import Core
from regatta.raft import DamagedLog
from regatta.raft import Role
from regatta.raft import StableLog
from regatta.raft import decode_conf_state
from regatta.store import TableState
from regatta.table._write import KeptWrite

log = logging.getLogger("regatta.raft")

election_ticks, heartbeat_ticks = 10, 1
one_moment = "Bring back the two directories of one moment."


@dataclass(frozen=True, slots=True)
class Applied:
    """What became of a proposal."""

    index: int  # of its log entry
    failure_branch: bool  # of a transaction: its comparisons did not hold
    result: bytes  # an encoded CommandResult


class Proposal:
    """A command on its way whose answer goes to a future."""

    __slots__ = ("command", "index", "waiter")

    def __init__(self, command: bytes, waiter: asyncio.Future[Applied]) -> None:
        self.command = command
        self.waiter = waiter
        self.index = 0  # of its log entry, 0 before it has one

    def settle(self, code: int, failure_branch: bool, payload: bytes) -> None:
        """Tell what applying came to: an encoded CommandResult, or an error's text."""
        if self.waiter.done():
            return
        if code:
            self.waiter.set_exception(error_of(code, payload.decode()))
        else:
            self.waiter.set_result(Applied(self.index, failure_branch, payload))

    def fail(self, error: RegattaError) -> None:
        """Tell that nobody knows what comes of it."""
        if not self.waiter.done():
            self.waiter.set_exception(error)


AnyProposal: TypeAlias = Proposal | KeptWrite


class Group:
    """One replica, and what is under way in it."""

    __slots__ = (
        *("applied", "compacting", "core", "id"),
        *("log", "log_bytes", "proposed", "waiting"),
    )

    def __init__(self, group_id: int, core: Core, stable: StableLog, applied: int) -> None:
        self.id = group_id
        self.core = core
        self.log = stable
        self.applied = applied
        self.compacting = False
        self.log_bytes = 0  # of the commands that were added and not yet removed, about
        # Not in the log yet: they wait for the end of the loop's turn, and for a leader.
        self.proposed: list[AnyProposal] = []
        # In the log and not answered, by index. Nobody else ever leads a group with one voter, so
        # an entry stays where it was put.
        self.waiting: deque[AnyProposal] = deque()

    @property
    def leads(self) -> bool:
        """Whether proposals can enter the log here."""
        return bool(self.core.role == Role.LEADER)

    @property
    def is_settled(self) -> bool:
        """Whether this node leads and everything in the log is applied."""
        return self.leads and self.applied == self.core.last_index

    def stand(self) -> None:
        """Stand for election unless that is done: nobody else ever will.

        To no avail while a change of membership is committed and not applied: try again then.
        """
        if self.core.role == Role.FOLLOWER:
            self.core.campaign()

    def enter_log(self) -> None:
        """Put all proposals into the log, in one go, if there is a leader to do it."""
        if not self.proposed or not self.leads:
            return
        self.core.propose_batch([proposal.command for proposal in self.proposed])
        first = self.core.last_index - len(self.proposed) + 1
        for index, proposal in enumerate(self.proposed, first):
            proposal.index = index
        self.waiting.extend(self.proposed)
        self.proposed = []


def open_group(table: TableState, backing: Backing, node: int) -> Group:
    """Return a group as its applied state and its log have it; it follows nobody yet.

    Raises StartError if the log is damaged or not that of this state, or if the group is not this
    *node*'s alone.
    """
    members = decode_conf_state(table.membership) if table.membership else alone(node)
    if members.voters != (node,) or members.voters_outgoing:
        voters = ", ".join(str(voter) for voter in members.voters)
        raise StartError(
            f"group {table.group} has the voters {voters}, but this is node {node}",
            "Start the node with the id that it had.",
        )
    try:
        stable = StableLog(
            backing,
            members,
            table.applied_index,
            table.applied_term,
            recent_bytes_max=limits.log_recent_bytes_max,
        )
    except DamagedLog as error:
        raise StartError(f"the log of group {table.group} {error}", one_moment) from None
    core = Core(config_of(node, table.applied_index), stable, core_log(table.group))
    return Group(table.group, core, stable, table.applied_index)


def alone(node: int) -> ConfState:
    """Return the membership that a node which knows no other gives its groups."""
    return ConfState(voters=(node,))


def config_of(node: int, applied: int) -> Config:
    """Return how a replica of this node behaves."""
    return Config(
        node=node,
        election_ticks=election_ticks,
        heartbeat_ticks=heartbeat_ticks,
        draw_timeout=random.randint,
        applied=applied,
        async_storage_writes=True,
        committed_bytes_max=limits.turn_bytes_max,
        check_quorum=True,
        pre_vote=True,
    )


def core_log(group_id: int) -> Callable[[int, str], None] | None:
    """Return where the core writes what it does, None if nobody listens: a line takes time."""
    if not log.isEnabledFor(logging.DEBUG):
        return None

    def write(level: int, text: str) -> None:
        log.log(level if level > logging.INFO else logging.DEBUG, "group %d: %s", group_id, text)

    return write
