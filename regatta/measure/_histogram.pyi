from typing import final

from typing_extensions import Buffer

@final
class Histogram:
    """Durations counted by size, between bounds in seconds that rise."""

    bounds_s: tuple[float, ...]

    def __init__(self, bounds_s: tuple[float, ...], memory: Buffer | None = None) -> None:
        """Count in *memory*, unsigned 64-bit numbers that others may see, if it is given."""
    def add(self, duration_s: float) -> None:
        """Count one event that took *duration_s*."""
    def cumulated(self) -> list[int]:
        """Return for each bound how many events took at most so long, and last how many in all."""
    @property
    def total_s(self) -> float:
        """The time of all events together."""
