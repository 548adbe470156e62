"""A disk that fails under a running node: nothing is acknowledged that is not there afterwards."""

import shutil
import statistics
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.disk.faults import OK
from tests.disk.faults import Client
from tests.disk.faults import DiskDaemon
from tests.disk.faults import Outcome
from tests.disk.faults import long_form
from tests.disk.faults import run

Mount = Callable[..., None]
Report = Callable[[Outcome], None]
Strace = Callable[..., tuple[str, ...]]

pytestmark = pytest.mark.timeout(60)


def put_until_error(client: Client) -> str:
    """Write pairs until one is not acknowledged; return what was told."""
    for number in range(1000):
        if (told := client.put(b"%03d" % number, b"value %d" % number)) != OK:
            return told
    pytest.fail("no write failed")


def start_again(daemon: DiskDaemon) -> str:
    """Start without any fault, and return what the log said of the check."""
    daemon.command_prefix = ()
    daemon.start()
    assert daemon.has_logged("the last run died of a fault")
    return daemon.logged("pages checked in")


def test_a_sync_that_fails_stops_the_node(
    daemon: DiskDaemon, strace: Strace, report: Report
) -> None:
    daemon.start()
    client = Client(daemon)
    assert client.put(b"key", b"value") == OK
    assert daemon.stop() == 0
    client.close()
    daemon.command_prefix = strace("fdatasync:error=EIO:when=6+")  # of each thread
    daemon.start()
    told = put_until_error(client)
    assert told.startswith("INTERNAL: a sync failed in ")
    assert daemon.end() == 1
    said = daemon.logged("storage has failed for good")
    checked = start_again(daemon)
    report(
        Outcome(
            "EIO from fdatasync",
            told,
            f"{said}; exit code 1",
            f"next start: {checked}; {client.survey()}",
        )
    )


def test_a_write_of_pages_that_fails_is_tried_again(
    daemon: DiskDaemon, strace: Strace, report: Report
) -> None:
    # Of each thread. Pages that lie side by side go through writev, the meta page never does.
    daemon.command_prefix = strace("writev:error=EIO:when=5..9")
    daemon.start()
    client = Client(daemon)
    slowest_s = 0.0
    for number in range(20):
        began_s = time.monotonic()
        assert client.put(b"%03d" % number, bytes(20_000)) == OK
        slowest_s = max(slowest_s, time.monotonic() - began_s)
    said = daemon.logged("writes are waiting")
    assert daemon.has_logged("writes go on")
    assert slowest_s >= 0.2  # it waits between tries
    report(
        Outcome(
            "EIO from writev (pages), five times for each environment",
            f"20 puts OK, the slowest after {slowest_s:.1f} s",
            f"{said}; then: writes go on",
            client.survey(),
        )
    )


@long_form
def test_a_head_page_that_cannot_be_written_stops_the_node(
    daemon: DiskDaemon, strace: Strace, report: Report
) -> None:
    daemon.start()
    client = Client(daemon)
    assert client.put(b"key", b"value") == OK
    assert daemon.stop() == 0
    client.close()
    # The last pwrite64 of a turn is that of the meta page. Others are of a page that stands by
    # itself: a turn that meets an error there is tried again, and some turn meets one at its last.
    daemon.command_prefix = strace("pwrite64:error=EIO:when=20+13")
    daemon.start()
    told = put_until_error(client)
    assert told.startswith("INTERNAL: ")
    assert daemon.end() == 1
    said = daemon.logged("storage has failed for good")
    checked = start_again(daemon)
    report(
        Outcome(
            "EIO from some pwrite64s, until it is the meta page's",
            told,
            f"{said}; exit code 1",
            f"next start: {checked}; {client.survey()}",
        )
    )


@long_form
def test_slow_syncs_delay_writes_and_no_reads(
    daemon: DiskDaemon, strace: Strace, report: Report
) -> None:
    daemon.command_prefix = strace("fdatasync:delay_enter=250000")
    daemon.start()
    client = Client(daemon)
    assert client.put(b"key", b"value") == OK
    writers = [Client(daemon) for _ in range(20)]
    done_after_s: list[float] = []

    def write(writer: Client, number: int) -> None:
        began_s = time.monotonic()
        if writer.put(b"%d" % number, b"value") == OK:
            done_after_s.append(time.monotonic() - began_s)

    threads = [
        threading.Thread(target=write, args=(writer, number))
        for number, writer in enumerate(writers)
    ]
    for thread in threads:
        thread.start()
    reads_s: list[float] = []
    while any(thread.is_alive() for thread in threads):
        began_s = time.monotonic()
        assert client.get(b"key") == b"value"
        reads_s.append(time.monotonic() - began_s)
        time.sleep(0.005)
    assert len(done_after_s) == 20
    assert min(done_after_s) >= 0.25
    assert max(done_after_s) < 20 * 0.25  # they share syncs
    assert statistics.median(reads_s) < 0.05
    for writer in writers:
        client.acknowledged |= writer.acknowledged
        writer.close()
    report(
        Outcome(
            "every fdatasync takes 250 ms longer",
            f"20 writers at once: OK after {min(done_after_s):.2f} to {max(done_after_s):.2f} s; "
            f"{len(reads_s)} reads beside them, median {statistics.median(reads_s) * 1000:.1f} ms",
            "nothing",
            client.survey(),
        )
    )


@pytest.fixture
def ext4(daemon: DiskDaemon, tmp_path: Path, mount: Mount) -> Path:
    """An ext4 file system of its own under the daemon's disk, read-only after its first error."""
    if shutil.which("mkfs.ext4") is None:
        pytest.skip("needs mkfs.ext4")
    image = tmp_path / "image"
    with image.open("wb") as file:
        file.truncate(64 << 20)
    run("mkfs.ext4", "-q", "-F", image)
    mount(daemon.disk, "-o", "loop,errors=remount-ro", str(image))
    return image


def trigger_of(path: Path) -> Path:
    """Return the file that makes the kernel find a fault in the ext4 mounted on *path*."""
    for line in Path("/proc/mounts").read_text().splitlines():
        device, where = line.split()[:2]
        if where == str(path):
            return Path("/sys/fs/ext4", Path(device).name, "trigger_fs_error")
    pytest.fail("not mounted")


def test_a_disk_that_becomes_read_only_stops_the_node(
    daemon: DiskDaemon, ext4: Path, mount: Mount, report: Report
) -> None:
    daemon.start()
    client = Client(daemon)
    for number in range(10):
        assert client.put(b"before %d" % number, b"value") == OK
    trigger = trigger_of(daemon.disk)
    if not trigger.exists():
        pytest.skip("needs a kernel that can be told to find a fault in an ext4")
    trigger.write_text("a test")
    told = put_until_error(client)
    assert told.startswith(("INTERNAL: ", "UNAVAILABLE: "))  # a checkpoint may find it first
    assert daemon.end() == 1
    said = daemon.logged("storage has failed for good")
    refusal = daemon.refusal()
    assert "Read-only file system" in refusal
    run("umount", daemon.disk)
    mount(daemon.disk, "-o", "loop", str(ext4))
    daemon.start()
    report(
        Outcome(
            "the file system turns read-only (ext4 after an error)",
            told,
            f"{said}; exit code 1; a start meanwhile: {refusal}",
            f"mounted anew: {client.survey()}",
        )
    )


@pytest.mark.parametrize(
    ("which", "how"),
    [
        ("data", "deleted"),
        pytest.param("log", "deleted", marks=long_form),
        pytest.param("data", "moved away", marks=long_form),
        ("log", "moved away"),
    ],
)
def test_a_directory_that_goes_away_stops_the_node(
    daemon: DiskDaemon, report: Report, which: str, how: str
) -> None:
    daemon.start()
    client = Client(daemon)
    assert client.put(b"key", b"value") == OK
    directory = daemon.data_dir if which == "data" else daemon.log_dir
    away = daemon.directory / "away"
    if how == "deleted":
        shutil.rmtree(directory)
    else:
        directory.rename(away)
    told = client.put(b"key", b"into nothing")
    assert told.startswith("INTERNAL: ")
    assert "was deleted or replaced while it was in use" in told
    assert daemon.end() == 1
    said = daemon.logged("storage has failed for good")
    refusal = daemon.refusal()
    assert " is new, but " in refusal
    after = f"next start: {refusal}"
    if how == "moved away":
        shutil.rmtree(directory)
        away.rename(directory)
        start_again(daemon)
        after += f"; moved back: {client.survey()}"
    report(Outcome(f"the {which}'s directory is {how}", told, f"{said}; exit code 1", after))
