"""What the parts of a node count about themselves: plain numbers, read when somebody asks.

Counting must cost next to nothing, so there are no locks and no names here; `admin.metrics` gives
the numbers their names.
"""

from regatta.measure._histogram import Histogram
from regatta.measure._native_calls import NativeCalls
from regatta.measure.calls import CallCounts
from regatta.measure.calls import call_bounds_s

__all__ = ["CallCounts", "Histogram", "NativeCalls", "call_bounds_s", "disk_bounds_s"]

# Syncs and turns of the storage threads.
disk_bounds_s = (
    *(0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05),
    *(0.1, 0.25, 0.5, 1.0, 2.5, 10.0),
)
