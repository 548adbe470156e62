"""Prints what each attack does to a daemon: memory before, at most and after, and the outcome.

python -m tests.abuse.table
"""

import sys
import tempfile
from pathlib import Path

from regatta.limits import MIB
from tests.abuse.attacks import ATTACKS
from tests.abuse.attacks import prepare
from tests.abuse.attacks import watch
from tests.cluster.harness import Certificate
from tests.cluster.harness import Daemon


def main() -> int:
    """Run all attacks; return 1 if one cost too much memory or kept another client waiting."""
    held = True
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with Daemon(folder, Certificate.make(folder), "--log-level=WARN") as daemon:
            prepare(daemon)
            print("memory in MiB: before, at most, after; other client: calls answered, slowest\n")
            for attack in ATTACKS:
                outcome, watched = watch(daemon, attack)
                within = watched.peak_bytes - watched.before_bytes <= attack.growth_bytes_max
                held = held and within and not watched.failures
                print(
                    f"{attack.name:26}{watched.before_bytes / MIB:6.0f}"
                    f"{watched.peak_bytes / MIB:6.0f}{watched.after_bytes / MIB:6.0f}"
                    f"{watched.answered:7}{watched.slowest_s * 1000:7.0f} ms  {outcome}"
                    f"{'' if within else '  TOO MUCH'}{'  FAILED CALLS' * bool(watched.failures)}",
                    flush=True,
                )
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
