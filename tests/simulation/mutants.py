"""Planted bugs, and the seeds that find them: what the simulation is worth.

`python -m tests.simulation.mutants` looks for the first seed that catches each and prints a table.
They are written in mutants.txt.
"""

import argparse
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from tests.simulation.planting import copy_with
from tests.simulation.planting import read_mutants

hunt_seconds_max = 900


class Catch(NamedTuple):
    """The first seed that caught a mutant, at which step, and by which check."""

    seed: int
    step: int
    check: str


MUTANTS = read_mutants()


def environment_of(copy: Path) -> dict[str, str]:
    """Return an environment in which Python finds the copy before what is installed."""
    return {**os.environ, "PYTHONPATH": str(copy), "PYTHONSAFEPATH": "1"}


def hunt(copy: Path, number: int, first: int, count: int, step_count: int) -> Catch | None:
    """Run seeds on mutant *number* until one fails; a process of its own bears what may happen.

    Raises TimeoutExpired if that takes too long, CalledProcessError if the process crashes.
    """
    arguments = [str(value) for value in (number, first, count, step_count)]
    done = subprocess.run(
        [sys.executable, "-m", "tests.simulation.hunt", *arguments],
        cwd=copy,
        env=environment_of(copy),
        timeout=hunt_seconds_max,
        check=True,
        capture_output=True,
        text=True,
    )
    if not done.stdout:
        return None
    seed, step, check = done.stdout.rstrip("\n").split("\t")
    return Catch(int(seed), int(step), check)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.mutants")
    parser.add_argument("--seeds", type=int, default=2_000, help="to try for each mutant")
    parser.add_argument("--steps", type=int, default=5_000)
    parser.add_argument("--only", default="", help="mutants whose name has this in it")
    options = parser.parse_args()
    started = time.monotonic()
    copy = copy_with(MUTANTS)
    print(f"built in {time.monotonic() - started:.0f} s", flush=True)
    chosen = [n for n, mutant in enumerate(MUTANTS, start=1) if options.only in mutant.name]
    width = max(len(mutant.name) for mutant in MUTANTS)

    def hunted(number: int) -> Catch | None:
        return hunt(copy, number, 0, options.seeds, options.steps)

    missed = 0
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for number, catch in zip(chosen, pool.map(hunted, chosen), strict=True):
            name = MUTANTS[number - 1].name
            missed += catch is None
            caught = (
                f"seed {catch.seed:4} step {catch.step:5}  {catch.check}" if catch else "MISSED"
            )
            print(f"{name:{width}}  {caught}", flush=True)
    print(f"{len(chosen) - missed} of {len(chosen)} caught in {time.monotonic() - started:.0f} s")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
