"""How far a topic is behind, in words, from counts and a clock that others read."""

from dataclasses import dataclass

period_s = 5.0  # between two lines of a topic that is behind
behind_s_min = 2.0  # of work at the present rate; less is the normal course of things
behind_records_min = 1_000
unknown = -1  # how many records are to come


@dataclass
class Progress:
    """The catching up of one topic."""

    begin_s: float  # when it began to catch up
    begin_count: int = 0  # records read by then
    catching_up: bool = True
    last_s: float = 0.0
    last_count: int = 0

    def __post_init__(self) -> None:
        self.last_s, self.last_count = self.begin_s, self.begin_count

    def line(self, now_s: float, count: int, lag: int) -> str:
        """Return what to say, which is mostly nothing: "".

        *count* is of the records read so far, *lag* of those still to come or `unknown`.
        """
        elapsed_s = now_s - self.last_s
        if elapsed_s < period_s and not (self.catching_up and lag == 0):
            return ""
        rate = (count - self.last_count) / elapsed_s if elapsed_s > 0 else 0.0
        self.last_s, self.last_count = now_s, count
        if lag == unknown:
            return ""
        is_behind = lag > max(behind_records_min, behind_s_min * rate)
        if self.catching_up and not is_behind:
            self.catching_up = False
            return self._finished(now_s, count)
        if is_behind and not self.catching_up:
            self.catching_up, self.begin_s, self.begin_count = True, now_s, count
        return f"{rate:,.0f} records/s, {lag:,} behind, {remaining(lag, rate)}" if is_behind else ""

    def _finished(self, now_s: float, count: int) -> str:
        records, elapsed_s = count - self.begin_count, now_s - self.begin_s
        if not records:
            return "up to date"
        rate = f" ({records / elapsed_s:,.0f} records/s)" if elapsed_s > 0 else ""
        return f"caught up: {records:,} records in {duration(elapsed_s)}{rate}"


def remaining(lag: int, rate: float) -> str:
    """Return when *lag* records are done at *rate* records/s."""
    return f"caught up in about {duration(lag / rate)}" if rate > 0 else "standing still"


def duration(seconds: float) -> str:
    """Return a time that people can read."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    if seconds < 5_400:
        return f"{seconds / 60:.1f} min"
    return f"{seconds / 3_600:.1f} h"
