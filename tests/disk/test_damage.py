"""Files that are damaged, cut short or missing: never served, and told at the start in one line."""

import os
import shutil
import struct
import subprocess
from collections.abc import Callable

import pytest

from tests.disk.faults import OK
from tests.disk.faults import Client
from tests.disk.faults import DiskDaemon
from tests.disk.faults import Outcome
from tests.disk.faults import long_form
from tests.store.storage import damage

PAGE = 4096
LEAF = 2  # flags of a page

Report = Callable[[Outcome], None]

pytestmark = pytest.mark.timeout(60)


def written(daemon: DiskDaemon, count: int = 300) -> Client:
    """Start the daemon, write pairs, stop it; return the client, which remembers them."""
    daemon.start()
    client = Client(daemon)
    for number in range(count):
        assert client.put(b"key-%05d" % number, b"VALUE-%05d" % number) == OK
    assert daemon.stop() == 0
    client.close()
    return client


def test_a_flipped_byte_in_a_value_is_data_loss_and_never_served(
    daemon: DiskDaemon, report: Report
) -> None:
    client = written(daemon, 3)
    damage(daemon.data_dir, b"VALUE-00001")
    daemon.start()
    told = client.read(b"key-00001")
    assert told == "DATA_LOSS: a stored record is damaged"
    assert client.read(b"\0", b"\0") == told
    assert client.get(b"key-00002") == b"VALUE-00002"
    said = daemon.logged("DATA_LOSS in /regatta.v1.KV/Range")
    assert client.put(b"key-00001", b"mended") == OK
    report(
        Outcome(
            "a flipped bit in a value",
            f"{told} (alone and in a range); other pairs OK",
            said,
            f"mended by writing it anew; {client.survey()}",
        )
    )


def test_a_flipped_byte_in_a_log_entry_is_refused_at_the_start(
    daemon: DiskDaemon, report: Report
) -> None:
    client = written(daemon, 1)
    # A data directory of an earlier moment: the log has to bring it up.
    early = daemon.directory / "early"
    shutil.copytree(daemon.data_dir, early)
    daemon.start()
    for number in range(1, 10):
        assert client.put(b"key-%05d" % number, b"VALUE-%05d" % number) == OK
    assert daemon.stop() == 0
    client.close()
    late = daemon.directory / "late"
    data_dir = daemon.data_dir
    data_dir.rename(late)
    shutil.copytree(early, data_dir)
    damage(daemon.log_dir, b"VALUE-00005")
    refusal = daemon.refusal()
    assert "is damaged: entry 8 of group 10001" in refusal
    shutil.rmtree(data_dir)
    late.rename(data_dir)
    daemon.start()
    report(
        Outcome(
            "a flipped bit in a log entry that is yet to be applied",
            "nothing: no port is open",
            refusal,
            f"with the data directory that had it applied: {client.survey()}",
        )
    )


@pytest.mark.parametrize("which", ["data", pytest.param("log", marks=long_form)])
def test_a_file_that_was_cut_short_is_refused(
    daemon: DiskDaemon, report: Report, which: str
) -> None:
    client = written(daemon)
    file = (daemon.data_dir if which == "data" else daemon.log_dir) / "data.mdb"
    content = file.read_bytes()
    os.truncate(file, len(content) // 2 // PAGE * PAGE)
    refusal = daemon.refusal()
    assert "pages shorter than its contents" in refusal
    file.write_bytes(content)
    daemon.start()
    report(
        Outcome(
            f"the {which}'s file is cut to half its length",
            "nothing: no port is open",
            refusal,
            f"with the whole file again: {client.survey()}",
        )
    )


def leaves_with(content: bytes, key: bytes) -> list[int]:
    """Return where the leaf pages begin that have a pair of *key*: one in use, and old copies."""
    found = []
    for offset in range(2 * PAGE, len(content), PAGE):
        flags, lower = struct.unpack_from("<HH", content, offset + 10)
        if flags != LEAF:
            continue
        count = (lower - 16) // 2
        nodes = struct.unpack_from(f"<{count}H", content, offset + 16)
        for node in nodes:
            (size,) = struct.unpack_from("<H", content, offset + node + 6)
            if content[offset + node + 8 : offset + node + 8 + size].endswith(key):
                found.append(offset)
                break
    assert found
    return found


@pytest.mark.parametrize(
    ("name", "scar"),
    [
        ("zeros", bytes(PAGE)),
        pytest.param("ones", b"\xff" * PAGE, marks=long_form),
        pytest.param("another kind of page", None, marks=long_form),
        ("a node beyond the page", b"\xf0\xff" * 4),
    ],
)
def test_a_damaged_page_of_a_tree_is_told_at_once_or_at_the_next_start(
    daemon: DiskDaemon, report: Report, name: str, scar: bytes | None
) -> None:
    written(daemon)
    client = Client(daemon)
    file, checkpoint = daemon.data_dir / "data.mdb", daemon.data_dir / "checkpoint"
    sound, sound_checkpoint = file.read_bytes(), checkpoint.read_bytes()
    content = bytearray(sound)
    for offset in leaves_with(sound, b"key-00150"):
        if scar is None:
            content[offset + 10] = 1
        else:
            start = offset + (16 if len(scar) < PAGE else 0)
            content[start : start + len(scar)] = scar
    file.write_bytes(content)
    daemon.launch()
    try:
        daemon.wait_until_serving()
        told = client.read(b"\0", b"\0")
        assert told != OK
    except Exception as error:
        told = str(error).splitlines()[0]
    if daemon.is_running():
        assert told.startswith("DATA_LOSS: ")
        said = daemon.logged("DATA_LOSS in /regatta.v1.KV/Range")
        daemon.stop()
        # What asks for the check, by hand.
        (daemon.data_dir / "regatta.crash").write_text("look at every page\n")
    else:
        code = daemon.end()
        assert code < 0
        said = f"ended by signal {-code}"
    refusal = daemon.refusal()
    assert "data.mdb is damaged: page " in refusal
    assert daemon.refusal() == refusal  # as often as it is started
    file.write_bytes(sound)
    checkpoint.write_bytes(sound_checkpoint)
    daemon.start()
    report(
        Outcome(
            f"a leaf page of the data overwritten: {name}",
            told,
            said,
            f"next start: {refusal}; with the sound files it starts",
        )
    )


@pytest.mark.parametrize("which", ["data", pytest.param("log", marks=long_form)])
def test_a_lost_directory_is_refused_with_the_remedy(
    daemon: DiskDaemon, report: Report, which: str
) -> None:
    client = written(daemon, 3)
    lost = daemon.data_dir if which == "data" else daemon.log_dir
    kept = daemon.directory / "kept"
    lost.rename(kept)
    refusal = daemon.refusal()
    assert " is new, but " in refusal
    assert "Bring back the missing directory." in refusal
    shutil.rmtree(lost)
    kept.rename(lost)
    daemon.start()
    report(
        Outcome(
            f"the {which}'s directory deleted before the start",
            "nothing: no port is open",
            refusal,
            f"brought back: {client.survey()}",
        )
    )


def test_a_directory_without_the_right_to_write_is_refused(
    daemon: DiskDaemon, report: Report
) -> None:
    if os.getuid() != 0 or shutil.which("setpriv") is None:
        pytest.skip("needs root and setpriv, to start a root that may not do everything")
    daemon.disk.mkdir(mode=0o755)
    os.chown(daemon.disk, 65534, 65534)
    without_rights = ("setpriv", "--inh-caps=-all", "--bounding-set=-all")
    if subprocess.run([*without_rights, "true"]).returncode != 0:
        pytest.skip("needs the right to give rights up")
    daemon.command_prefix = without_rights
    refusal = daemon.refusal()
    assert "Permission denied" in refusal
    os.chown(daemon.disk, 0, 0)
    daemon.start()
    report(
        Outcome(
            "a directory that the user may not write to",
            "nothing: no port is open",
            refusal,
            "starts once it may",
        )
    )
