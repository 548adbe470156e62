from typing import Self, final

from typing_extensions import Buffer
from typing_extensions import disjoint_base

@disjoint_base
class Leaders:
    """Term and leader of every group. The thread that sets them is the one that reads natively."""

    def set(self, group: int, term: int, node: int) -> None:
        """Note that *group*, which is not 0, is in *term* and led by *node*, 0 for none known."""
    def get(self, group: int) -> tuple[int, int]:
        """Return (term, leader) of a group, zeroes if nothing is known of it."""
    def share(self, memory: Buffer) -> None:
        """Keep *memory*, unsigned 64-bit numbers, all zeroes so far, the same from now on.

        SharedLeaders reads it. Of groups that it has no room for nothing is told there.
        """

@final
class SharedLeaders(Leaders):
    """What another process shares by Leaders.share(), for one thread that reads natively."""

    def __new__(cls, memory: Buffer) -> Self: ...
