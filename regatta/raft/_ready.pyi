from dataclasses import dataclass
from typing import NamedTuple, final

from regatta.raft._membership import Configuration
from regatta.raft._message import Entry
from regatta.raft._message import HardState
from regatta.raft._message import Message
from regatta.raft._message import Role
from regatta.raft._message import Snapshot
from regatta.raft._progress import Progress

class SoftState(NamedTuple):
    """What need not survive a crash: the leader's id, 0 if none is known, and the own role."""

    leader: int
    role: Role

@dataclass(frozen=True, slots=True)
class ReadState:
    """A read that may be served once *index* is applied. *context* is what it was asked with."""

    index: int
    context: bytes

@final
class Ready:
    """What the driver must do now.

    Synchronous mode, in this order: store *snapshot*, *entries* and *hard_state*, and sync them if
    *must_sync*; send *messages*; apply *committed_entries*; call ``advance``. No message may be
    sent before what is stored is durable: some of them are votes and acknowledgements.

    Asynchronous mode: carry out *messages* alone, which say it all. Those to peers may be sent at
    once, but for MsgVote: it waits until the term and vote that this Ready asks to store are
    synced. One to APPEND_THREAD asks to store its snapshot and entries, and its term, vote and
    commit unless all are zero; only when that is synced may its *responses* be delivered, to peers
    by the network and to this node by ``step``. One to APPLY_THREAD asks to apply its entries, and
    then to step its responses. The work of each thread is done in the order in which it was asked
    for, and what it asks for next need not wait for it.
    """

    @property
    def soft_state(self) -> SoftState | None:
        """Return leader and role, None if they have not changed."""
    @property
    def hard_state(self) -> HardState | None:
        """Return what must be durable before any message that promises it; None if unchanged."""
    @property
    def entries(self) -> list[Entry]:
        """Return what is to be stored; it replaces whatever is there from its first index on."""
    @property
    def snapshot(self) -> Snapshot | None:
        """Return what is to replace the whole log and the applied state."""
    @property
    def committed_entries(self) -> list[Entry]:
        """Return what is to be applied, after what is to be stored."""
    @property
    def read_states(self) -> list[ReadState]:
        """Return the reads that were confirmed: each may be served once its index is applied."""
    @property
    def messages(self) -> list[Message]: ...
    @property
    def must_sync(self) -> bool:
        """Say whether entries, term or vote changed; a commit alone may be lost in a crash."""

@dataclass
class Status:
    """What a replica looks like at the moment. *progress* is a leader's alone, and it lives on."""

    node: int
    hard_state: HardState
    soft_state: SoftState
    applied: int
    configuration: Configuration
    progress: dict[int, Progress]
    lead_transferee: int
