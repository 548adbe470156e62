"""The two environments of a node: opened together, and known to belong together."""

import fcntl
import os
import secrets
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from regatta.errors import StartError
from regatta.store._env import Environment
from regatta.store._env import make_directory
from regatta.store._view import Snapshot
from regatta.store.checkpoint import restore
from regatta.store.crash import CrashReport
from regatta.store.crash import check_after_crash

# 2 added the membership to the applied state and 3 the positions of topics, which earlier ones
# don't have; since 4 the data is to be restored to its checkpoint. Nothing else differs.
format_version = 4
lock_name = "regatta.lock"
key_format, key_node = b"format", b"node"


@dataclass(slots=True)
class Stores:
    """A node's environments and the locks that keep other daemons off them."""

    log: Environment
    data: Environment
    locks: list[int]  # file descriptors
    crash_report: CrashReport

    def close(self) -> None:
        """Close both and let go of the locks. Nothing may be reading or writing any more."""
        self.log.close()
        self.data.close()
        self.crash_report.close()
        for descriptor in self.locks:
            os.close(descriptor)


def open_stores(log_dir: Path, data_dir: Path, *, report_signals: bool = False) -> Stores:
    """Open a node's environments, making them at the first start.

    Raises StartError when a directory can't be used, another daemon has it, it is damaged or of a
    newer format, or the two don't belong to the same node. *report_signals*: should the process die
    of a fault, the next start checks every page.
    """
    with ExitStack() as undo:
        locks = []
        for directory in (log_dir, data_dir):
            locks.append(lock(prepare(directory)))
            undo.callback(os.close, locks[-1])
        report = CrashReport(data_dir)
        if report.there:
            restore(data_dir)
            check_after_crash(report, log_dir, data_dir)
        report.begin(of_signals=report_signals)
        undo.callback(report.close)
        log = Environment(log_dir)
        undo.callback(log.close)
        data = Environment(data_dir, checkpointed=True)
        undo.callback(data.close)
        for environment in (log, data):
            check_format(environment)
        join(log, data)
        undo.pop_all()
    return Stores(log, data, locks, report)


def prepare(directory: Path) -> Path:
    """Make *directory* if need be and return it."""
    try:
        make_directory(directory)
        with open(directory / lock_name, "ab"):
            return directory
    except OSError as error:
        raise StartError(
            f"can't write to {directory}: {error.strerror}",
            "Give a directory that this user may write to.",
        ) from None


def lock(directory: Path) -> int:
    """Take the lock of *directory* and return its descriptor. It ends with the process."""
    descriptor = os.open(directory / lock_name, os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise StartError(
            f"another regatta is running on {directory}",
            "Stop it first, or give this one directories of its own.",
        ) from None
    return descriptor


def check_format(environment: Environment) -> None:
    """Refuse what a newer version has written, and keep older ones off what this one writes."""
    stored = environment.read_meta(key_format)
    if stored is None:
        return
    version = int.from_bytes(stored, "little")
    if version > format_version:
        raise StartError(
            f"{environment.path} was written by a newer version of Regatta "
            f"(format {version}, this one knows {format_version})",
            "Start that version, or one still newer.",
        )
    if version < format_version:
        environment.write_meta({key_format: encoded_version()})


def join(log: Environment, data: Environment) -> None:
    """See that both environments are of one node; a node that is new gets its id here.

    One may be new only while the other has never held anything: then the first start was cut
    short. Otherwise a lost log would mean forgotten votes and a lost data directory missing
    entries, and both must be noticed.
    """
    log_node, data_node = log.read_meta(key_node), data.read_meta(key_node)
    if log_node is not None and log_node == data_node:
        return
    if log_node is None and data_node is None:
        log_node = secrets.token_bytes(16)
        mark(log, log_node)
        mark(data, log_node)
    elif data_node is None and not log.entry_count:
        assert log_node is not None
        mark(data, log_node)
    elif log_node is None and not Snapshot(data).groups():
        assert data_node is not None
        mark(log, data_node)
    else:
        raise mismatch(log, data, log_node, data_node)


def mark(environment: Environment, node: bytes) -> None:
    """Write the node id and the format version, synced."""
    environment.write_meta({key_format: encoded_version(), key_node: node})


def encoded_version() -> bytes:
    """Return the format version as it is stored."""
    return format_version.to_bytes(4, "little")


def mismatch(
    log: Environment, data: Environment, log_node: bytes | None, data_node: bytes | None
) -> StartError:
    """Return what to say about environments that don't belong together."""
    if log_node is not None and data_node is not None:
        problem = f"{log.path} and {data.path} belong to different nodes"
        remedy = "Give the two directories of the same node."
    else:
        missing, there = (log, data) if log_node is None else (data, log)
        problem = f"{missing.path} is new, but {there.path} has the data of a node"
        remedy = (
            "Bring back the missing directory. If it is lost, remove both: the node starts empty."
        )
    return StartError(problem, remedy)
