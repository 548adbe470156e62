"""The operators' port: health, readiness with its reason, and what it does not stand for."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from regatta.pb.regatta_pb2 import PutRequest
from tests.cluster.harness import KV
from tests.cluster.harness import Daemon
from tests.cluster.harness import free_port
from tests.cluster.scrape import Answer
from tests.cluster.scrape import Metrics
from tests.cluster.scrape import fetch
from tests.cluster.scrape import scrape
from tests.cluster.tables import Table

DEFAULT_PORT = 8079


def test_a_serving_node_is_healthy_and_ready(shared_daemon: Daemon) -> None:
    for path in ("/healthz", "/readyz", "/readyz?verbose=1"):
        answer = fetch(shared_daemon, path)
        assert (answer.status, answer.body) == (200, b"")


@pytest.mark.parametrize("path", ["/", "/metrics/", "/debug/pprof", "//metrics", "/v1/kv/put"])
def test_everything_else_is_not_found(shared_daemon: Daemon, path: str) -> None:
    assert fetch(shared_daemon, path).status == 404


def test_only_reading_is_allowed(shared_daemon: Daemon) -> None:
    answer = fetch(shared_daemon, "/metrics", "POST")
    assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD")
    answer = fetch(shared_daemon, "/metrics", "HEAD")
    assert (answer.status, answer.body) == (200, b"")


def test_metrics_are_packed_only_for_those_who_ask(shared_daemon: Daemon) -> None:
    plain = fetch(shared_daemon, "/metrics")
    assert "content-encoding" not in plain.headers
    assert plain.headers["content-type"].startswith("text/plain; version=0.0.4")
    refused = fetch(shared_daemon, "/metrics", Accept_Encoding="deflate, gzip;q=0")
    assert "content-encoding" not in refused.headers
    packed = fetch(shared_daemon, "/metrics", Accept_Encoding="deflate, gzip;q=0.5")
    assert packed.headers["content-encoding"] == "gzip"
    assert len(packed.body) < len(plain.body) / 5
    assert Metrics(packed.text)("regatta_api_connections") >= 0.0


def test_openmetrics_is_answered_to_those_who_ask(shared_daemon: Daemon) -> None:
    answer = fetch(shared_daemon, "/metrics", Accept="application/openmetrics-text;version=1.0.0")
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    assert answer.text.endswith("# EOF\n")


def test_a_request_that_does_not_come_in_time_ends_the_connection(
    stopped_daemon: Daemon,
) -> None:
    stopped_daemon.flags = ("--rest.read-timeout=300ms",)
    stopped_daemon.start()
    for sent in (b"", b"GET /healthz HTTP/1.1\r\nHost: x\r\n"):
        begun_s = time.monotonic()
        with socket.create_connection(("127.0.0.1", stopped_daemon.rest_port), 5) as connection:
            connection.sendall(sent)
            with contextlib.suppress(ConnectionResetError):
                assert connection.recv(1) == b""
            assert 0.2 < time.monotonic() - begun_s < 5.0


def test_readiness_tells_that_the_node_is_stopping(daemon: Daemon) -> None:
    with daemon.channel() as channel:
        # A call in flight keeps the node from stopping at once.
        call = channel.stream_unary("/regatta.v1.KV/Put").future(endless(), timeout=20)
        time.sleep(0.3)
        os.kill(daemon.process_id, signal.SIGTERM)
        assert readiness(daemon, 503).body == b"the node is stopping\n"
        assert fetch(daemon, "/healthz").status == 200
        assert fetch(daemon, "/metrics").status == 200
        call.cancel()


def endless() -> Iterator[bytes]:
    """A request that does not come to its end."""
    yield b""
    threading.Event().wait(15)


def can_trace() -> bool:
    """Return whether strace is there and may be used."""
    strace = shutil.which("strace")
    return bool(strace) and not subprocess.call([strace, "-o", "/dev/null", "true"])


@pytest.mark.skipif(not can_trace(), reason="needs strace, and the right to use it")
def test_operators_are_answered_while_the_node_starts(daemon: Daemon) -> None:
    with daemon.channel() as channel:
        table = Table(KV(channel), b"table")
        table.put(b"key", b"value")
    daemon.stop()
    # Slow locks of the directories hold the start up.
    # -D: the process that is started is the daemon, and the tracer is a grandchild.
    daemon.command_prefix = ("strace", "-D", "-f", "-qq", "-o", "/dev/null")
    daemon.command_prefix += ("-e", "trace=flock", "-e", "inject=flock:delay_enter=1500000")
    daemon.launch()
    reasons = set()
    deadline_s = time.monotonic() + 25
    while time.monotonic() < deadline_s:
        try:
            answer = fetch(daemon, "/readyz")
        except OSError:
            time.sleep(0.02)
            continue
        if answer.status == 200:
            break
        assert fetch(daemon, "/healthz").status == 200
        assert "regatta_build_info" in fetch(daemon, "/metrics").text
        reasons.add(answer.text)
    assert answer.status == 200
    assert "the node is starting\n" in reasons
    assert reasons <= {"the node is starting\n", "the log is being replayed\n"}


@pytest.mark.skipif(not can_trace(), reason="needs strace, and the right to use it")
def test_a_full_disk_makes_the_node_unready_until_there_is_room(daemon: Daemon) -> None:
    calls = "pwrite64,pwritev,writev"
    with daemon.channel() as channel:
        table = Table(KV(channel), b"table")
        table.put(b"key", b"value")
        assert fetch(daemon, "/readyz").status == 200
        tracer = subprocess.Popen(
            [
                *("strace", "-f", "-qq", "-o", "/dev/null", "-p", str(daemon.process_id)),
                *("-e", f"trace={calls}", "-e", f"inject={calls}:error=ENOSPC"),
            ]
        )
        try:
            wait_until_traced(daemon.process_id)
            request = PutRequest(table=table.name, key=b"key", value=b"another")
            write = table.calls.put.future(request, timeout=20)
            answer = readiness(daemon, 503)
            assert answer.body == b"writes are waiting: No space left on device\n"
            assert fetch(daemon, "/healthz").status == 200
            stalled = scrape(daemon)
            assert stalled("regatta_store_stalled", environment="log") == 1.0
            assert stalled("regatta_pending_writes") == 1.0
            # The entry, and the commit index that goes along with it.
            assert stalled("regatta_store_queue_items", environment="log") == 2.0
            assert stalled("regatta_store_queue_bytes", environment="log") > 0.0
            assert table.range(b"key").kvs[0].value == b"value"
        finally:
            tracer.send_signal(signal.SIGINT)
            tracer.wait(10)
        write.result()
        assert readiness(daemon, 200).body == b""
        assert scrape(daemon)("regatta_store_stalled", environment="log") == 0.0


def wait_until_traced(process_id: int) -> None:
    """Return once every thread of a process has its tracer."""
    deadline_s = time.monotonic() + 10
    while True:
        states = [path.read_text() for path in Path(f"/proc/{process_id}/task").glob("*/status")]
        if not any("TracerPid:\t0\n" in state for state in states):
            return
        assert time.monotonic() < deadline_s
        time.sleep(0.01)


def readiness(daemon: Daemon, status: int) -> Answer:
    """Return what /readyz answers once it answers with *status*."""
    deadline_s = time.monotonic() + 10
    while (answer := fetch(daemon, "/readyz")).status != status:
        assert time.monotonic() < deadline_s
        time.sleep(0.01)
    return answer


def test_a_port_that_was_asked_for_and_is_taken_stops_the_start(stopped_daemon: Daemon) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        stopped_daemon.rest_port = taken.getsockname()[1]
        done = subprocess.run(
            stopped_daemon.command(), capture_output=True, text=True, timeout=20, check=False
        )
    assert done.returncode == 1
    problem = f"can't listen on 127.0.0.1:{stopped_daemon.rest_port}: Address already in use"
    assert f"regatta: {problem}\n" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_default_port_that_is_taken_costs_a_warning(stopped_daemon: Daemon) -> None:
    command = [part for part in stopped_daemon.command() if not part.startswith("--rest.address")]
    stopped_daemon.command = lambda: command  # type: ignore[method-assign]
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with contextlib.suppress(OSError):  # somebody else has it: that serves as well
            taken.bind(("127.0.0.1", DEFAULT_PORT))
            taken.listen()
        stopped_daemon.start()
        assert stopped_daemon.stop() == 0
    (warning,) = (line for line in stopped_daemon.stderr.splitlines() if "\tWARN\t" in line)
    assert f"no metrics: can't listen on 127.0.0.1:{DEFAULT_PORT}: Address already" in warning


def test_a_node_can_do_without_the_port(stopped_daemon: Daemon) -> None:
    stopped_daemon.flags = ("--rest.address=",)
    stopped_daemon.rest_port = free_port()
    stopped_daemon.start()
    with pytest.raises(ConnectionRefusedError):
        fetch(stopped_daemon, "/healthz")
