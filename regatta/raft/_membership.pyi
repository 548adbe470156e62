from collections.abc import Iterable, Mapping
from typing import Self, final

from regatta.raft._message import ChangeKind
from regatta.raft._progress import Progress

class MembershipError(ValueError):
    """The change is not possible in the present configuration."""

@final
class Configuration:
    """Who votes and who only learns; sorted ids. str() gives the log's form.

    No id is both voter and learner. While two halves of voters exist, the configuration is joint
    and every decision needs a majority of either.
    """

    voters: tuple[int, ...]
    """The incoming half, which is all there is unless the configuration is joint."""
    voters_outgoing: tuple[int, ...]
    """The other half, empty unless the configuration is joint."""
    learners: tuple[int, ...]
    learners_next: tuple[int, ...]
    """Outgoing voters that become learners when the joint configuration is left."""
    auto_leave: bool
    """Whether the leader leaves the joint configuration by itself."""

    def __new__(
        cls,
        voters: Iterable[int] = (),
        voters_outgoing: Iterable[int] = (),
        learners: Iterable[int] = (),
        learners_next: Iterable[int] = (),
        auto_leave: bool = False,
    ) -> Self:
        """Take the ids as they are given: whether they fit together is the caller's to know."""
    @property
    def joint(self) -> bool:
        """Whether there are two halves of voters."""
    def __eq__(self, other: object, /) -> bool: ...

@final
class Membership:
    """A configuration and the progress of all its members.

    Each change makes a new membership, and leaves this one as it was. What a member that keeps its
    place has achieved is shared by both. Changes are pairs of a kind and an id, carried out in
    order; id 0 and UPDATE_NODE change nothing. New members are sent entries from *last_index* on,
    from 1 if that is 0. All methods raise MembershipError for what is not possible.
    """

    configuration: Configuration

    def __new__(cls, window_count_max: int = 0x7FFFFFFF, window_bytes_max: int = 0) -> Self:
        """Begin without members; the bounds are those of each member's window."""
    @property
    def progress(self) -> Mapping[int, Progress]:
        """The progress of each member by id, ids rising."""
    def simple(self, changes: Iterable[tuple[ChangeKind, int]], last_index: int) -> Membership:
        """Change at most one voter, at once: a majority before and one after share a node."""
    def enter_joint(
        self,
        changes: Iterable[tuple[ChangeKind, int]],
        last_index: int,
        auto_leave: bool = False,
    ) -> Membership:
        """Make the voters the outgoing half and change the incoming one, by any number."""
    def leave_joint(self) -> Membership:
        """Let the outgoing half go."""
