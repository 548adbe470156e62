"""Everything at once against one daemon, for as long as asked: does it answer right, stay flat?

    python -m tests.soak 1200

Visitors of every kind come in rounds. Between two rounds all keys are compared with what their
keepers know, and the daemon is measured at rest, where what is left over shows. The exit code is
1 for a wrong answer, an error in the daemon's log, or when a measure grows by 2 % or more in the
last half: by then caches are full, and both files have free pages enough to be reused.
"""

import argparse
import asyncio
import os
import re
import sys
import tempfile
import time
from pathlib import Path

from tests.cluster.harness import Certificate
from tests.cluster.harness import Daemon
from tests.soak import gauges
from tests.soak.gauges import GROWTH_MAX
from tests.soak.gauges import Sample
from tests.soak.visitors import Visits

ROUND_S = 8.0
ROUNDS_TO_RESET = 5
SETTLE_S = 5.0

# The daemon's allocator gives large pieces back at once, so that what it keeps is what is in use.
ALLOCATOR = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}

# What the curve shows of each sample: a title and how its numbers are printed.
COLUMNS = {
    "second": ("seconds", "7.0f"),
    "resident_mib": ("RSS MiB", "8.1f"),
    "anonymous_mib": ("own MiB", "8.1f"),
    "busy_mib": ("at work", "8.1f"),
    "descriptors": ("fds", "5"),
    "threads": ("threads", "8"),
    "readers": ("readers", "8"),
    "log_pages": ("log pages", "10"),
    "log_pages_used": ("used", "7"),
    "data_pages": ("data pages", "11"),
    "data_pages_used": ("used", "7"),
}
JUDGED = {
    "anonymous_mib": "memory of its own",
    "descriptors": "descriptors",
    "threads": "threads",
    "readers": "reader slots",
    "log_pages": "pages of the log",
    "data_pages": "pages of the data",
}


class Soak:
    """One daemon and its measures."""

    def __init__(self, daemon: Daemon) -> None:
        self.daemon = daemon
        self.samples: list[Sample] = []
        self.log, self.data = (gauges.Environment(path) for path in in_order(daemon))
        self.start_s = time.monotonic()
        self.busy_mib = 0.0

    def look(self) -> Sample:
        """Measure once."""
        second = time.monotonic() - self.start_s
        return gauges.take(second, self.daemon.process_id, self.log, self.data)

    async def settle(self) -> Sample:
        """Measure when the number of descriptors has come to rest."""
        deadline_s = time.monotonic() + SETTLE_S
        before = self.look()
        while True:
            await asyncio.sleep(0.3)
            now = self.look()
            if now.descriptors == before.descriptors or time.monotonic() > deadline_s:
                return now
            before = now

    async def busiest(self) -> float:
        """Keep the most memory seen in *busy_mib*, until cancelled."""
        while True:
            numbers = gauges.status(self.daemon.process_id)
            self.busy_mib = max(self.busy_mib, numbers["RssAnon"] / gauges.KIB_PER_MIB)
            await asyncio.sleep(0.25)

    async def run(self, visits: Visits, seconds: float) -> None:
        """Let rounds follow each other until the time is over."""
        print(*[title.rjust(width(form)) for title, form in COLUMNS.values()], flush=True)
        rounds = 0
        while time.monotonic() < self.start_s + seconds:
            self.busy_mib = 0.0
            watching = asyncio.create_task(self.busiest())
            await visits.round(ROUND_S)
            watching.cancel()
            await visits.verify()
            self.samples.append(await self.settle())
            self.show(self.samples[-1])
            rounds += 1
            if rounds % ROUNDS_TO_RESET == 0:
                await visits.reset()

    def show(self, sample: Sample) -> None:
        """Print one line of the curve; *at work* is the most of its own memory in the round."""
        values = {name: getattr(sample, name) for name in Sample.__slots__}
        values["busy_mib"] = self.busy_mib
        print(*[format(values[name], form) for name, (_, form) in COLUMNS.items()], flush=True)

    def verdict(self) -> bool:
        """Print by how much each measure grows in the last half; tell whether all are flat."""
        flat = True
        for name, text in {
            **JUDGED,
            "resident_mib": "memory with mapped files (told only)",
        }.items():
            grows = gauges.growth([getattr(sample, name) for sample in self.samples])
            print(f"{text}: {grows:+.2%} in the last half")
            flat = flat and (grows < GROWTH_MAX or name not in JUDGED)
        return flat


def width(form: str) -> int:
    """Return how wide a column is."""
    return int(form.partition(".")[0])


def in_order(daemon: Daemon) -> list[Path]:
    """Return the folders of the log's environment and the data's."""
    return sorted(daemon.environments(), key=lambda path: "state-machine" in str(path))


def faults(log: str) -> list[str]:
    """Return the lines of a daemon's log that tell of faults of its own."""
    return [line for line in log.splitlines() if re.search(r"\bERROR\b|Traceback|Error:", line)]


async def soak(daemon: Daemon, seconds: float, seed: int) -> bool:
    """Run for *seconds* and tell whether all was flat. Raises WrongAnswer."""
    visits = Visits(daemon, seed)
    await visits.begin()
    run = Soak(daemon)
    try:
        await run.run(visits, seconds)
    finally:
        print(", ".join(f"{count:,} {name}" for name, count in visits.done.items()))
    await visits.end()
    return run.verdict()


def main() -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("seconds", type=float, nargs="?", default=120)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    os.environ.update(ALLOCATOR)
    with tempfile.TemporaryDirectory(prefix="regatta-soak-") as name:
        directory = Path(name)
        daemon = Daemon(directory, Certificate.make(directory), "--api.reflection-api")
        try:
            with daemon:
                flat = asyncio.run(soak(daemon, arguments.seconds, arguments.seed))
                exit_code = daemon.stop()
        finally:
            found = faults(daemon.stderr)
            print(*found[:20], sep="\n", flush=True)
    print(f"stopped with exit code {exit_code}, {len(found)} faults in its log")
    print("flat" if flat else "NOT FLAT")
    return 0 if flat and exit_code == 0 and not found else 1


if __name__ == "__main__":
    sys.exit(main())
