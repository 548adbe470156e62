"""Commits batches of Puts with the project's own store and nothing else; prints JSON.

    python -m bench.load.floor DIRECTORY [--batch=256] [--seconds=4]

A daemon that answers Puts from so many callers at once can't beat it by much: it commits a log and
the data, too, though at the same time.
"""

import argparse
import json
import time
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from types import ModuleType

from bench.checkpoints import checkpointing
from bench.compiled import compiled
from bench.load import pairs
from regatta.store._env import Environment
from regatta.store._env import make_directory
from regatta.store._env import sync_counts

WARM_UP_S = 0.5


@dataclass(frozen=True)
class Floor:
    """What the loop reached."""

    put_count: int
    took_s: float
    cpu_s: float
    sync_s: float  # waiting for the disk
    sync_count: int


@cache
def floor_module() -> ModuleType:
    """Return the compiled loop."""
    return compiled(Path(__file__).with_name("_floor.pyx"))


def measure(directory: Path, batch_size: int, seconds: float, pair_count: int) -> Floor:
    """Fill a table below *directory*, then put over its pairs for some *seconds*."""
    for name in ("log", "data"):
        make_directory(directory / name)
    # As regatta.store.node opens them.
    log, data = Environment(directory / "log"), Environment(directory / "data", checkpointed=True)
    module = floor_module()
    filling = module.Floor(log, data, pairs.numbers("ascending", pair_count))
    filling.run(600.0, pair_count, 1)
    found = module.Floor(log, data, pairs.numbers("zipfian", pair_count))
    found.run(WARM_UP_S, batch_size)
    syncs, sync_ns = sync_counts()
    cpu_s = time.process_time()
    with checkpointing(data):
        took_s = found.run(seconds, batch_size)
    cpu_s = time.process_time() - cpu_s
    syncs_after, sync_ns_after = sync_counts()
    put_count = found.batch_count * batch_size
    log.close()
    data.close()
    return Floor(put_count, took_s, cpu_s, (sync_ns_after - sync_ns) / 1e9, syncs_after - syncs)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("directory", type=Path)
    parser.add_argument("--batch", type=int, default=256, help="Puts in a transaction")
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--pairs", type=int, default=100_000)
    given = parser.parse_args()
    print(json.dumps(asdict(measure(given.directory, given.batch, given.seconds, given.pairs))))


if __name__ == "__main__":
    main()
