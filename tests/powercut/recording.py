"""Records a daemon under load, and goes through the recording again, step by step."""

import copy
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.history import History
from tests.powercut.clients import EmptyTable
from tests.powercut.clients import make_clients
from tests.powercut.disk import Disk
from tests.powercut.load import durable_files
from tests.powercut.trace import STRACE
from tests.powercut.trace import Reader
from tests.powercut.trace import Step

TIMEOUT_S = 600
META_SECTORS = 16  # LMDB's two meta pages, of 4 KiB each
# Long enough that an answer sent before its sync has ended is noted before that end is.
SYNC_DELAY_US = 3000
CHECKPOINTS_OF_DISCARD = 3  # after a table was replaced, while its old pairs go
LOG_COMMITS_OF_COMPACTION = 2  # after the checkpoint: one may have begun before


@dataclass(frozen=True, slots=True)
class Recording:
    """What a load left behind, and how it was made."""

    directory: Path
    seed: str
    client_count: int
    steps: list[Step]

    @property
    def root(self) -> Path:
        """The directory that everything durable is under."""
        return self.directory / "node"

    @property
    def acknowledged_count(self) -> int:
        """How many writes were acknowledged in all."""
        notes = [step.call for step in self.steps if step.call.name == "write" and step.ends]
        return sum(call.data.startswith(b"answered") for call in notes)

    @property
    def fed_count(self) -> int:
        """How many times the feeding of a table was told to have gone on."""
        notes = [step.call for step in self.steps if step.call.name == "write" and step.ends]
        return sum(call.data.startswith(b"fed") for call in notes)

    @property
    def log_path(self) -> Path:
        """The file of the log's environment."""
        return self.root / "raft" / "data.mdb"

    @property
    def data_path(self) -> Path:
        """The file of the data's environment."""
        return self.root / "state-machine-1-1" / "data.mdb"

    @property
    def checkpoint_path(self) -> Path:
        """The file that says to which state the data is restored."""
        return self.data_path.with_name("checkpoint")


def record(
    directory: Path, seed: str, *, client_count: int, run_count: int, write_count: int
) -> Recording:
    """Run the load of *seed* in *directory*: the daemon is killed *run_count* times, each after
    *write_count* answered writes.
    """
    trace = directory / "trace"
    load = [sys.executable, "-m", "tests.powercut.load", str(directory), seed]
    load += map(str, (client_count, run_count, write_count))
    delay = ["-e", f"inject=fdatasync:delay_exit={SYNC_DELAY_US}", "-o", str(trace)]
    done = subprocess.run(
        [*STRACE, *delay, *load], capture_output=True, text=True, timeout=TIMEOUT_S, check=False
    )
    if done.returncode != 0:
        log = directory / "stderr.log"
        told = log.read_text() if log.exists() else ""
        raise RuntimeError(f"the load failed:\n{done.stdout}{done.stderr}{told}")
    with trace.open() as lines:
        steps = list(Reader(directory / "node", Path.cwd()).steps(lines))
    trace.unlink()
    return Recording(directory, seed, client_count, steps)


class Replay:
    """A recording as far as it has been gone through: the disk, the clients, what is going on."""

    def __init__(self, recording: Recording, disk: Disk | None = None) -> None:
        self.recording = recording
        self.disk = disk or Disk(recording.root)
        self.clients = make_clients(recording.seed, recording.client_count)
        self.fed: dict[int, int] = {}  # of the fed table, up to which offset it was told
        self.has_served = False
        self._starting = True
        self._compacting = False  # until there is a checkpoint
        self._log_commits_left = 0  # of a compaction
        self._is_checkpointing = False
        self._checkpoints_left = 0  # of a replacement
        self._notes = recording.root / "notes"

    def positions(self) -> Iterator[int]:
        """Go through the recording; a cut may be made after each step that is returned."""
        for position, step in enumerate(self.recording.steps):
            if step.call.path != self._notes:
                self._watch(step)
                self.disk.feed(step)
                yield position
            elif step.call.name == "write" and step.ends:
                for line in step.call.data.decode().splitlines():
                    self._take_note(*line.split())
                yield position

    def histories(self) -> list[History]:
        """Return what every client knows now, as copies."""
        return [copy.deepcopy(client.history) for client in self.clients]

    @property
    def phase(self) -> str:
        """What a cut at this moment falls into."""
        if self._starting:
            return "later start" if self.has_served else "first start"
        if self._compacting or self._log_commits_left:
            return "compaction"
        if self._replacing or self._checkpoints_left:
            return "table replacement"
        if self._is_checkpointing:
            return "checkpoint"
        appending = self._pages_pending(self.recording.log_path)
        applying = self._pages_pending(self.recording.data_path)
        if appending:
            return "append and apply" if applying else "append"
        return "apply" if applying else "nothing but a meta page"

    @property
    def _replacing(self) -> bool:
        return any(isinstance(client.history.in_flight, EmptyTable) for client in self.clients)

    def _pages_pending(self, path: Path) -> bool:
        file = self.disk.file(path)
        return file is not None and any(number >= META_SECTORS for number in file.dirty_sectors())

    def _watch(self, step: Step) -> None:
        path, name = step.call.path, step.call.name
        if path == self.recording.log_path and self.disk.is_synced_write(step.call) and step.ends:
            self._log_commits_left = max(0, self._log_commits_left - 1)
        elif path == self.recording.data_path and name == "fdatasync":
            self._is_checkpointing = True
        elif path == self.recording.checkpoint_path and name == "fdatasync" and step.ends:
            self._is_checkpointing = False
            self._checkpoints_left = max(0, self._checkpoints_left - 1)
            if self._compacting:
                self._compacting = False
                self._log_commits_left = LOG_COMMITS_OF_COMPACTION

    def _take_note(self, word: str, *arguments: str) -> None:
        if word == "begun":
            self.clients[int(arguments[0])].begin()
        elif word == "answered":
            client, revision = map(int, arguments)
            if isinstance(self.clients[client].history.in_flight, EmptyTable):
                self._checkpoints_left = CHECKPOINTS_OF_DISCARD
            self.clients[client].acknowledge(revision)
        elif word == "fed":
            partition, stop = map(int, arguments)
            self.fed[partition] = stop
        elif word == "settled":
            client, took_effect = map(int, arguments)
            self.clients[client].settle(bool(took_effect))
        elif word == "compacting":
            self._compacting = True
        elif word == "serving":
            self._starting, self.has_served = False, True
        elif word == "starting":
            self._starting, self._compacting = True, False
            self._log_commits_left = self._checkpoints_left = 0
            self._is_checkpointing = False
        elif word == "killed":
            self._compare(self.recording.directory / arguments[0])

    def _compare(self, copies: Path) -> None:
        """See that the trace explains every byte of the environments: nothing was overlooked."""
        paths = durable_files(self.recording.root)
        copy_of = {path: copies / path.parent.name / path.name for path in paths}
        found = {path: kept.read_bytes() for path, kept in copy_of.items() if kept.exists()}
        self.disk.settle_killed(found)
        for path in paths:
            file = self.disk.file(path)
            traced = file.newest() if file is not None else None
            assert traced == found.get(path), f"{path}: the trace is not all that was written"
