"""A disk that is full refuses data before it is in the log, and goes on by itself."""

import asyncio
import random
import time
from collections.abc import Callable
from pathlib import Path

import grpc
import pytest

from regatta.pb.regatta_pb2 import PutRequest
from tests.cluster.harness import KV
from tests.disk.faults import OK
from tests.disk.faults import TABLE
from tests.disk.faults import Client
from tests.disk.faults import DiskDaemon
from tests.disk.faults import Outcome
from tests.disk.faults import fill
from tests.disk.faults import free_bytes
from tests.disk.faults import long_form

MIB = 1 << 20
REFUSED = "RESOURCE_EXHAUSTED: the disk is nearly full: "
RECOVERY_S = 5.0

Mount = Callable[..., None]
Report = Callable[[Outcome], None]

pytestmark = pytest.mark.timeout(60)


def tmpfs(mount: Mount, path: Path, size_mib: int) -> None:
    mount(path, "-t", "tmpfs", "-o", f"size={size_mib}m", "none")


async def write_until_refused(client: Client, writer_count: int) -> set[str]:
    """Write pairs of many sizes from many tasks at once, each until it is refused."""
    refusals: set[str] = set()

    async def write(calls: KV, writer: int) -> None:
        chance = random.Random(writer)
        for number in range(100_000):
            key = b"%d/%d" % (writer, number)
            value = chance.randbytes(chance.choice([10, 100, 3000, 30_000, 200_000]))
            client.unsure.add(key)
            try:
                await calls.put(PutRequest(table=TABLE, key=key, value=value), timeout=30)
            except grpc.aio.AioRpcError as error:
                refusals.add(f"{error.code().name}: {error.details()}")
                return
            client.acknowledged[key] = value
            client.unsure.discard(key)

    async with client.daemon.aio_channel() as channel:
        await asyncio.gather(*[write(KV(channel), writer) for writer in range(writer_count)])
    return refusals


def put_until_taken(client: Client, key: bytes, value: bytes) -> int:
    """Write a pair again and again until it is taken; return how often it was refused."""
    deadline_s = time.monotonic() + RECOVERY_S
    count = 0
    while (told := client.put(key, value)) != OK:
        assert told.startswith(REFUSED)
        assert time.monotonic() < deadline_s, "no recovery"
        time.sleep(0.05)
        count += 1
    return count


@pytest.mark.parametrize("writer_count", [pytest.param(1, marks=long_form), 32])
def test_a_full_disk_refuses_data_takes_deletes_and_goes_on(
    daemon: DiskDaemon, mount: Mount, report: Report, writer_count: int
) -> None:
    tmpfs(mount, daemon.disk, 48)
    daemon.start()
    client = Client(daemon)
    refusals = asyncio.run(write_until_refused(client, writer_count))
    (told,) = refusals
    assert told.startswith(REFUSED)
    assert free_bytes(daemon.disk) > MIB
    client.survey()  # reads go on
    before = len(client.acknowledged)
    large = [key for key, value in client.acknowledged.items() if len(value) >= 30_000]
    for key in large:
        assert client.delete(key) == OK
    put_until_taken(client, b"again", bytes(150_000))
    said = daemon.logged("too little room for")
    assert daemon.has_logged("there is room on the disk: writes that add data are taken again")
    assert not daemon.has_logged("writes are waiting")
    daemon.kill_9()
    daemon.start()
    there = client.survey()
    assert client.get(b"again") == bytes(150_000)
    report(
        Outcome(
            f"disk full (tmpfs of 48 MiB), {writer_count} writers, {before} writes",
            f"{told}; reads OK; {len(large)} deletes OK; then a put OK",
            said,
            f"after kill -9: {there}",
        )
    )


@long_form
def test_the_log_makes_room_in_itself(daemon: DiskDaemon, mount: Mount, report: Report) -> None:
    daemon.log_disk = daemon.directory / "log-disk"
    tmpfs(mount, daemon.log_disk, 24)
    tmpfs(mount, daemon.disk, 128)
    daemon.start()
    client = Client(daemon)
    refusals = written = 0
    while written < 40 * MIB:
        refusals += put_until_taken(client, b"the same", bytes([written % 251]) * 200_000)
        written += 200_000
    assert refusals > 0
    said = daemon.logged("too little room for")
    assert str(daemon.log_disk) in said
    there = client.survey()
    report(
        Outcome(
            "the log's disk full (tmpfs of 24 MiB) by 40 MiB of overwriting",
            f"{refusals} of {refusals + written // 200_000} puts refused with {REFUSED}…",
            said,
            f"goes on without help; {there}",
        )
    )


def test_a_disk_that_others_filled_is_refused_and_taken_again(
    daemon: DiskDaemon, mount: Mount, report: Report
) -> None:
    tmpfs(mount, daemon.disk, 64)
    daemon.start()
    client = Client(daemon)
    assert client.put(b"key", b"value") == OK
    filler = fill(daemon.disk)
    assert free_bytes(daemon.disk) == 0
    time.sleep(0.3)  # longer than a look at the disk holds
    told = client.put(b"key", b"other")
    assert told.startswith(REFUSED)
    assert client.get(b"key") == b"value"
    daemon.stop()
    daemon.start()
    client.close()
    assert client.get(b"key") == b"value"
    again = client.put(b"key", b"other")
    assert again == told
    said = daemon.logged("too little room for")
    filler.unlink()
    put_until_taken(client, b"key", b"other")
    report(
        Outcome(
            "disk full by other files, to the last byte; restart while it is",
            f"{told}; reads OK, after the restart too",
            said,
            f"taken again once the files are gone; {client.survey()}",
        )
    )


def test_a_first_start_on_a_full_disk_is_refused(
    daemon: DiskDaemon, mount: Mount, report: Report
) -> None:
    tmpfs(mount, daemon.disk, 2)
    filler = fill(daemon.disk)
    refusal = daemon.refusal()
    assert "No space left on device" in refusal
    filler.unlink()
    daemon.start()
    client = Client(daemon)
    assert client.put(b"key", b"value") == OK
    report(
        Outcome(
            "disk full at the first start",
            "nothing: no port is open",
            refusal,
            f"starts once there is room; {client.survey()}",
        )
    )
