import os
from typing import NamedTuple, final

from regatta.measure import Histogram

MAP_BYTES: int  # address space of an environment opened from now on, not disk

@final
class Environment:
    """An LMDB environment with two databases, ``data`` and ``meta``.

    *checkpointed* commits without a sync: after a power cut, and after the death of the process,
    the environment is as of the newest checkpoint.
    *read_only* opens what another process has open and writes to; nothing is checked or made then.
    Raises StartError if the environment can't be opened or is damaged.
    """

    def __init__(
        self, path: str | os.PathLike[str], *, checkpointed: bool = False, read_only: bool = False
    ) -> None: ...
    @property
    def path(self) -> str: ...
    def close(self) -> None:
        """Close the environment. Nothing may write any more, and nobody use a View or Snapshot."""
    def checkpoint(self) -> None:
        """Let what is committed by now survive a power cut and the death of the process.

        For one thread at a time; others may commit meanwhile. Raises OSError when that fails; it
        may be tried again unless a sync has failed.
        """
    def forget_dead_readers(self) -> int:
        """Free the places of readers whose processes have died; return how many there were."""
    def read_meta(self, key: bytes) -> bytes | None:
        """Return the bytes stored under *key* in ``meta``, or None."""
    def write_meta(self, pairs: dict[bytes, bytes]) -> None:
        """Store every pair of *pairs* in ``meta`` in one transaction, synced or checkpointed."""
    @property
    def entry_count(self) -> int:
        """Return the number of pairs in ``data``."""
    def free_page_count(self) -> int:
        """Return how many pages inside the file are free for other use, now or before long.

        Those that the newest checkpoint needs are not.
        """
    def disk_bytes(self) -> tuple[int, int]:
        """Return (bytes free, bytes in all) of the file system that the file is on."""
    @property
    def sync_time(self) -> Histogram:
        """How long the syncs of its data file took."""
    def state(self) -> EnvironmentState:
        """Return what it looks like now. Works without the GIL."""
    def page_counts(self) -> tuple[int, int, int]:
        """Return (bytes a page, pages in the file, readers at most so far)."""

class EnvironmentState(NamedTuple):
    """What an environment looks like at a moment."""

    page_bytes: int
    page_count: int
    free_page_count: int
    map_bytes: int
    entry_count: int
    depth: int
    reader_count: int
    reader_slots: int

def sync_counts() -> tuple[int, int]:
    """Return (syncs done, nanoseconds spent in them) of this process's environments."""

def make_directory(path: str | os.PathLike[str]) -> None:
    """Make *path* with its parents, each synced into its own parent."""
