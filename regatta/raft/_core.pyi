from collections.abc import Callable
from typing import final

from regatta.raft._membership import Configuration
from regatta.raft._message import ConfChange
from regatta.raft._message import ConfState
from regatta.raft._message import Message
from regatta.raft._message import Role
from regatta.raft._ready import Ready
from regatta.raft._ready import Status
from regatta.raft._storage import Storage
from regatta.raft.config import Config

@final
class Core:
    """One replica of one Raft group: calls in, decisions out, by way of ``ready``.

    It has no clock, socket, file or source of chance, and it never waits. Its driver calls
    ``tick`` at a steady pace, ``step`` with each message that arrives, and ``ready`` after any
    call, for as long as ``has_ready``; then it does what the Ready says, in the order described
    there. Calls must not come from two threads at once.

    Peers may lie: a message that no honest member sends raises StepError. But they must be who
    they say: before it calls ``step`` for a message from the network, the driver has to see to it
    that *sender* is the peer it came from or whom that peer may speak for (a forwarded proposal,
    read or transfer), and never a storage thread.

    *log* is called with a level of the logging module and a line of text; without it no line is
    made. Raises ValueError if what *storage* has is contradictory.
    """

    def __init__(
        self, config: Config, storage: Storage, log: Callable[[int, str], None] | None = None
    ) -> None: ...
    def tick(self) -> int:
        """One tick of the driver's clock has passed."""
    def campaign(self) -> None:
        """Start an election now, if this replica may win one and does not lead yet.

        Under lease reads not to be called where a leader is known: it would break the promise
        that the leader's lease rests on.
        """
    def propose(self, data: bytes) -> None:
        """Propose one entry. It may still be lost; only a committed entry tells that it was not.

        Raises ProposalDropped if there is no leader to take it, or no room.
        """
    def propose_batch(self, datas: list[bytes]) -> int:
        """Propose one entry for each of *datas*, with one append and one broadcast for all.

        Raises ProposalDropped as propose does, then for all of them.
        """
    def propose_conf_change(self, change: ConfChange) -> None:
        """Propose a change of the membership.

        A leader that may not take it at present has an empty entry appended in its place.
        Raises ProposalDropped as propose does.
        """
    def apply_conf_change(self, change: ConfChange) -> ConfState:
        """Switch to the membership after *change*, and return it, to be kept with what is applied.

        To be called for every committed entry that is a change, while it is applied.
        Raises MembershipError if the present membership can't be followed by it: nothing has
        changed. Since it raises on every replica alike, the entry counts as applied all the same.
        """
    def step(self, message: Message) -> int:
        """Take a message from a peer, or what a storage thread answers.

        The message is the core's from now on. Raises StepError if it can't be from an honest
        member or answers nothing that was asked, ProposalDropped if it forwards a proposal that
        is not taken; both mean that the driver goes on with the next message.
        """
    def has_ready(self) -> bool:
        """Say whether ready() would have anything in it."""
    def ready(self) -> Ready:
        """Return what is to be done now, and count it as handed out.

        Raises RuntimeError if the Ready before awaits advance().
        """
    def advance(self) -> int:
        """Synchronous mode: everything that the last Ready asked for has been done.

        Raises RuntimeError with asynchronous storage writes.
        """
    def read_index(self, context: bytes) -> None:
        """Ask at which index a linearizable read may be served; see Ready.read_states.

        The answer may never come: when the leader changes, when a message is lost, when none is
        known. Then ask again, with another *context*.
        """
    def transfer_leader(self, node: int) -> None:
        """Ask the leader to hand over to *node*. It takes no proposals until that is done.

        It gives up after an election timeout.
        """
    def forget_leader(self) -> None:
        """As a follower, take no leader for granted any more, so that a vote may be granted.

        For a driver that knows the leader to be dead. No effect with lease reads.
        """
    def report_unreachable(self, node: int) -> None:
        """Tell a leader that messages to *node* are probably lost, so that it sends less."""
    def report_snapshot(self, node: int, ok: bool) -> None:
        """Tell a leader what became of the snapshot on its way to *node*.

        Unless *node* itself answers, nothing else is sent to it before that.
        """
    def status(self) -> Status:
        """Return what it looks like now."""
    @property
    def node(self) -> int:
        """Return its own id."""
    @property
    def term(self) -> int:
        """Return the newest term it knows of."""
    @property
    def vote(self) -> int:
        """Return whom it voted for in this term, 0 for nobody."""
    @property
    def role(self) -> Role:
        """Return what it is at the moment."""
    @property
    def leader(self) -> int:
        """Return the leader's id, 0 if none is known."""
    @property
    def committed(self) -> int:
        """Return the index up to which everything is agreed on for good."""
    @property
    def applied(self) -> int:
        """Return the index up to which everything was applied."""
    @property
    def applying(self) -> int:
        """Return the index up to which committed entries were handed out."""
    @property
    def first_index(self) -> int:
        """Return the first index that is not compacted."""
    @property
    def last_index(self) -> int:
        """Return the last index, stable or not."""
    @property
    def configuration(self) -> Configuration:
        """Return the membership as of what was applied."""
    @property
    def conf_state(self) -> ConfState:
        """Return the membership in the form that is stored."""
    @property
    def lead_transferee(self) -> int:
        """Return whom the leader hands over to, 0 for nobody."""
    @property
    def election_timeout(self) -> int:
        """The ticks without a leader after which it campaigns; drawn anew at a change of role."""
    @election_timeout.setter
    def election_timeout(self, ticks: int) -> None: ...
    @property
    def election_elapsed(self) -> int:
        """Return the ticks since it heard from a leader, or as one looked at its quorum."""
