"""A disk that forgets: what a power cut may leave of a sequence of writes and syncs. No I/O.

Each sector of 512 bytes, each file's length and each name in a directory is on its own: until it
is synced, any version since the last sync may be the one that is found, or none of them. That
is more than real disks and file systems get wrong.
"""

import random
from dataclasses import dataclass, field
from pathlib import Path

from tests.powercut.trace import Call
from tests.powercut.trace import Step
from tests.powercut.trace import TraceError

SECTOR = 512


@dataclass(slots=True, eq=False)
class Version:
    """A value that is not known to be on the disk."""

    value: object
    finished: bool = False  # whether the call that brought it has ended


class Cell:
    """One thing that is written as a whole: its durable value and the versions since."""

    __slots__ = ("durable", "pending")

    def __init__(self, durable: object) -> None:
        self.durable = durable
        self.pending: list[Version] = []

    @property
    def newest(self) -> object:
        """What a process finds."""
        return self.pending[-1].value if self.pending else self.durable

    def settle(self, version: Version) -> None:
        """*version* is durable, unless a newer one was already; what came before it is gone."""
        if version in self.pending:
            self.durable = version.value
            del self.pending[: self.pending.index(version) + 1]

    def pick(self, chance: random.Random, keep: float) -> object:
        """Return what a power cut leaves, each version surviving with probability *keep*."""
        for version in reversed(self.pending):
            if chance.random() < keep:
                return version.value
        return self.durable


Written = list[tuple[Cell, Version]]

EMPTY = bytes(SECTOR)


@dataclass(slots=True, eq=False)
class File:
    """The contents of a file; of a directory, that it is one."""

    is_directory: bool = False
    sectors: dict[int, Cell] = field(default_factory=dict)
    length: Cell = field(default_factory=lambda: Cell(0))
    dirty: set[Cell] = field(default_factory=set)

    def write(self, offset: int, data: bytes) -> Written:
        """Take a write that begins."""
        end = offset + len(data)
        written = []
        for number in range(offset // SECTOR, -(-end // SECTOR)):
            cell = self.sectors.setdefault(number, Cell(EMPTY))
            old = cell.newest
            assert isinstance(old, bytes)
            start = number * SECTOR
            first, last = max(offset, start), min(end, start + SECTOR)
            middle = data[first - offset : last - offset]
            written.append(self._add(cell, old[: first - start] + middle + old[last - start :]))
        length = self.length.newest
        assert isinstance(length, int)
        if end > length:
            written.append(self._add(self.length, end))
        return written

    def truncate(self, length: int) -> Written:
        """Take a change of length that begins."""
        return [self._add(self.length, length)]

    def _add(self, cell: Cell, value: object) -> tuple[Cell, Version]:
        version = Version(value)
        cell.pending.append(version)
        self.dirty.add(cell)
        return cell, version

    def settle(self, written: Written) -> None:
        """All of *written* is durable."""
        for cell, version in written:
            cell.settle(version)
            if not cell.pending:
                self.dirty.discard(cell)

    def forget(self, written: Written) -> None:
        """*written* never came to be."""
        for cell, version in written:
            cell.pending.remove(version)
            if not cell.pending:
                self.dirty.discard(cell)

    def finished(self) -> Written:
        """Return the newest finished version of everything: what a sync that begins now covers."""
        covered = []
        for cell in self.dirty:
            versions = [version for version in cell.pending if version.finished]
            if versions:
                covered.append((cell, versions[-1]))
        return covered

    def dirty_sectors(self) -> list[int]:
        """Return the numbers of the sectors that are not known to be on the disk."""
        return [number for number, cell in self.sectors.items() if cell.pending]

    def newest(self) -> bytes:
        """Return the contents that a process reads."""
        return self._contents({cell: cell.newest for cell in self.dirty})

    def after_cut(self, chance: random.Random, keep: float) -> bytes:
        """Return contents that a power cut may leave."""
        # In the order of the file: that of a set would differ from run to run.
        cells = [cell for _, cell in sorted(self.sectors.items()) if cell.pending]
        return self._contents({cell: cell.pick(chance, keep) for cell in (*cells, self.length)})

    def _contents(self, picked: dict[Cell, object]) -> bytes:
        length = picked.get(self.length, self.length.durable)
        assert isinstance(length, int)
        contents = bytearray(length)
        for number, cell in self.sectors.items():
            value = picked.get(cell, cell.durable)
            assert isinstance(value, bytes)
            start = number * SECTOR
            if start < length:
                contents[start : start + SECTOR] = value[: length - start]
        return bytes(contents)


class Disk:
    """All files under one directory, fed with the steps of a trace."""

    def __init__(self, root: Path) -> None:
        """*root* is there and durable from the beginning."""
        self.root = root
        self._names: dict[Path, Cell] = {root: Cell(File(is_directory=True))}
        self._syncing_descriptors: set[tuple[Path, int]] = set()
        self._offsets: dict[tuple[Path, int], int] = {}
        self._syncs: dict[Call, Written] = {}
        self._writes: dict[Call, tuple[File, Written]] = {}

    def heeds(self, call: Call) -> bool:
        """Whether the sync or synced write *call* makes anything durable; for disks that lie."""
        return True

    def feed(self, step: Step) -> None:
        """Take the next step of the trace. Raises TraceError for calls it knows nothing of."""
        name = step.call.name
        if name in ("pwrite64", "pwritev", "write", "writev", "ftruncate"):
            self._write(step)
        elif name == "lseek":
            self._offsets[step.call.place] = step.call.result or 0
        elif name in ("fdatasync", "fsync"):
            self._sync(step)
        elif name == "openat":
            self._open(step)
        elif name in ("mkdir", "rename", "unlink", "unlinkat", "rmdir"):
            self._change_names(step)
        elif name == "fallocate" and step.call.path.name == "lock.mdb":
            pass  # its room; what is in it counts for nothing after a cut
        elif name == "sync_file_range":
            pass  # promises nothing
        else:
            raise TraceError(f"{name} on {step.call.path}")

    def file(self, path: Path) -> File | None:
        """Return the file that a process finds under *path*, or None."""
        cell = self._names.get(path)
        found = cell.newest if cell else None
        return found if isinstance(found, File) else None

    def paths(self) -> list[Path]:
        """Return every path that a process finds."""
        return [path for path in self._names if self.file(path) is not None]

    # What calls do.

    def _write(self, step: Step) -> None:
        call = step.call
        if not step.ends:
            file = self.file(call.path)
            if file is None:
                raise TraceError(f"a write to {call.path}, which was never made")
            if call.name in ("write", "writev"):
                call.offset = self._offsets[call.place]
                self._offsets[call.place] += len(call.data)
            if call.name == "ftruncate":
                written = file.truncate(call.length)
            else:
                written = file.write(call.offset, call.data)
            self._writes[call] = file, written
            return
        if call.result is None or call.result < 0:
            raise TraceError(f"a failed write to {call.path}: {call.result}")
        if call.result < len(call.data):
            return  # cut short, as the last write of a killed process can be: like one without end
        self._end_write(call)
        file, written = self._writes.pop(call)
        if self.is_synced_write(call) and self.heeds(call):
            file.settle(written)

    def is_synced_write(self, call: Call) -> bool:
        """Whether *call* goes through a descriptor that syncs what is written through it."""
        return call.place in self._syncing_descriptors

    def _end_write(self, call: Call) -> None:
        for _, version in self._writes[call][1]:
            version.finished = True

    def settle_killed(self, found: dict[Path, bytes]) -> None:
        """A process was killed: a write that never ended took place if *found* has its bytes."""
        for call, (file, written) in self._writes.items():
            if found.get(call.path, b"")[call.offset : call.offset + len(call.data)] == call.data:
                self._end_write(call)
            else:
                file.forget(written)
        self._writes.clear()
        self._syncs.clear()

    def _sync(self, step: Step) -> None:
        call = step.call
        file = self.file(call.path)
        if file is None:
            raise TraceError(f"a sync of {call.path}, which was never made")
        if not step.ends:
            self._syncs[call] = self._covered(call.path, file)
        elif call.result == 0:
            covered = self._syncs.pop(call)
            if self.heeds(call):
                file.settle(covered)

    def _covered(self, path: Path, file: File) -> Written:
        if not file.is_directory:
            return file.finished()
        cells = [cell for name, cell in self._names.items() if name.parent == path]
        return [(cell, cell.pending[-1]) for cell in cells if cell.pending]

    def _open(self, step: Step) -> None:
        call = step.call
        if not step.ends or call.result is None or call.result < 0:
            return
        self._offsets[call.place] = 0
        self._syncing_descriptors.discard(call.place)
        if "O_DSYNC" in call.flags or "O_SYNC" in call.flags:
            self._syncing_descriptors.add(call.place)
        if "O_CREAT" in call.flags and self.file(call.path) is None:
            self._enter(call.path, File())

    def _change_names(self, step: Step) -> None:
        call = step.call
        if not step.ends or call.result != 0:
            return
        if call.target is not None:
            self._enter(call.target, self.file(call.path))
        self._enter(call.path, File(is_directory=True) if call.name == "mkdir" else None)

    def _enter(self, path: Path, file: File | None) -> None:
        cell = self._names.setdefault(path, Cell(None))
        cell.pending.append(Version(file, finished=True))

    # Cutting the power.

    def after_cut(self, chance: random.Random) -> dict[Path, bytes | None]:
        """Return what a power cut may leave: path -> contents, None for a directory.

        Paths are relative to the root, parents before what is in them.
        """
        # Sometimes next to nothing was written out by itself, sometimes next to everything.
        keep = chance.choice((0.0, 0.05, 0.5, 0.95, 1.0))
        left: dict[Path, bytes | None] = {}
        for path, cell in sorted(self._names.items()):
            file = cell.pick(chance, keep)
            relative = path.relative_to(self.root)
            if not isinstance(file, File) or (path != self.root and relative.parent not in left):
                continue
            left[relative] = None if file.is_directory else file.after_cut(chance, keep)
        return left
