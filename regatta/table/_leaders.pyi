from typing import final

@final
class Leaders:
    """Term and leader of every group. The thread that sets them is the one that reads natively."""

    def set(self, group: int, term: int, node: int) -> None:
        """Note that *group*, which is not 0, is in *term* and led by *node*, 0 for none known."""
    def get(self, group: int) -> tuple[int, int]:
        """Return (term, leader) of a group, zeroes if nothing is known of it."""
