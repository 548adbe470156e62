"""What clients and operators see when the storage of a running daemon is bad."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from regatta.pb.regatta_pb2 import PutRequest
from regatta.pb.regatta_pb2 import RangeRequest
from tests.cluster.harness import KV
from tests.cluster.harness import Certificate
from tests.cluster.harness import Daemon
from tests.store.storage import damage


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    daemon = Daemon(tmp_path, Certificate.make(tmp_path))
    yield daemon
    daemon.kill_9()


def data_environment(daemon: Daemon) -> Path:
    (path,) = daemon.directory.glob("state-machine*")
    return path


def put(daemon: Daemon, key: bytes, value: bytes) -> None:
    with daemon.channel() as channel:
        KV(channel).put(PutRequest(table=b"table", key=key, value=value), timeout=10)


@pytest.mark.parametrize("range_end", [b"", b"\0"])
def test_a_damaged_record_is_data_loss_and_never_served(daemon: Daemon, range_end: bytes) -> None:
    daemon.start()
    put(daemon, b"bad", b"MARKER-VALUE")
    put(daemon, b"good", b"value")
    daemon.stop()
    damage(data_environment(daemon), b"MARKER-VALUE")
    daemon.start()
    with daemon.channel() as channel:
        calls = KV(channel)
        with pytest.raises(grpc.RpcError) as caught:
            calls.range(RangeRequest(table=b"table", key=b"bad", range_end=range_end), timeout=10)
        assert caught.value.code() == grpc.StatusCode.DATA_LOSS
        assert caught.value.details() == "a stored record is damaged"
        good = calls.range(RangeRequest(table=b"table", key=b"good"), timeout=10)
        assert good.kvs[0].value == b"value"
        # Writing it anew is how it is mended.
        put(daemon, b"bad", b"mended")
        mended = calls.range(RangeRequest(table=b"table", key=b"bad"), timeout=10)
        assert mended.kvs[0].value == b"mended"


def test_a_failed_sync_stops_the_daemon(daemon: Daemon) -> None:
    strace = shutil.which("strace")
    if strace is None or subprocess.run([strace, "-o", "/dev/null", "true"]).returncode:
        pytest.skip("needs strace, and the right to use it")
    daemon.start()
    put(daemon, b"key", b"value")
    assert daemon.stop() == 0
    # Of each thread: the start takes some, and the log's thread one a write.
    inject = "inject=fdatasync:error=EIO:when=6+"
    daemon.command_prefix = (
        *(strace, "-f", "-qq", "-o", "/dev/null"),
        *("-e", "trace=fdatasync", "-e", inject),
    )
    daemon.start()
    written: list[bytes] = []
    with pytest.raises(grpc.RpcError) as caught:  # noqa: PT012
        for i in range(10):
            put(daemon, b"%d" % i, b"value")
            written.append(b"%d" % i)
    assert caught.value.code() == grpc.StatusCode.INTERNAL
    assert "the write may still take effect" in str(caught.value.details())
    assert daemon._process is not None
    assert daemon._process.wait(20) == 1
    daemon._process = None
    lines = [line for line in daemon.stderr.splitlines() if "a sync failed in " in line]
    assert lines
    assert all("Input/output error" in line for line in lines)
    assert "Traceback" not in daemon.stderr
    daemon.command_prefix = ()
    daemon.start()
    with daemon.channel() as channel:
        for key in [b"key", *written]:
            answer = KV(channel).range(RangeRequest(table=b"table", key=key), timeout=10)
            assert answer.kvs[0].value == b"value"


def test_a_fresh_daemon_stops_at_once(daemon: Daemon) -> None:
    daemon.start()
    assert daemon.stop() == 0


def test_a_second_daemon_is_told_in_one_line(daemon: Daemon) -> None:
    daemon.start()
    second = Daemon(daemon.directory, daemon.certificate)
    done = subprocess.run(second.command(), capture_output=True, text=True, timeout=30)
    assert done.returncode == 1
    assert "another regatta is running on" in done.stderr
    assert "Traceback" not in done.stderr
