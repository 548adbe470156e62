from typing import final

from regatta.raft._message import Entry
from regatta.store._turns import TurnWriter

@final
class Machine(TurnWriter):
    """Applies entries turn by turn; a group's applied index moves with the data.

    One result comes out for each item put in, in the same order.
    """

    def apply(self, group: int, entries: list[Entry]) -> None:
        """Queue committed entries, oldest first, of which each has a result.

        One that is empty or of Raft's own kind moves the applied index and nothing else.
        """
    def set_membership(self, group: int, membership: bytes, index: int = 0, term: int = 0) -> None:
        """Queue the applying of a committed change of membership, which has a result.

        *membership* is the encoded ConfState after it. Index 0 stands for what a group begins
        with, and changes nothing where a membership is known.
        """
    def take_results(self) -> list[tuple[int, bool, bytes]]:
        """Return (gRPC code, failure branch, CommandResult or error text) each, oldest first."""
