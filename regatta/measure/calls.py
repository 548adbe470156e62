"""Counters of one gRPC method."""

from regatta.errors import Code
from regatta.measure._histogram import Histogram

call_bounds_s = (0.0001, 0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 30.0)


class CallCounts:
    """What became of the calls of one method."""

    __slots__ = ("handled", "received", "sent", "started", "time")

    def __init__(self) -> None:
        self.started = 0
        self.received = 0  # messages of clients
        self.sent = 0  # messages to clients
        self.handled = [0] * len(Code)  # by code
        self.time = Histogram(call_bounds_s)

    def finish(self, code: int, duration_s: float) -> None:
        """Count the end of a call."""
        self.handled[code] += 1
        self.time.add(duration_s)
