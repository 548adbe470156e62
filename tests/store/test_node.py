"""Opening a node's two environments: what is refused, with which line, and what is not."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import lmdb
import pytest

from regatta.errors import StartError
from regatta.raft import Entry
from regatta.store import Machine
from regatta.store import RaftLog
from regatta.store._env import Environment
from regatta.store.node import Stores
from regatta.store.node import mark
from regatta.store.node import open_stores
from regatta.store.node import prepare
from tests.store.storage import Applier
from tests.store.storage import put
from tests.store.storage import running
from tests.store.storage import settle


@pytest.fixture
def log_dir(tmp_path: Path) -> Path:
    return tmp_path / "log"


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return tmp_path / "deeper" / "data"


def refusal(log_dir: Path, data_dir: Path) -> StartError:
    with pytest.raises(StartError) as caught:
        open_stores(log_dir, data_dir)
    assert "\n" not in str(caught.value)
    return caught.value


def write_something(log_dir: Path, data_dir: Path) -> None:
    """Make a node, and put an entry into its log and a pair into its data."""
    open_stores(log_dir, data_dir).close()
    with running(RaftLog, log_dir) as log:
        log.group(5).append([Entry(1, 1, data=b"entry")])
        settle(log)
    with running(Machine, data_dir) as machine:
        Applier(machine).apply(*[put(b"%d" % i, bytes(3000)) for i in range(100)])


def test_a_first_start_makes_the_directories_for_this_user_alone(
    log_dir: Path, data_dir: Path
) -> None:
    open_stores(log_dir, data_dir).close()
    for directory in (log_dir, data_dir):
        assert directory.stat().st_mode & 0o777 == 0o700
        assert (directory / "data.mdb").stat().st_mode & 0o777 == 0o600


def test_a_node_opens_again(log_dir: Path, data_dir: Path) -> None:
    write_something(log_dir, data_dir)
    open_stores(log_dir, data_dir).close()


def node_of(stores: Stores) -> bytes | None:
    node = stores.log.read_meta(b"node")
    assert node == stores.data.read_meta(b"node")
    return node


@pytest.mark.parametrize("first", ["log", "data"])
def test_an_interrupted_first_start_goes_on(log_dir: Path, data_dir: Path, first: str) -> None:
    half = Environment(prepare(log_dir if first == "log" else data_dir))
    mark(half, b"n" * 16)
    half.close()
    stores = open_stores(log_dir, data_dir)
    assert node_of(stores) == b"n" * 16
    stores.close()


@pytest.mark.parametrize("lost", ["log", "data"])
def test_half_a_node_is_refused_with_the_remedy(log_dir: Path, data_dir: Path, lost: str) -> None:
    write_something(log_dir, data_dir)
    gone, kept = (log_dir, data_dir) if lost == "log" else (data_dir, log_dir)
    shutil.rmtree(gone)
    for _ in range(2):  # a refused start changes nothing about that
        error = refusal(log_dir, data_dir)
        assert str(error) == f"{gone} is new, but {kept} has the data of a node"
        assert "Bring back the missing directory" in error.remedy


def test_halves_of_two_nodes_are_refused(log_dir: Path, data_dir: Path, tmp_path: Path) -> None:
    write_something(log_dir, data_dir)
    other_dir = tmp_path / "other"
    open_stores(tmp_path / "other-log", other_dir).close()
    error = refusal(log_dir, other_dir)
    assert str(error) == f"{log_dir} and {other_dir} belong to different nodes"


def test_a_newer_format_is_refused(log_dir: Path, data_dir: Path) -> None:
    stores = open_stores(log_dir, data_dir)
    stores.data.write_meta({b"format": (7).to_bytes(4, "little")})
    stores.close()
    error = refusal(log_dir, data_dir)
    assert str(error) == (
        f"{data_dir} was written by a newer version of Regatta (format 7, this one knows 4)"
    )


@pytest.mark.parametrize("version", [1, 2, 3])
def test_an_older_format_is_taken_over(log_dir: Path, data_dir: Path, version: int) -> None:
    stores = open_stores(log_dir, data_dir)
    for environment in (stores.log, stores.data):
        environment.write_meta({b"format": version.to_bytes(4, "little")})
    stores.close()
    stores = open_stores(log_dir, data_dir)
    for environment in (stores.log, stores.data):
        assert environment.read_meta(b"format") == (4).to_bytes(4, "little")
    stores.close()


def test_a_second_daemon_is_kept_off_either_directory(
    log_dir: Path, data_dir: Path, tmp_path: Path
) -> None:
    stores = open_stores(log_dir, data_dir)
    try:
        error = refusal(log_dir, tmp_path / "own")
        assert str(error) == f"another regatta is running on {log_dir}"
        error = refusal(tmp_path / "own-log", data_dir)
        assert str(error) == f"another regatta is running on {data_dir}"
    finally:
        stores.close()
    open_stores(log_dir, data_dir).close()


def test_a_refused_start_lets_go_of_everything(log_dir: Path, data_dir: Path) -> None:
    open_stores(log_dir, data_dir).close()
    before = len(os.listdir("/proc/self/fd"))
    content = (data_dir / "data.mdb").read_bytes()
    (data_dir / "data.mdb").write_bytes(b"not an environment" * 1000)
    refusal(log_dir, data_dir)
    (data_dir / "data.mdb").write_bytes(content)
    open_stores(log_dir, data_dir).close()
    assert len(os.listdir("/proc/self/fd")) == before


def test_what_is_no_environment_is_refused(log_dir: Path, data_dir: Path) -> None:
    prepare(log_dir)
    (log_dir / "data.mdb").write_bytes(b"something else entirely" * 1000)
    error = refusal(log_dir, data_dir)
    assert str(error).startswith(f"can't open {log_dir}: ")
    assert error.remedy


@pytest.mark.parametrize("name", [b"data", b"meta"])
def test_a_database_whose_name_is_damaged_is_refused_and_not_made_anew(
    log_dir: Path, data_dir: Path, name: bytes
) -> None:
    write_something(log_dir, data_dir)
    file = data_dir / "data.mdb"
    content = file.read_bytes()
    # In its node, the name stands behind its length and before the root of its tree.
    node = b"\x04\x00" + name + bytes(4)
    assert node in content
    file.write_bytes(
        content.replace(node, b"\x04\x00" + bytes([name[0] ^ 1]) + name[1:] + bytes(4))
    )
    error = refusal(log_dir, data_dir)
    assert str(error).startswith(f"can't open {data_dir}: ")
    assert "from a copy" in error.remedy


def pages(path: Path) -> int:
    return (path / "data.mdb").stat().st_size // 4096


@pytest.mark.parametrize("kept_share", [0.99, 0.5, 0.1])
def test_a_file_that_was_cut_short_is_refused(
    log_dir: Path, data_dir: Path, kept_share: float
) -> None:
    write_something(log_dir, data_dir)
    os.truncate(data_dir / "data.mdb", int(pages(data_dir) * kept_share) * 4096)
    cut = (data_dir / "data.mdb").read_bytes()
    error = refusal(log_dir, data_dir)
    assert "pages shorter than its contents" in str(error)
    assert "from a copy" in error.remedy
    # All but the meta pages, which were restored.
    assert (data_dir / "data.mdb").read_bytes()[2 * 4096 :] == cut[2 * 4096 :]


@pytest.mark.parametrize("size", [0, 1000, 4096, 5000])
def test_a_file_without_its_first_pages_is_refused(
    log_dir: Path, data_dir: Path, size: int
) -> None:
    write_something(log_dir, data_dir)
    os.truncate(data_dir / "data.mdb", size)
    refusal(log_dir, data_dir)


def test_free_pages_at_the_end_may_be_missing(log_dir: Path, data_dir: Path) -> None:
    write_something(log_dir, data_dir)
    # Pages of a large value that is gone: they are at the end, and on the free list.
    environment = lmdb.open(str(data_dir), max_dbs=2, map_size=1 << 30)
    with environment.begin(write=True) as transaction:
        transaction.put(b"large", bytes(1 << 20), db=environment.open_db(b"data", transaction))
    data = environment.open_db(b"data")
    with environment.begin(write=True) as transaction:
        transaction.delete(b"large", db=data)
    for _ in range(3):
        with environment.begin(write=True) as transaction:
            transaction.put(b"small", b"x", db=data)
    used = environment.info()["last_pgno"] + 1
    environment.close()
    last = pages(data_dir)
    assert last == used
    os.truncate(data_dir / "data.mdb", (last - 20) * 4096)
    stores = open_stores(log_dir, data_dir)
    assert stores.data.entry_count == 101
    stores.close()


UNPRIVILEGED = """
import sys
from pathlib import Path
from regatta.errors import StartError
from regatta.store.node import open_stores
try:
    open_stores(Path(sys.argv[1]), Path(sys.argv[2]))
except StartError as error:
    print(error)
"""


@pytest.mark.parametrize("case", ["directory", "file", "parent"])
def test_an_unwritable_directory_is_one_line(tmp_path: Path, case: str) -> None:
    if os.getuid() != 0:
        pytest.skip("needs root, to start a process as somebody else")
    # Under /tmp, since others may not enter pytest's own directories.
    home = Path(subprocess.check_output(["mktemp", "-d"], text=True).strip())
    log_dir = home / ("missing" if case == "parent" else "log")
    try:
        home.chmod(0o755)
        if case != "parent":
            open_stores(log_dir, home / "data").close()
            log_dir.chmod(0o755 if case == "directory" else 0o777)
        command = [sys.executable, "-c", UNPRIVILEGED, str(log_dir), str(home / "data")]
        done = subprocess.run(
            ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", *command],
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
    finally:
        shutil.rmtree(home)
    assert done.stdout == f"can't write to {log_dir}: Permission denied\n"


VIEW_OUTLIVES_ENVIRONMENT = """
import gc, sys
from pathlib import Path
from regatta.errors import Internal
from regatta.store import Snapshot, View
from regatta.store._env import Environment
environment = Environment(sys.argv[1])
view, snapshot = View(environment), Snapshot(environment)
environment.close()
del view, snapshot
gc.collect()
try:
    Snapshot(environment)
except Internal:
    print("refused")
"""


def test_a_view_may_outlive_a_closed_environment(tmp_path: Path) -> None:
    command = [sys.executable, "-c", VIEW_OUTLIVES_ENVIRONMENT, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "refused\n"), done.stderr


def test_a_first_start_that_was_cut_short_is_made_anew(tmp_path: Path) -> None:
    # A file that has its length and not yet its contents, which LMDB would refuse.
    unfinished = tmp_path / "log" / "unfinished"
    unfinished.mkdir(parents=True)
    (unfinished / "data.mdb").write_bytes(bytes(8192))
    open_stores(tmp_path / "log", tmp_path / "data").close()
    assert not unfinished.exists()
