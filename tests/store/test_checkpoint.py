"""Checkpoints: what a start finds of data that was committed without a sync."""

import os
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from lmdb.verify import verify

from regatta.errors import StartError
from regatta.store import Machine
from regatta.store._env import Environment
from regatta.store.checkpoint import restore
from tests.store.storage import Applier
from tests.store.storage import delete
from tests.store.storage import put
from tests.store.storage import running

SLOT_BYTES = 4096
TRANSACTION = slice(144, 152)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data"


def pairs_in(path: Path) -> dict[bytes, bytes]:
    with running(Machine, path) as machine:
        return Applier(machine).pairs()


def churn(applier: Applier, rounds: int) -> None:
    """Write over, delete and write again, each round a transaction that frees and takes pages."""
    for number in range(rounds):
        applier.apply(*[put(b"%d" % i, b"%d" % number * 100) for i in range(200)])
        applier.apply(delete(b"0", b"\0"))


def test_a_start_finds_the_newest_checkpoint_and_nothing_newer(path: Path, tmp_path: Path) -> None:
    copies = []
    with running(Machine, path) as machine:
        applier = Applier(machine)
        for number in range(5):
            applier.apply(put(b"key", b"%d" % number))
            machine.environment.checkpoint()
            applier.apply(put(b"key", b"later"))
            copies.append(tmp_path / f"copy-{number}")
            shutil.copytree(path, copies[-1])
    assert [pairs_in(copy) for copy in copies] == [{b"key": b"%d" % i} for i in range(5)]


def test_no_page_of_a_checkpoint_is_used_again_before_the_next(path: Path, tmp_path: Path) -> None:
    with running(Machine, path) as machine:
        applier = Applier(machine)
        churn(applier, 5)
        applier.apply(*[put(b"%d" % i, b"kept" * 100) for i in range(300)])
        expected = applier.pairs()
        machine.environment.checkpoint()
        churn(applier, 30)
        shutil.copytree(path, tmp_path / "copy")
    restore(tmp_path / "copy")
    assert not verify(str(tmp_path / "copy"))  # type: ignore[no-untyped-call]
    assert pairs_in(tmp_path / "copy") == expected


def test_after_a_restored_start_its_checkpoint_stays_whole(path: Path, tmp_path: Path) -> None:
    with running(Machine, path) as machine:
        Applier(machine).apply(*[put(b"%d" % i, b"kept" * 100) for i in range(300)])
    for number in range(3):  # each time the process dies without a checkpoint of its own
        copy = tmp_path / f"copy-{number}"
        with running(Machine, path) as machine:
            applier = Applier(machine)
            assert len(applier.pairs()) == 300
            churn(applier, 20)
            shutil.copytree(path, copy)
        path = copy
    assert len(pairs_in(path)) == 300


def test_pages_are_used_again_after_the_next_checkpoints(path: Path) -> None:
    with running(Machine, path) as machine:
        applier = Applier(machine)
        sizes = []
        for _ in range(6):
            churn(applier, 10)
            machine.environment.checkpoint()
            sizes.append((path / "data.mdb").stat().st_size)
        assert sizes[-1] <= sizes[1] * 1.5


def damage_newer(checkpoint: Path) -> None:
    """Flip a bit in the slot that was written last."""
    content = bytearray(checkpoint.read_bytes())
    slots = [content[start : start + SLOT_BYTES] for start in (0, SLOT_BYTES)]
    newer = max((0, 1), key=lambda number: slots[number][8:][TRANSACTION][::-1])
    content[newer * SLOT_BYTES + 100] ^= 1
    checkpoint.write_bytes(content)


def test_a_torn_checkpoint_counts_for_nothing(path: Path, tmp_path: Path) -> None:
    with running(Machine, path) as machine:
        applier = Applier(machine)
        applier.apply(put(b"key", b"older"))
        machine.environment.checkpoint()
        shutil.copytree(path, tmp_path / "older")
        applier.apply(put(b"key", b"newer"))
        machine.environment.checkpoint()
        shutil.copytree(path, tmp_path / "torn")
    damage_newer(tmp_path / "torn" / "checkpoint")
    assert pairs_in(tmp_path / "older") == pairs_in(tmp_path / "torn") == {b"key": b"older"}


def spoil_both(path: Path) -> None:
    (path / "checkpoint").write_bytes(bytes(2 * SLOT_BYTES))


def cut_short(path: Path) -> None:
    os.truncate(path / "checkpoint", 10)


def remove(path: Path) -> None:
    (path / "checkpoint").unlink()


def put_older_data_beside_it(path: Path) -> None:
    shutil.copy(path.parent / "older.mdb", path / "data.mdb")


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (spoil_both, "it is damaged"),
        (cut_short, "it is damaged"),
        (remove, "checkpoint is missing"),
        (put_older_data_beside_it, "is older"),
    ],
)
def test_a_start_without_a_good_checkpoint_is_refused(
    path: Path, spoil: Callable[[Path], None], problem: str
) -> None:
    with running(Machine, path) as machine:
        applier = Applier(machine)
        applier.apply(put(b"key"))
        machine.environment.checkpoint()
        shutil.copy(path / "data.mdb", path.parent / "older.mdb")
        for number in range(3):
            applier.apply(put(b"%d" % number))
    spoil(path)
    with pytest.raises(StartError, match=problem) as caught:
        Environment(path, checkpointed=True)
    assert "from a copy" in caught.value.remedy


def test_data_without_a_checkpoint_is_as_it_was_left(path: Path) -> None:
    """As an earlier version leaves it, which has synced everything."""
    with running(Machine, path) as machine:
        Applier(machine).apply(put(b"key"))
        shutil.copytree(path, path.parent / "fresh")
    (path.parent / "fresh" / "checkpoint").unlink(missing_ok=True)
    assert pairs_in(path.parent / "fresh") == {b"key": b"value"}


def test_a_checkpoint_of_lost_data_is_forgotten(path: Path) -> None:
    with running(Machine, path) as machine:
        Applier(machine).apply(put(b"key"))
    (path / "data.mdb").unlink()
    environment = Environment(path, checkpointed=True)
    assert environment.entry_count == 0
    assert not (path / "checkpoint").exists()
    environment.close()


def test_a_start_syncs_the_checkpoint_before_it_builds_on_it(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A killed process may have written it without a sync, and the pages of the older one go."""
    with running(Machine, path) as machine:
        Applier(machine).apply(put(b"key"))
    calls = []

    def noted(name: str) -> Callable[..., object]:
        original = getattr(os, name)

        def call(descriptor: int, *arguments: object) -> object:
            calls.append((name, Path(os.readlink(f"/proc/self/fd/{descriptor}")).name))
            return original(descriptor, *arguments)

        return call

    for name in ("fdatasync", "pwrite"):
        monkeypatch.setattr(os, name, noted(name))
    restore(path)
    assert calls == [
        ("fdatasync", "checkpoint"),
        ("pwrite", "data.mdb"),
        ("pwrite", "data.mdb"),
        ("fdatasync", "data.mdb"),
    ]


@pytest.mark.parametrize("also_replaced", [False, True])
def test_without_its_file_no_checkpoint_is_made(path: Path, also_replaced: bool) -> None:
    with running(Machine, path) as machine:
        Applier(machine).apply(put(b"key"))
        machine.environment.checkpoint()
        file = path / "checkpoint"
        file.rename(path / "moved")
        if also_replaced:
            shutil.copy(path / "moved", file)
        with pytest.raises(OSError, match=r"replaced|No such file"):
            machine.environment.checkpoint()
        (path / "moved").rename(file)


def test_the_file_is_as_documented(path: Path) -> None:
    with running(Machine, path) as machine:
        Applier(machine).apply(put(b"key"))
    content = (path / "checkpoint").read_bytes()
    assert len(content) == 2 * SLOT_BYTES
    for start in (0, SLOT_BYTES):
        _, size = struct.unpack_from("<II", content, start)
        assert size == 152
        meta = content[start + 8 : start + 8 + size]
        assert meta[16:20] == (0xBEEFC0DE).to_bytes(4, "little")  # LMDB's
