"""A full disk is waited for, and a failed sync is the end."""

import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from regatta import limits
from regatta.raft import Entry
from regatta.store import Machine
from regatta.store import RaftLog
from regatta.store._env import sync_counts
from tests.disk.faults import fill
from tests.store.storage import Applier
from tests.store.storage import checkpointing
from tests.store.storage import put
from tests.store.storage import running
from tests.store.storage import settle
from tests.store.storage import wait_until


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB."""
    path = tmp_path / "small"
    path.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(path)]
    if subprocess.run(command, capture_output=True, check=False).returncode != 0:
        pytest.skip("needs the right to mount a small file system")
    yield path
    subprocess.run(["umount", path], check=True)


def grow(disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,size=64m", disk], check=True)


def test_a_turn_that_meets_a_full_disk_is_kept_until_there_is_room(small_disk: Path) -> None:
    with running(Machine, small_disk / "data") as machine:
        applier = Applier(machine)
        applier.apply(put(b"before"))
        commands = [put(b"%d" % i, bytes([i]) * 20_000) for i in range(100)]
        applier.queue(*commands)
        wait_until(lambda: machine.stalled)
        assert machine.failure is None
        assert machine.stalled in ("No space left on device", "Input/output error")
        assert applier.pairs() == {b"before": b"value"}  # reads go on
        grow(small_disk)
        assert applier.apply(put(b"after")) == [(0, False, b"")] * 101
        assert machine.stalled is None
        expected = {b"%d" % i: bytes([i]) * 20_000 for i in range(100)}
        assert applier.pairs() == {b"before": b"value", b"after": b"value", **expected}
        state = applier.state()
        assert (state.key_count, state.applied_index) == (102, 102)


def test_a_machine_can_be_closed_while_the_disk_is_full(small_disk: Path) -> None:
    with running(Machine, small_disk / "data") as machine:
        applier = Applier(machine)
        applier.queue(*[put(b"%d" % i, bytes(20_000)) for i in range(100)])
        wait_until(lambda: machine.stalled)
    grow(small_disk)
    with running(Machine, small_disk / "data") as machine:
        assert Applier(machine).pairs() == {}


def test_a_checkpoint_that_meets_a_full_disk_is_tried_again(small_disk: Path) -> None:
    path = small_disk / "data"
    with running(Machine, path) as machine, checkpointing(machine) as checkpointer:
        filler = fill(small_disk)
        checkpointer.ask()
        time.sleep(2 * limits.checkpoint_interval_s)
        assert not checkpointer.failure
        assert not (path / "checkpoint").exists()
        filler.unlink()
        wait_until((path / "checkpoint").exists)


# Prints what was heard before and after the failing syncs of the storage thread.
APPENDING = """
import sys
from pathlib import Path
from regatta.raft import Entry
from regatta.store import RaftLog
from tests.store.storage import running, settle
with running(RaftLog, Path(sys.argv[1])) as log:
    for index in range(1, 6):
        log.group(5).append([Entry(1, index)])
        settle(log)
    print(log.committed, log.queued, log.failure)
"""

# Prints what was heard of two checkpoints, of which the first fails.
CHECKPOINTING = """
import sys
from pathlib import Path
from regatta.store._env import Environment
environment = Environment(Path(sys.argv[1]), checkpointed=True)
for _ in range(2):
    try:
        environment.checkpoint()
    except OSError as error:
        print(error.strerror)
"""


def under_strace(*arguments: str | Path, failing_from: int) -> list[str | Path]:
    """Return a command line in which the syncs of each thread fail from the *n*-th on."""
    strace = shutil.which("strace")
    if (
        strace is None
        or subprocess.run([strace, "-o", "/dev/null", "true"], check=False).returncode
    ):
        pytest.skip("needs strace, and the right to use it")
    inject = f"inject=fdatasync:error=EIO:when={failing_from}+"
    return [
        strace,
        "-f",
        "-qq",
        "-o",
        "/dev/null",
        "-e",
        "trace=fdatasync",
        "-e",
        inject,
        *arguments,
    ]


def test_after_a_failed_sync_nothing_more_is_told(tmp_path: Path) -> None:
    with running(RaftLog, tmp_path / "log"):
        pass  # makes the environment, which takes syncs of its own
    command = under_strace(*(sys.executable, "-c", APPENDING, tmp_path / "log"), failing_from=3)
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    expected = f"2 5 a sync failed in {tmp_path / 'log'}: Input/output error"
    assert done.stdout.startswith(expected)


# The start takes three syncs; then that of the data fails, or that of the checkpoint's own file.
@pytest.mark.parametrize("failing_from", [4, 5])
def test_after_a_failed_sync_there_are_no_more_checkpoints(
    tmp_path: Path, failing_from: int
) -> None:
    with running(Machine, tmp_path / "data") as machine:
        Applier(machine).apply(put(b"key"))
    command = under_strace(
        *(sys.executable, "-c", CHECKPOINTING, tmp_path / "data"), failing_from=failing_from
    )
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    assert done.stdout.splitlines() == ["Input/output error"] * 2
    with running(Machine, tmp_path / "data") as machine:
        assert Applier(machine).pairs() == {b"key": b"value"}


def test_syncs_are_counted(tmp_path: Path) -> None:
    with running(RaftLog, tmp_path / "log") as log:
        before = sync_counts()[0]
        log.group(5).append([Entry(1, 1)])
        settle(log)
        assert sync_counts()[0] == before + 1
    with running(Machine, tmp_path / "data") as machine:
        applier = Applier(machine)
        machine.environment.checkpoint()
        before = sync_counts()[0]
        applier.apply(put(b"key"))
        assert sync_counts()[0] == before
        machine.environment.checkpoint()
        assert sync_counts()[0] == before + 2  # of the data, and of the checkpoint itself
