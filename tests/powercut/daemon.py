"""The daemon, with bounds so low that what happens rarely happens all the time.

It also notes when a compaction begins, so that cuts can be aimed at it.
If DEATH is not 0, it kills itself when it is about to sync a directory for the DEATH-th time.
Usage: python -m tests.powercut.daemon NOTES DEATH [flags of the daemon]
"""

import itertools
import os
import signal
import sys
from pathlib import Path

from regatta import cli
from regatta import limits
from regatta.table.driver import Driver
from regatta.table.driver import Group

limits.log_entries_kept = 0
limits.log_compaction_entries = 15


def note_compactions(path: Path) -> None:
    """Write a line to *path* whenever a compaction begins."""
    notes = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
    compact = Driver._compact

    def noted(driver: Driver, group: Group) -> None:
        if not group.compacting:
            os.write(notes, b"compacting %d\n" % group.id)
        compact(driver, group)

    Driver._compact = noted  # type: ignore[method-assign, assignment]


def die_at_directory_sync(number: int) -> None:
    """Let the process be killed instead of its *number*-th sync of a directory; 0: never."""
    sync, counter = os.fsync, itertools.count(1)

    def counted(descriptor: int) -> None:
        if next(counter) == number:
            os.kill(os.getpid(), signal.SIGKILL)
        sync(descriptor)

    os.fsync = counted  # type: ignore[assignment]


if __name__ == "__main__":
    note_compactions(Path(sys.argv[1]))
    die_at_directory_sync(int(sys.argv[2]))
    sys.exit(cli.main(sys.argv[3:]))
