"""The memory that a node has in common with its reader processes.

It lasts as long as the node: a descriptor without a name, which they inherit. What they count
stays when one of them dies, and its successor counts on.
"""

import mmap
import os
from typing import Self

from regatta.measure import NativeCalls
from regatta.table._leaders import Leaders
from regatta.table._leaders import SharedLeaders

LEADERS_BYTES = 2 << 20  # terms and leaders of 32,768 groups
COUNTS_BYTES = 1024  # of each process
METHOD_NUMBERS = 35  # that NativeCalls takes


class SharedMemory:
    """Terms and leaders, which the node writes, and each process's counts, which it writes."""

    def __init__(self, descriptor: int) -> None:
        """Map what *descriptor* is open for, which stays the caller's."""
        self._numbers = memoryview(mmap.mmap(descriptor, 0)).cast("Q")

    @classmethod
    def make(cls, worker_count: int) -> tuple[Self, int]:
        """Return new memory for so many processes, and its descriptor, which they inherit."""
        descriptor = os.memfd_create("regatta", 0)
        os.truncate(descriptor, LEADERS_BYTES + worker_count * COUNTS_BYTES)
        return cls(descriptor), descriptor

    def share(self, leaders: Leaders) -> None:
        """Keep what the node knows of *leaders* in here; for the node."""
        leaders.share(self._numbers[: LEADERS_BYTES // 8])

    def leaders(self) -> SharedLeaders:
        """Return what the node knows of its groups; for a worker."""
        return SharedLeaders(self._numbers[: LEADERS_BYTES // 8])

    def counts(self, worker: int) -> memoryview:
        """Return where the worker of that number, from 0, counts its calls."""
        begin = (LEADERS_BYTES + worker * COUNTS_BYTES) // 8
        return self._numbers[begin : begin + 2 * METHOD_NUMBERS]

    def calls(self, worker: int) -> dict[str, NativeCalls]:
        """Return what a worker has answered by itself, by the method's path."""
        counts = self.counts(worker)
        return {
            "/regatta.v1.KV/Range": NativeCalls(counts[:METHOD_NUMBERS]),
            "/regatta.v1.KV/IterateRange": NativeCalls(counts[METHOD_NUMBERS:]),
        }
