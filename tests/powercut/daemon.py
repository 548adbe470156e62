"""The daemon, with bounds so low that what happens rarely happens all the time.

It also notes when a compaction begins, so that cuts can be aimed at it.
Usage: python -m tests.powercut.daemon NOTES [flags of the daemon]
"""

import os
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

    Driver._compact = noted  # type: ignore[method-assign]


if __name__ == "__main__":
    note_compactions(Path(sys.argv[1]))
    sys.exit(cli.main(sys.argv[2:]))
