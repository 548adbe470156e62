"""A group with one voter, whose decisions need nobody else."""

FIRST_TERM = 1


class Solo:
    """One group's replica: proposals in, committed entries out.

    The caller makes proposed entries durable and says so; what is durable on the only voter is
    committed, and may be applied.
    """

    __slots__ = ("committed", "last", "term", "vote")

    def __init__(self, node: int, last: int) -> None:
        """*node* is the only voter, *last* the index of the last durable entry, 0 for none."""
        self.term = FIRST_TERM
        self.vote = node
        # Invariant: committed <= last.
        self.last = last
        self.committed = last

    def propose(self) -> int:
        """Return the index that a new entry gets, in the present term."""
        self.last += 1
        return self.last

    def persisted(self, index: int) -> range:
        """Entries up to *index* are durable: return the indexes that are committed by that."""
        first = self.committed + 1
        self.committed = max(self.committed, min(index, self.last))
        return range(first, self.committed + 1)
