"""Acknowledged writes outlive kill -9, and no transaction is ever half there.

REGATTA_KILL_ROUNDS is the number of kills (3 if unset), REGATTA_KILL_SEED varies their moments.
"""

import asyncio
import os
import random
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import grpc
import lmdb
import pytest

from regatta.pb.regatta_pb2 import RangeRequest
from tests.cluster.harness import KV
from tests.cluster.harness import Daemon
from tests.cluster.history import DeleteRange
from tests.cluster.history import History
from tests.cluster.history import Put
from tests.cluster.history import Txn
from tests.cluster.history import Workload
from tests.cluster.requests import CALL_TIMEOUT_S
from tests.cluster.requests import send

ROUND_COUNT = int(os.environ.get("REGATTA_KILL_ROUNDS", "3"))
SEED = os.environ.get("REGATTA_KILL_SEED", "1")
CLIENT_COUNT = 16
TABLE = b"crash"
LOAD_S_MAX = 1.0
START_KILL_SHARE = 0.25  # of the rounds, in which the daemon is killed while it starts, too
START_KILL_S_MAX = 0.5


class Crash:
    """Tells the clients of one round whether the kill was set off."""

    def __init__(self) -> None:
        self.happened = False


async def write_until_killed(
    calls: KV, history: History, workload: Workload, crash: Crash, totals: Counter[str]
) -> None:
    """Send operations one after the other until the daemon is gone."""
    while not crash.happened:
        operation = workload.next_operation()
        history.begin(operation)
        try:
            revision = await send(calls, TABLE, history, operation)
        except grpc.aio.AioRpcError:
            if not crash.happened:
                raise
            return
        history.acknowledge(revision)
        totals[type(operation).__name__] += 1


async def load_and_kill(
    daemon: Daemon, histories: list[History], workloads: list[Workload], load_s: float
) -> Counter[str]:
    """Write with all clients, kill the daemon after *load_s*; return the acknowledged counts."""
    crash = Crash()
    totals: Counter[str] = Counter()
    # A connection for every four clients: some share one, some do not.
    channels = [daemon.aio_channel() for _ in range(CLIENT_COUNT // 4)]
    calls = [KV(channel) for channel in channels]
    clients = [
        asyncio.create_task(
            write_until_killed(calls[number % len(calls)], history, workload, crash, totals)
        )
        for number, (history, workload) in enumerate(zip(histories, workloads, strict=True))
    ]
    try:
        await asyncio.wait(clients, timeout=load_s, return_when=asyncio.FIRST_EXCEPTION)
        crash.happened = True
        daemon.kill_9()
        await asyncio.gather(*clients)
    finally:
        for channel in channels:
            await channel.close()
    return totals


def read_all(daemon: Daemon) -> dict[bytes, bytes]:
    """Return every pair of the table."""
    everything = RangeRequest(table=TABLE, key=b"\0", range_end=b"\0")
    with daemon.channel() as channel:
        try:
            pages = KV(channel).iterate_range(everything, timeout=CALL_TIMEOUT_S)
            return {pair.key: pair.value for page in pages for pair in page.kvs}
        except grpc.RpcError as error:
            # The first write makes the table; a kill may come before it.
            if error.code() is grpc.StatusCode.NOT_FOUND:
                return {}
            raise


def settle_all(daemon: Daemon, histories: list[History], totals: Counter[str]) -> None:
    """Hold what the daemon has against every client's history."""
    found = read_all(daemon)
    for history in histories:
        mine = {key: value for key, value in found.items() if key.startswith(history.prefix)}
        was_open = history.in_flight is not None
        took_effect = history.settle(mine)
        totals["in flight, done" if took_effect else "in flight, lost"] += was_open
    assert len(found) == sum(len(history.acknowledged) for history in histories)


def verify_environments(daemon: Daemon) -> None:
    """Let the lmdb package's own verifier read the files of the daemon, which must be down."""
    folders = daemon.environments()
    assert len(folders) == 2, folders
    for folder in folders:
        verify_environment(folder)


def verify_environment(folder: Path) -> None:
    """Fail unless the environment in *folder* is sound."""
    command = [sys.executable, "-m", "lmdb", "verify", "-e", str(folder)]
    verifier = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert verifier.returncode == 0, f"{folder}:\n{verifier.stdout}{verifier.stderr}"
    assert "verify: OK" in verifier.stdout


def test_verifier_finds_a_damaged_page(tmp_path: Path) -> None:
    with lmdb.open(str(tmp_path)) as environment, environment.begin(write=True) as transaction:
        for number in range(1000):
            transaction.put(b"key-%d" % number, b"value")
    verify_environment(tmp_path)
    with (tmp_path / "data.mdb").open("r+b") as file:
        file.seek(4 * 4096 + 8)
        file.write(b"\xff" * 64)
    with pytest.raises(AssertionError):
        verify_environment(tmp_path)


@pytest.mark.timeout(60 + 20 * ROUND_COUNT)
def test_acknowledged_writes_outlive_kill_9(stopped_daemon: Daemon) -> None:
    daemon = stopped_daemon
    chance = random.Random(SEED)
    histories = [History(b"client-%02d/" % number) for number in range(CLIENT_COUNT)]
    workloads = [Workload(history, f"{SEED}/{history.prefix!r}") for history in histories]
    totals: Counter[str] = Counter()
    daemon.start()
    for round_number in range(1, ROUND_COUNT + 1):
        load_s = chance.uniform(0.02, LOAD_S_MAX)
        written = asyncio.run(load_and_kill(daemon, histories, workloads, load_s))
        totals += written
        totals["kills under load"] += 1
        verify_environments(daemon)
        if chance.random() < START_KILL_SHARE:
            daemon.launch()
            time.sleep(chance.uniform(0, START_KILL_S_MAX))
            daemon.kill_9()
            totals["kills while starting"] += 1
            verify_environments(daemon)
        daemon.start()
        settle_all(daemon, histories, totals)
        print(f"round {round_number}: {written.total()} writes in {load_s:.2f} s, all there")
    print(", ".join(f"{name}: {count}" for name, count in sorted(totals.items())))
    # A round may end before its first answer, all of them may not.
    assert min(totals[kind.__name__] for kind in (Put, Txn, DeleteRange)) > 0
    assert daemon.stop() == 0
