"""The daemon, with bounds so low that what happens rarely happens all the time.

It also notes when a compaction begins, so that cuts can be aimed at it, and feeds a table of its
own as a topic does.
If DEATH is not 0, it kills itself when it is about to sync a directory for the DEATH-th time; if
CHECKPOINT is not 0, when it has written its CHECKPOINT-th checkpoint and not synced it yet.
Usage: python -m tests.powercut.daemon NOTES DEATH CHECKPOINT [flags of the daemon]
"""

import asyncio
import itertools
import os
import signal
import sys
from pathlib import Path

from regatta import cli
from regatta import limits
from regatta.engine import Engine
from regatta.store.checkpoint import CheckpointFile
from regatta.table.driver import Driver
from regatta.table.driver import Group
from tests.powercut.feeding import feed

limits.log_entries_kept = 0
limits.log_compaction_entries = 15
limits.checkpoint_interval_s = 0.02


def note_compactions(notes: int) -> None:
    """Write a line to *notes* whenever a compaction begins."""
    compact = Driver._compact

    def noted(driver: Driver, group: Group, *, entries_kept: int) -> None:
        if not group.compacting:
            os.write(notes, b"compacting %d\n" % group.id)
        compact(driver, group, entries_kept=entries_kept)

    Driver._compact = noted  # type: ignore[method-assign, assignment]


def die_of(task: asyncio.Task[None]) -> None:
    """End at once when *task* has failed, so that the load fails."""
    if not task.cancelled() and task.exception():
        task.print_stack()
        print(repr(task.exception()), file=sys.stderr, flush=True)
        os._exit(70)


def feed_a_table(notes: int) -> None:
    """Let batches flow as soon as writes do, and write to *notes* how far they are applied."""
    attach = Engine.attach

    def attached(engine: Engine, loop: asyncio.AbstractEventLoop) -> None:
        attach(engine, loop)
        task = loop.create_task(feed(engine, notes))
        task.add_done_callback(die_of)

    Engine.attach = attached  # type: ignore[method-assign]


def die_at_directory_sync(number: int) -> None:
    """Let the process be killed instead of its *number*-th sync of a directory; 0: never."""
    sync, counter = os.fsync, itertools.count(1)

    def counted(descriptor: int) -> None:
        if next(counter) == number:
            os.kill(os.getpid(), signal.SIGKILL)
        sync(descriptor)

    os.fsync = counted  # type: ignore[assignment]


def die_at_checkpoint(number: int) -> None:
    """Let the process be killed before the sync of its *number*-th checkpoint; 0: never."""
    write, counter = CheckpointFile.write, itertools.count(1)

    def counted(file: CheckpointFile, meta: bytes) -> None:
        write(file, meta)
        if next(counter) == number:
            os.kill(os.getpid(), signal.SIGKILL)

    CheckpointFile.write = counted  # type: ignore[method-assign]


if __name__ == "__main__":
    notes = os.open(Path(sys.argv[1]), os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
    note_compactions(notes)
    feed_a_table(notes)
    die_at_directory_sync(int(sys.argv[2]))
    die_at_checkpoint(int(sys.argv[3]))
    sys.exit(cli.main(sys.argv[4:]))
