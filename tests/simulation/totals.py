"""What a run, or many of them, came to."""

from collections import Counter
from dataclasses import dataclass, field, fields

commits_min = 100  # a run with fewer committed entries says little, and does not count


@dataclass
class Totals:
    """Counts of one run; those of several can be added up."""

    seeds: int = 0
    seeds_that_count: int = 0
    # A leader that is removed may take with it what nobody else knows to be committed, and voters
    # that wait for it then need the vote of a node that left. The operators avoid it, yet it may
    # happen to whoever is elected in the meantime; recovery is not asked for then.
    seeds_without_recovery: int = 0
    steps: int = 0
    elections: int = 0
    commits: int = 0
    membership_changes: int = 0
    snapshots: int = 0
    reads: int = 0
    writes_acknowledged: int = 0
    writes_dropped: int = 0
    faults: Counter[str] = field(default_factory=Counter)

    def add(self, other: "Totals") -> None:
        """Add what another run came to."""
        for each in fields(self):
            if each.name == "faults":
                self.faults.update(other.faults)
            else:
                setattr(self, each.name, getattr(self, each.name) + getattr(other, each.name))

    def __str__(self) -> str:
        lines = [
            f"{self.seeds} seeds, {self.seeds - self.seeds_that_count} of them with fewer than "
            f"{commits_min} commits; {self.steps:,} steps",
            f"{self.seeds_without_recovery} seeds in which a leader was removed: only their safety "
            "was checked",
            f"{self.elections:,} elections won, {self.commits:,} entries committed, "
            f"{self.membership_changes:,} membership changes, {self.snapshots:,} snapshots",
            f"{self.reads:,} reads checked, {self.writes_acknowledged:,} writes acknowledged, "
            f"{self.writes_dropped:,} dropped",
        ]
        lines += [f"  {count:>10,}  {name}" for name, count in sorted(self.faults.items())]
        return "\n".join(lines)
