from typing import Self, final

from regatta.raft._message import ProgressState

@final
class Window:
    """The append messages that a peer has not acknowledged yet."""

    count_max: int
    bytes_max: int
    """0 means no bound."""
    count: int
    size_bytes: int
    """Of the entries of all of them, encoded."""

    def __new__(cls, count_max: int, bytes_max: int = 0) -> Self:
        """Open a window for *count_max* messages, and for *bytes_max* bytes if that is not 0."""
    @property
    def full(self) -> bool:
        """Whether the next message has to wait. One message may pass the bound in bytes."""

@final
class Progress:
    """How far one member is, as its leader knows. To be read only; str() gives the log's form.

    match is always less than next.
    """

    node: int
    match: int
    """The member's log is known to equal the leader's up to this index."""
    next: int
    """The index of the first entry that the next append carries."""
    flow_paused: bool
    """Whether the next append waits for an answer or for room in the window."""
    pending_snapshot: int
    """The index of the snapshot that is on its way, 0 for none."""
    sent_commit: int
    """The highest commit index that the member was sent."""
    recently_active: bool
    """Whether it was heard from since the leader last looked for its quorum."""
    is_learner: bool
    window: Window

    @property
    def state(self) -> ProgressState:
        """How the leader sends to this member."""
    @property
    def paused(self) -> bool:
        """Whether no append may be sent now."""
