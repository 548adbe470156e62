"""Runs the storage threads, and looks at what they wrote with other eyes than theirs."""

import os
import pickle
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from regatta.pb.mvcc_pb2 import Command
from regatta.pb.mvcc_pb2 import KeyValue
from regatta.raft import Entry
from regatta.store import Checkpointer
from regatta.store import Machine
from regatta.store import RaftLog
from regatta.store import Snapshot
from regatta.store import TableState
from regatta.store._env import Environment

META_GROUP = 1000
GROUP = 10001  # of the first table
WAIT_S = 30.0

W = TypeVar("W", RaftLog, Machine)


@contextmanager
def in_thread(part: RaftLog | Machine | Checkpointer) -> Iterator[None]:
    """Run *part* in a thread of its own, and let it end afterwards."""
    thread = threading.Thread(target=part.run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        part.close()
        thread.join(WAIT_S)
        assert not thread.is_alive()


@contextmanager
def checkpointing(machine: Machine) -> Iterator[Checkpointer]:
    """Run what makes checkpoints of *machine*, and a last one at the end."""
    descriptor = os.eventfd(0)
    checkpointer = Checkpointer(machine, descriptor)
    try:
        with in_thread(checkpointer):
            yield checkpointer
    finally:
        os.close(descriptor)


@contextmanager
def running(make: type[W], path: Path) -> Iterator[W]:
    """Run a storage thread on the environment in *path*, which is made if need be."""
    path.mkdir(exist_ok=True)
    environment = Environment(path, checkpointed=make is Machine)
    descriptor = os.eventfd(0)
    writer = make(environment, descriptor)
    try:
        with in_thread(writer):
            yield writer
    finally:
        if make is Machine and writer.failure is None:
            environment.checkpoint()
        environment.close()
        os.close(descriptor)


def wait_until(holds: Callable[[], object]) -> None:
    """Return once *holds*; fail after WAIT_S."""
    deadline_s = time.monotonic() + WAIT_S
    while not holds():
        assert time.monotonic() < deadline_s, "waited too long"
        time.sleep(0.0005)


def settle(writer: RaftLog | Machine) -> None:
    """Let the thread work on what was put in and wait until it is done or has failed."""
    writer.flush()
    wait_until(lambda: writer.committed == writer.queued or writer.failure)


class Applier:
    """Feeds one machine: makes a table, and numbers the entries that it is given."""

    def __init__(self, machine: Machine, table: bytes = b"table") -> None:
        self.machine = machine
        self.table = table
        states = {state.group: state.applied_index for state in self.groups()}
        self.next_index = states.get(GROUP, 0) + 1
        if META_GROUP not in states:
            create = Command(kv=KeyValue(key=table)).SerializeToString()
            machine.apply(META_GROUP, [Entry(1, 1, data=create)])
            settle(machine)
            assert machine.take_results() == [(0, False, b"")]

    def groups(self) -> list[TableState]:
        return Snapshot(self.machine.environment).groups()

    def state(self) -> TableState:
        found = Snapshot(self.machine.environment).find(self.table)
        assert found is not None
        return found

    def queue(self, *commands: Command | bytes) -> None:
        """Put commands in without waiting for anything."""
        for command in commands:
            payload = command if isinstance(command, bytes) else command.SerializeToString()
            self.machine.apply(GROUP, [Entry(1, self.next_index, data=payload)])
            self.next_index += 1
        self.machine.flush()

    def apply(self, *commands: Command | bytes) -> list[tuple[int, bool, bytes]]:
        """Apply commands and return their results."""
        self.queue(*commands)
        settle(self.machine)
        assert self.machine.failure is None
        return self.machine.take_results()

    def pairs(self) -> dict[bytes, bytes]:
        """Return what the table holds."""
        return {kv.key: kv.value for kv in self.key_values()}

    def key_values(self) -> list[KeyValue]:
        from regatta.pb.regatta_pb2 import RangeRequest
        from regatta.pb.regatta_pb2 import RangeResponse

        snapshot = Snapshot(self.machine.environment)
        state = snapshot.find(self.table)
        assert state is not None
        scan = snapshot.scan(state.table_id, RangeRequest(key=b"\0", range_end=b"\0"))
        found: list[KeyValue] = []
        while not scan.exhausted:
            scan.finish_page()
            found += RangeResponse.FromString(scan.take_page()[0]).kvs
        return found


def put(key: bytes, value: bytes = b"value", *, prev_kvs: bool = False) -> Command:
    return Command(type=Command.PUT, kv=KeyValue(key=key, value=value), prev_kvs=prev_kvs)


def delete(
    key: bytes, range_end: bytes | None = None, *, prev_kvs: bool = False, count: bool = False
) -> Command:
    pair = KeyValue(key=key)
    return Command(
        type=Command.DELETE, kv=pair, range_end=range_end, prev_kvs=prev_kvs, count=count
    )


DUMP = """
import lmdb, pickle, sys
environment = lmdb.open(sys.argv[1], max_dbs=2, readonly=True, lock=False)
found = {}
for name in (b"data", b"meta"):
    with environment.begin(environment.open_db(name, create=False)) as transaction:
        found[name] = dict(transaction.cursor())
sys.stdout.buffer.write(pickle.dumps((found[b"data"], found[b"meta"])))
"""


def dump(path: Path) -> tuple[dict[bytes, bytes], dict[bytes, bytes]]:
    """Return what ``data`` and ``meta`` of an environment hold, read by another process."""
    done = subprocess.run([sys.executable, "-c", DUMP, path], stdout=subprocess.PIPE, check=True)
    data, meta = pickle.loads(done.stdout)
    return data, meta


def damage(path: Path, marker: bytes) -> None:
    """Flip a bit of the last byte of *marker* wherever it stands in an environment's file."""
    file = path / "data.mdb"
    content = file.read_bytes()
    assert marker in content
    file.write_bytes(content.replace(marker, marker[:-1] + bytes([marker[-1] ^ 1])))
