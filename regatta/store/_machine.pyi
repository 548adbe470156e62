from typing import final

from regatta.store._turns import TurnWriter

@final
class Machine(TurnWriter):
    """Applies entries turn by turn; a group's applied index moves with the data.

    One result comes out for each item put in, in the same order.
    """

    def apply(self, group: int, index: int, term: int, payload: bytes, kind: int = 0) -> None:
        """Queue a committed entry; *kind* other than 0 moves the applied index and nothing else."""
    def sync(self) -> None:
        """Queue a sync: once its result is there, what was applied before survives a power cut."""
    def take_results(self) -> list[tuple[int, bool, bytes]]:
        """Return (gRPC code, failure branch, CommandResult or error text) each, oldest first."""
