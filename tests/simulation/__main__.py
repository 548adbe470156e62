"""Run many seeds, or one: `python -m tests.simulation --seeds 300` or `--seed 4711`.

Prints the totals, and of each failing seed the last events; exits with 1 if one has failed.
"""

import argparse
import os
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor

from tests.simulation.simulation import Failure
from tests.simulation.simulation import Simulation
from tests.simulation.totals import Totals

failures_shown_max = 3


def outcome(seed: int, step_count: int) -> Totals | str:
    """Run one seed; return what it came to, or the text of its failure."""
    try:
        return Simulation(seed).run(step_count)
    except Failure as failure:
        return str(failure)


def outcomes(seeds: range, step_count: int, process_count: int) -> Iterator[Totals | str]:
    """Run seeds on several processes; yield their outcomes in the order of the seeds."""
    if process_count == 1:
        yield from (outcome(seed, step_count) for seed in seeds)
        return
    with ProcessPoolExecutor(process_count) as pool:
        yield from pool.map(outcome, seeds, [step_count] * len(seeds), chunksize=4)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seed", type=int, help="run this one and show how it ends")
    parser.add_argument("--first", type=int, default=0, help="the first of the seeds")
    parser.add_argument("--seeds", type=int, default=300, help="how many")
    parser.add_argument("--steps", type=int, default=5_000, help="events delivered in each")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    seeds = range(options.first, options.first + options.seeds)
    if options.seed is not None:
        seeds = range(options.seed, options.seed + 1)
        options.processes = 1
    started = time.monotonic()
    totals, failures = Totals(), []
    for found in outcomes(seeds, options.steps, options.processes):
        if isinstance(found, str):
            failures.append(found)
            if len(failures) <= failures_shown_max:
                print(found, end="\n\n", flush=True)
        else:
            totals.add(found)
    print(totals)
    print(f"{len(failures)} violations in {time.monotonic() - started:.0f} s")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
