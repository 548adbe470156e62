"""A mixed load on a daemon that is killed and started again; made to run under strace.

What a client was told is noted in a file, by a write that shows in the trace like any other.
Usage: python -m tests.powercut.load DIRECTORY SEED CLIENTS RUNS WRITES
"""

import asyncio
import os
import random
import shutil
import signal
import sys
import time
from pathlib import Path

import grpc

from regatta.pb.regatta_pb2 import DeleteRangeRequest
from regatta.pb.regatta_pb2 import RangeRequest
from tests.cluster.harness import KV
from tests.cluster.harness import START_TIMEOUT_S
from tests.cluster.harness import Certificate
from tests.cluster.harness import Daemon
from tests.cluster.requests import CALL_TIMEOUT_S
from tests.cluster.requests import send
from tests.powercut.clients import Client
from tests.powercut.clients import EmptyTable
from tests.powercut.clients import make_clients
from tests.powercut.clients import tables_of

# All clients pause now and then, so that the last turn of each kind is seen alone, too.
WRITES_BETWEEN_PAUSES = 15
PAUSE_S = 0.04
FIRST_START_DEATHS = 2
CHECKPOINTS_BEFORE_DEATH = (10, 30)


class RecordedDaemon(Daemon):
    """The daemon with low bounds; everything that it keeps is under DIRECTORY/node."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory / "node", Certificate.make(directory))
        self.stderr_path = directory / "stderr.log"
        self.notes_path = directory / "node" / "notes"
        self.death = 0  # the directory sync before which the next start is killed, 0 for none
        self.checkpoint_death = 0  # the checkpoint before whose sync it is, 0 for none

    def command(self) -> list[str]:
        """Return the command line of the daemon."""
        flags = super().command()[3:]
        wrapper = [sys.executable, "-m", "tests.powercut.daemon"]
        deaths = (str(self.death), str(self.checkpoint_death))
        return [*wrapper, str(self.notes_path), *deaths, *flags]

    def start_and_die(self) -> None:
        """Start, and return once the process has been killed by itself."""
        self.launch()
        assert self._process is not None
        assert self._process.wait(START_TIMEOUT_S) == -signal.SIGKILL, self.stderr
        self._process = None


class Load:
    """All clients, and the file of their notes."""

    def __init__(self, directory: Path, seed: str, client_count: int, write_count: int) -> None:
        self._directory = directory
        self._clients = make_clients(seed, client_count)
        self._pause_end_s = 0.0
        self._write_count = write_count
        self._daemon = RecordedDaemon(directory)
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        self._notes = os.open(self._daemon.notes_path, flags)
        self._written = 0
        self._killed = False

    def note(self, *words: object) -> None:
        """Let *words* be seen in the trace before anything that comes after."""
        os.write(self._notes, " ".join(map(str, words)).encode() + b"\n")

    def die_in_first_start(self, number: int, death: int) -> None:
        """Start the daemon, which is killed before its *death*-th sync of a directory."""
        self.note("starting")
        self._daemon.death = death
        self._daemon.start_and_die()
        self._daemon.death = 0
        self._keep_copies(f"death-{number}")

    def run(self, number: int, checkpoint_death: int) -> None:
        """Start the daemon, write, and kill it, unless it dies of its *checkpoint_death*."""
        self._killed, self._written = False, 0
        self.note("starting")
        self._daemon.checkpoint_death = checkpoint_death
        self._daemon.start()
        self.note("serving")
        if number:
            self._settle()
        asyncio.run(self._write_and_kill())
        self._keep_copies(f"run-{number}")

    def _keep_copies(self, name: str) -> None:
        """Keep what the killed process left, to hold the trace against."""
        for path in durable_files(self._daemon.directory):
            if path.exists():
                folder = self._directory / name / path.parent.name
                folder.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, folder)
        self.note("killed", name)

    def _settle(self) -> None:
        found = read_all(self._daemon, tables_of(self._clients))
        for number, client in enumerate(self._clients):
            prefix = client.history.prefix
            mine = {key: value for key, value in found.items() if key.startswith(prefix)}
            self.note("settled", number, int(client.history.settle(mine)))

    async def _write_and_kill(self) -> None:
        channel = self._daemon.aio_channel()
        tasks = [
            asyncio.create_task(self._write(KV(channel), number))
            for number in range(len(self._clients))
        ]
        try:
            while self._written < self._write_count and not any(task.done() for task in tasks):
                await asyncio.sleep(0.001)
            self._killed = True
            self._daemon.kill_9()
            await asyncio.gather(*tasks)
        finally:
            await channel.close()

    async def _write(self, calls: KV, number: int) -> None:
        client = self._clients[number]
        while not self._killed:
            self.note("begun", number)
            operation = client.begin()
            try:
                if isinstance(operation, EmptyTable):
                    revision = await empty(calls, client)
                else:
                    revision = await send(calls, client.table, client.history, operation)
            except grpc.aio.AioRpcError:
                if not self._killed and not self._daemon.checkpoint_death:
                    raise
                return
            self.note("answered", number, revision)
            client.acknowledge(revision)
            self._written += 1
            if self._written % WRITES_BETWEEN_PAUSES == 0:
                self._pause_end_s = time.monotonic() + PAUSE_S
            await asyncio.sleep(max(0, self._pause_end_s - time.monotonic()))


async def empty(calls: KV, client: Client) -> int:
    """Delete the whole table of *client* and return the revision."""
    everything = DeleteRangeRequest(table=client.table, key=b"\0", range_end=b"\0", count=True)
    answer = await calls.delete_range(everything, timeout=CALL_TIMEOUT_S)
    assert answer.deleted == len(client.history.acknowledged)
    revision: int = answer.header.revision
    return revision


def durable_files(node: Path) -> list[Path]:
    """Return the files in the directory of a node that the next start may build on."""
    data = node / "state-machine-1-1"
    return [node / "raft" / "data.mdb", data / "data.mdb", data / "checkpoint"]


def read_all(daemon: Daemon, tables: list[bytes]) -> dict[bytes, bytes]:
    """Return every pair of all *tables*; no key is in two of them."""
    found: dict[bytes, bytes] = {}
    with daemon.channel() as channel:
        for table in tables:
            everything = RangeRequest(table=table, key=b"\0", range_end=b"\0")
            try:
                pages = KV(channel).iterate_range(everything, timeout=CALL_TIMEOUT_S)
                found |= {pair.key: pair.value for page in pages for pair in page.kvs}
            except grpc.RpcError as error:
                if error.code() is not grpc.StatusCode.NOT_FOUND:
                    raise
    return found


def main(directory: str, seed: str, client_count: str, run_count: str, write_count: str) -> None:
    """Run the load; the arguments are those of the command line."""
    (Path(directory) / "node").mkdir()
    load = Load(Path(directory), seed, int(client_count), int(write_count))
    for number in range(FIRST_START_DEATHS):
        load.die_in_first_start(number, random.Random(f"{seed}/{number}").randint(2, 4))
    for number in range(int(run_count)):
        chance = random.Random(f"{seed}/run {number}")
        load.run(number, chance.randint(*CHECKPOINTS_BEFORE_DEATH) if number % 2 else 0)


if __name__ == "__main__":
    main(*sys.argv[1:])
