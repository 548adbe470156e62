"""What a running daemon holds: memory, descriptors, threads, LMDB pages and reader slots."""

import re
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import lmdb

KIB_PER_MIB = 1024
GROWTH_MAX = 0.02
MAP_BYTES = 1 << 40  # as the daemon has it


@dataclass(frozen=True, slots=True)
class Sample:
    """One moment of a daemon's life. Sizes in MiB, except of LMDB, which are in pages."""

    second: float
    resident_mib: float  # with the pages of mapped files, which the kernel may take back
    anonymous_mib: float  # what the daemon itself has allocated
    descriptors: int
    threads: int
    log_pages: int  # of the file: they never become fewer
    log_pages_used: int
    data_pages: int
    data_pages_used: int
    readers: int  # slots taken in both environments


class Environment:
    """A daemon's environment seen by another process; its reader is let go after each look."""

    def __init__(self, path: Path) -> None:
        self._lmdb = lmdb.open(
            str(path), max_dbs=2, readonly=True, map_size=MAP_BYTES, max_readers=4096
        )
        self._names = [self._lmdb.open_db(name, create=False) for name in (b"data", b"meta")]

    def pages(self) -> tuple[int, int]:
        """Return the pages that the file spans, and those that hold data."""
        with self._lmdb.begin() as transaction:
            stats = [transaction.stat(), *[transaction.stat(name) for name in self._names]]
        kinds = ("branch_pages", "leaf_pages", "overflow_pages")
        used = sum(stat[kind] for stat in stats for kind in kinds)
        return self._lmdb.info()["last_pgno"] + 1, used

    def readers(self, process_id: int) -> int:
        """Return how many reader slots a process holds."""
        return len(re.findall(rf"^\s*{process_id}\s", self._lmdb.readers(), re.MULTILINE))


def status(process_id: int) -> dict[str, int]:
    """Return the numbers of /proc/PID/status; memory is in KiB."""
    text = Path(f"/proc/{process_id}/status").read_text()
    return {name: int(number) for name, number in re.findall(r"^(\w+):\s+(\d+)", text, re.M)}


def take(second: float, process_id: int, log: Environment, data: Environment) -> Sample:
    """Look at a daemon."""
    numbers = status(process_id)
    return Sample(
        second,
        numbers["VmRSS"] / KIB_PER_MIB,
        numbers["RssAnon"] / KIB_PER_MIB,
        len(list(Path(f"/proc/{process_id}/fd").iterdir())),
        numbers["Threads"],
        *log.pages(),
        *data.pages(),
        log.readers(process_id) + data.readers(process_id),
    )


def growth(values: Sequence[float]) -> float:
    """Return by what share the last half of *values* grows, along the line that fits it best."""
    half = values[len(values) // 2 :]
    slope = statistics.linear_regression(range(len(half)), half).slope
    return slope * (len(half) - 1) / max(statistics.fmean(half), 1e-9)
