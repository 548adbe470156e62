"""Whether there is room for more data: the reserve that keeps a node able to delete and to run.

LMDB's files never shrink, so room is what is free on the file system and the free pages inside the
file. Looking costs two system calls, and a walk over the free pages only once the disk is short.
"""

import mmap
import time

from regatta import limits
from regatta.store._env import Environment

look_interval_s = 0.25  # while there is plenty
tight_look_interval_s = 0.01
# With less room than this, the free pages inside are counted, too.
plenty_bytes = limits.disk_reserve_bytes_max + limits.queue_bytes_max
page_bytes = mmap.PAGESIZE  # LMDB's, too
# What a proposal takes beside its bytes: the pages on the way to its pair are written anew.
command_pages = 2
# A larger one needs pages side by side, and nobody knows whether the free ones inside are.
one_page_bytes_max = page_bytes // 2


class Space:
    """The room that is left for one environment, and how much of it may still be given away."""

    __slots__ = ("_environment", "free_bytes", "is_tight", "room_bytes", "short")

    def __init__(self, environment: Environment) -> None:
        self._environment = environment
        self.free_bytes = 0  # on the file system
        self.room_bytes = 0  # above the reserve
        self.is_tight = False  # even the free pages inside count
        self.short = False  # as of the last refusal

    @property
    def path(self) -> str:
        """The directory of the environment."""
        return self._environment.path

    def look(self, promised_bytes: int) -> None:
        """Measure; *promised_bytes* is what earlier proposals may still take."""
        disk_free_bytes, disk_bytes = self._environment.disk_bytes()
        reserve_bytes = min(
            limits.disk_reserve_bytes_max, int(disk_bytes * limits.disk_reserve_share)
        )
        self.free_bytes = disk_free_bytes - promised_bytes
        self.room_bytes = self.free_bytes - reserve_bytes
        self.is_tight = self.room_bytes < plenty_bytes
        if self.is_tight:
            self.room_bytes += self._environment.free_page_count() * page_bytes

    def has_room(self, cost_bytes: int, *, in_one_piece: bool) -> bool:
        """Whether *cost_bytes* more fit in."""
        return self.room_bytes >= cost_bytes and (self.free_bytes >= cost_bytes or not in_one_piece)

    def take(self, cost_bytes: int) -> None:
        """Give *cost_bytes* away."""
        self.free_bytes -= cost_bytes
        self.room_bytes -= cost_bytes


class Room:
    """Says of each proposal that adds data whether both environments have room for it."""

    def __init__(self, log: Environment, data: Environment) -> None:
        self.log = Space(log)
        self.data = Space(data)
        self._looked_at_s = float("-inf")

    @property
    def is_tight(self) -> bool:
        """Whether so little is left that freed pages should not wait for the next checkpoint."""
        return self.log.is_tight or self.data.is_tight

    def admit(
        self, command_bytes: int, waiting_bytes: int, waiting_count: int, command_count: int = 1
    ) -> bool:
        """Take room for proposals, or return False; then `short` of one or both spaces is True.

        *command_bytes* is the size of all *command_count* together.
        *waiting_bytes* and *waiting_count* tell of the earlier proposals that are not yet written.
        """
        cost_bytes = cost_of(command_bytes, command_count)
        in_one_piece = command_bytes > command_count * one_page_bytes_max
        fits = self._fits(cost_bytes, in_one_piece=in_one_piece)
        if self.look(waiting_bytes, waiting_count, is_urgent=not fits):
            fits = self._fits(cost_bytes, in_one_piece=in_one_piece)
        if fits:
            self.log.take(cost_bytes)
            self.data.take(cost_bytes)
        return fits

    def look(self, waiting_bytes: int, waiting_count: int, *, is_urgent: bool = False) -> bool:
        """Measure, unless that was done just now; tell whether it was.

        To be called while the disk changes; the arguments are those of `admit`.
        """
        now_s = time.monotonic()
        is_urgent = is_urgent or self.is_tight
        if now_s - self._looked_at_s < (tight_look_interval_s if is_urgent else look_interval_s):
            return False
        self._looked_at_s = now_s
        promised_bytes = cost_of(waiting_bytes, waiting_count)
        self.log.look(promised_bytes)
        self.data.look(promised_bytes)
        return True

    def _fits(self, cost_bytes: int, *, in_one_piece: bool) -> bool:
        for space in (self.log, self.data):
            space.short = not space.has_room(cost_bytes, in_one_piece=in_one_piece)
        return not (self.log.short or self.data.short)


def cost_of(command_bytes: int, command_count: int = 1) -> int:
    """Return what proposals may take of a file system, which may hold both environments."""
    return 2 * (command_bytes + command_count * command_pages * page_bytes)
