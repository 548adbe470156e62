"""Look for the first seed that shows a planted bug; runs only in a copy made by planting.

`python -m tests.simulation.hunt NUMBER FIRST COUNT STEPS` switches bug NUMBER on and prints the
seed, the step and the check that failed, or nothing.
"""

import sys

from regatta.raft._planted import plant  # type: ignore[import-not-found,unused-ignore]

from tests.simulation.simulation import Failure
from tests.simulation.simulation import Simulation


def main(number: int, first: int, count: int, step_count: int) -> None:
    """Run seeds until one fails."""
    plant(number)
    for seed in range(first, first + count):
        try:
            Simulation(seed).run(step_count)
        except Failure as failure:
            print(failure.seed, failure.step, failure.check, sep="\t")
            return


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
