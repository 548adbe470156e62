"""What the tests of disk faults share: a daemon on a disk of its own, a client that keeps count."""

import contextlib
import os
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest

from regatta.pb.regatta_pb2 import DeleteRangeRequest
from regatta.pb.regatta_pb2 import PutRequest
from regatta.pb.regatta_pb2 import RangeRequest
from tests.cluster.harness import KV
from tests.cluster.harness import Certificate
from tests.cluster.harness import Daemon

# The quick form leaves out what takes long and what is the same in another place.
long_form = pytest.mark.skipif(
    not os.environ.get("REGATTA_DISK_FAULTS"), reason="REGATTA_DISK_FAULTS=all for the whole table"
)

TABLE = b"table"
CALL_TIMEOUT_S = 20.0
END_TIMEOUT_S = 30.0
OK = "OK"


@dataclass(frozen=True)
class Outcome:
    """A line of the table."""

    fault: str
    client: str  # what it saw
    log: str
    after: str  # the state afterwards, which the test has looked at

    def text(self, directory: Path) -> str:
        """Return the line as a paragraph, in which paths begin below *directory*."""
        parts = (
            self.fault,
            f"client: {self.client}",
            f"log:    {self.log}",
            f"after:  {self.after}",
        )
        return "\n  ".join(parts).replace(f"{directory}/", "") + "\n"


class DiskDaemon(Daemon):
    """A daemon whose two directories are on a disk that can be broken."""

    def __init__(self, directory: Path, certificate: Certificate) -> None:
        super().__init__(directory, certificate)
        self.disk = directory / "disk"
        self.log_disk = self.disk

    def command(self) -> list[str]:
        """Return the command line of the daemon."""
        elsewhere = {
            f"--raft.node-host-dir={self.directory / 'raft'}": (
                f"--raft.node-host-dir={self.log_disk / 'raft'}"
            ),
            f"--raft.state-machine-dir={self.directory / 'state-machine'}": (
                f"--raft.state-machine-dir={self.disk / 'state-machine'}"
            ),
        }
        return [elsewhere.get(word, word) for word in super().command()]

    @property
    def data_dir(self) -> Path:
        """The data's environment."""
        (path,) = self.disk.glob("state-machine*")
        return path

    @property
    def log_dir(self) -> Path:
        """The log's environment."""
        (path,) = (path.parent for path in (self.log_disk / "raft").rglob("data.mdb"))
        return path

    def is_running(self) -> bool:
        """Tell whether the process is there a moment from now."""
        assert self._process is not None
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(0.5)
        return self._process.poll() is None

    def end(self) -> int:
        """Wait until the process ends by itself; return its exit code, negative for a signal."""
        assert self._process is not None
        code = self._process.wait(END_TIMEOUT_S)
        self._process = None
        return code

    def refusal(self) -> str:
        """Start what must not start, and return what it said, remedy included."""
        before = len(self.stderr)
        self.launch()
        assert self.end() == 1, self.stderr
        # Lines of the log, which a thread writes, may be on either side.
        lines = self.stderr[before:].splitlines()
        told = [number for number, line in enumerate(lines) if line.startswith("regatta: ")]
        assert len(told) == 1, self.stderr
        return " | ".join(lines[told[0] : told[0] + 2])

    def logged(self, text: str) -> str:
        """Return the message of the last line of the log that has *text* in it."""
        lines = [line for line in self.stderr.splitlines() if text in line and "\t" in line]
        assert lines, f"no line has {text!r}:\n{self.stderr}"
        return lines[-1].split("\t")[-1]

    def has_logged(self, text: str) -> bool:
        """Tell whether a line of the log has *text* in it."""
        return any(text in line for line in self.stderr.splitlines())


class Client:
    """Writes, remembers what was acknowledged, and looks whether it is there."""

    def __init__(self, daemon: DiskDaemon) -> None:
        self.daemon = daemon
        self.acknowledged: dict[bytes, bytes] = {}
        self.unsure: set[bytes] = set()  # keys whose last write was not acknowledged
        self._channel: grpc.Channel | None = None

    def calls(self) -> KV:
        """Return the calls of one connection, until close()."""
        if self._channel is None:
            self._channel = self.daemon.channel()
        return KV(self._channel)

    def close(self) -> None:
        """Close the connection: the next call makes a new one, to a new daemon perhaps."""
        if self._channel is not None:
            self._channel.close()
            self._channel = None

    def put(self, key: bytes, value: bytes, timeout_s: float = CALL_TIMEOUT_S) -> str:
        """Write a pair; return "OK" or "CODE: text"."""
        request = PutRequest(table=TABLE, key=key, value=value)
        told = outcome_of(lambda: self.calls().put(request, timeout=timeout_s))
        if told == OK:
            self.acknowledged[key] = value
            self.unsure.discard(key)
        else:
            self.unsure.add(key)
        return told

    def delete(self, key: bytes) -> str:
        """Delete a pair; return "OK" or "CODE: text"."""
        request = DeleteRangeRequest(table=TABLE, key=key)
        told = outcome_of(lambda: self.calls().delete_range(request, timeout=CALL_TIMEOUT_S))
        if told == OK:
            del self.acknowledged[key]
        return told

    def get(self, key: bytes) -> bytes:
        """Return a pair's value."""
        request = RangeRequest(table=TABLE, key=key)
        answer = self.calls().range(request, timeout=CALL_TIMEOUT_S)
        value: bytes = answer.kvs[0].value
        return value

    def read(self, key: bytes, range_end: bytes = b"") -> str:
        """Read; return "OK" or "CODE: text"."""
        request = RangeRequest(table=TABLE, key=key, range_end=range_end)
        return outcome_of(lambda: self.calls().range(request, timeout=CALL_TIMEOUT_S))

    def everything(self) -> dict[bytes, bytes]:
        """Return what the table holds."""
        request = RangeRequest(table=TABLE, key=b"\0", range_end=b"\0")
        pages = self.calls().iterate_range(request, timeout=CALL_TIMEOUT_S)
        return {pair.key: pair.value for page in pages for pair in page.kvs}

    def survey(self) -> str:
        """Hold what is there against what was acknowledged; return that in words."""
        self.close()
        found = self.everything()
        for key, value in self.acknowledged.items():
            assert key in self.unsure or found.get(key) == value, key
        assert found.keys() <= self.acknowledged.keys() | self.unsure
        return f"all {len(self.acknowledged)} acknowledged pairs are there"


def outcome_of(call: Callable[[], object]) -> str:
    """Make a call and return "OK" or "CODE: text"."""
    try:
        call()
    except grpc.RpcError as error:
        return f"{error.code().name}: {error.details()}"
    return OK


def fill(directory: Path) -> Path:
    """Take all the room of a file system; deleting the returned file gives it back."""
    path = directory / "filler"
    with path.open("wb", buffering=0) as file:
        for size in (1 << 20, 4096):
            try:
                while True:
                    file.write(bytes(size))
            except OSError:
                continue
    return path


def free_bytes(directory: Path) -> int:
    """Return what is free on a file system."""
    system = os.statvfs(directory)
    return system.f_bavail * system.f_frsize


def run(*command: str | Path) -> None:
    """Run a command that must work."""
    subprocess.run(command, check=True, capture_output=True, timeout=60)
