from typing import Self, final

from typing_extensions import Buffer

from regatta.measure._histogram import Histogram

@final
class NativeCalls:
    """What is counted of the calls of one method that are answered without Python."""

    def __new__(cls, memory: Buffer | None = None) -> Self:
        """Count in *memory*, unsigned 64-bit numbers that others may see, if it is given."""
    @property
    def handled(self) -> list[int]:
        """How many calls were answered, by gRPC code."""
    @property
    def kept_count(self) -> int:
        """How many calls have begun and are not answered yet."""
    @property
    def time(self) -> Histogram:
        """How long calls took: each as long as the batch that it came in.

        Not every batch is timed; the calls of those that are not count as long as one that is.
        """
