"""When checkpoints are made, and what becomes of one that fails."""

import time
from pathlib import Path

import pytest

from regatta import limits
from regatta.store import Machine
from tests.store.storage import WAIT_S
from tests.store.storage import Applier
from tests.store.storage import checkpointing
from tests.store.storage import put
from tests.store.storage import running
from tests.store.storage import wait_until


def made_at(path: Path) -> int:
    """Return when a checkpoint was written last, in nanoseconds."""
    return (path / "checkpoint").stat().st_mtime_ns


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "checkpoint_interval_s", WAIT_S)


def test_what_was_committed_is_durable_after_the_next_checkpoint(tmp_path: Path) -> None:
    with running(Machine, tmp_path / "data") as machine, checkpointing(machine) as checkpointer:
        applier = Applier(machine)
        for _ in range(3):
            applier.apply(put(b"key"))
            committed = machine.committed
            assert checkpointer.durable < committed
            checkpointer.ask()
            wait_until(lambda at_least=committed: checkpointer.durable >= at_least)


@pytest.mark.usefixtures("slow")
def test_one_is_made_at_once_only_if_that_is_asked_for(tmp_path: Path) -> None:
    with running(Machine, tmp_path / "data") as machine, checkpointing(machine) as checkpointer:
        applier = Applier(machine)
        checkpointer.ask()  # the first one waits for nothing
        wait_until(lambda: checkpointer.durable == machine.committed)
        applier.apply(put(b"key"))
        checkpointer.ask()
        time.sleep(0.2)
        assert checkpointer.durable < machine.committed
        checkpointer.ask(at_once=True)
        wait_until(lambda: checkpointer.durable == machine.committed)


@pytest.mark.usefixtures("slow")
def test_the_last_one_is_made_at_the_end(tmp_path: Path) -> None:
    with running(Machine, tmp_path / "data") as machine:
        with checkpointing(machine) as checkpointer:
            applier = Applier(machine)
            checkpointer.ask()
            wait_until(lambda: checkpointer.durable == machine.committed)
            applier.apply(put(b"key"))
            checkpointer.ask()
        assert checkpointer.durable == machine.committed


def test_none_is_made_while_nobody_asks(tmp_path: Path) -> None:
    path = tmp_path / "data"
    with running(Machine, path) as machine, checkpointing(machine) as checkpointer:
        Applier(machine)
        checkpointer.ask()
        wait_until(lambda: checkpointer.durable == machine.committed)
        before = made_at(path)
        time.sleep(3 * limits.checkpoint_interval_s)
        assert made_at(path) == before


def test_one_that_fails_is_the_last(tmp_path: Path) -> None:
    path = tmp_path / "data"
    with running(Machine, path) as machine, checkpointing(machine) as checkpointer:
        applier = Applier(machine)
        checkpointer.ask()
        wait_until(lambda: checkpointer.durable == machine.committed)
        (path / "checkpoint").rename(path / "moved")
        applier.apply(put(b"key"))
        checkpointer.ask()
        wait_until(lambda: checkpointer.failure)
        assert checkpointer.failure == f"a checkpoint failed in {path}: No such file or directory"
        assert checkpointer.durable < machine.committed
        (path / "moved").rename(path / "checkpoint")
