from typing import Self, final

from regatta.http2 import CallSink
from regatta.measure import Histogram
from regatta.store import View
from regatta.table._leaders import Leaders

@final
class RangeSink(CallSink):
    """Answers Range of one key from the newest snapshot, one snapshot for each batch of calls."""

    def __new__(cls, view: View, replica: int, leaders: Leaders) -> Self: ...
    @property
    def handled(self) -> list[int]:
        """How many calls were answered here, by gRPC code."""
    @property
    def time(self) -> Histogram:
        """How long calls took: each as long as the batch that it came in.

        One batch of four is timed; the calls of the three that are not count as long as it.
        """
