"""How one replica behaves."""

from collections.abc import Callable
from dataclasses import dataclass

from regatta.raft._message import APPLY_THREAD
from regatta.raft._message import NO_NODE

UNLIMITED = 2**64 - 1


@dataclass
class Config:
    """The settings of a replica; they hold as long as it lives.

    *node* is its id, the same after each restart. *election_ticks* is how long a follower waits
    for a leader at least, *heartbeat_ticks* how often a leader sends. *draw_timeout* gets the
    bounds of an election timeout, both inclusive, and returns one between them: the one door by
    which chance comes in. *applied* is the index up to which the state machine is known to have
    applied; what follows is handed out again.

    *message_bytes_max* bounds the entries of one append message, *committed_bytes_max* those that
    are being applied (None: as much as a message), *uncommitted_bytes_max* the data of proposals
    that a leader takes before they are applied (0: no bound). *inflight_messages_max* and
    *inflight_bytes_max* (0: no bound) limit what is on its way to one peer. A single entry or
    proposal always fits.

    *check_quorum* makes a leader without a quorum step down and a follower with a leader refuse
    votes. *pre_vote* asks the others before an election disturbs them. *lease_reads*, which needs
    check_quorum on every member, lets a leader answer reads without asking, as long as no clock of
    the group runs twice as fast as another; such a group forgets no leader.
    *steps_down_on_removal* makes a leader that is no voter any more a follower.

    Raises ValueError for settings that contradict each other.
    """

    node: int
    election_ticks: int
    heartbeat_ticks: int
    draw_timeout: Callable[[int, int], int]
    applied: int = 0
    async_storage_writes: bool = False
    message_bytes_max: int = UNLIMITED
    committed_bytes_max: int | None = None
    uncommitted_bytes_max: int = 0
    inflight_messages_max: int = 2**31 - 1
    inflight_bytes_max: int = 0
    check_quorum: bool = False
    pre_vote: bool = False
    lease_reads: bool = False
    forwards_proposals: bool = True
    validates_conf_changes: bool = True
    steps_down_on_removal: bool = False

    def __post_init__(self) -> None:
        """Check what the core relies on."""
        if not NO_NODE < self.node < APPLY_THREAD:
            raise ValueError(f"{self.node} can't be a node's id")
        if not 0 < self.heartbeat_ticks < self.election_ticks:
            raise ValueError("election_ticks must be more than heartbeat_ticks, and these positive")
        if self.inflight_messages_max < 1:
            raise ValueError("inflight_messages_max must be positive")
        if self.lease_reads and not self.check_quorum:
            raise ValueError("lease_reads needs check_quorum")
