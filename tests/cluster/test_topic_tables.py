"""Tables that topics feed: the API doesn't write to them; and a start that waits for its topics.

No broker is behind these tests but where one is said to be.
"""

import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer

from regatta.pb.mvcc_pb2 import RequestOp
from tests.cluster.harness import KV
from tests.cluster.harness import Certificate
from tests.cluster.harness import Daemon
from tests.cluster.scrape import fetch
from tests.cluster.tables import ZERO
from tests.cluster.tables import Table
from tests.cluster.tables import exists
from tests.cluster.tables import op_delete
from tests.cluster.tables import op_put
from tests.cluster.tables import op_range
from tests.cluster.tables import refusal
from tests.cluster.test_maintenance import Maintenance
from tests.cluster.test_rest_daemon import DELETE
from tests.cluster.test_rest_daemon import PUT
from tests.cluster.test_rest_daemon import RANGE
from tests.cluster.test_rest_daemon import Client
from tests.cluster.test_rest_daemon import send_http1

READ_ONLY = ("INVALID_ARGUMENT", "table is read-only")
NOBODY = "--kafka.brokers=127.0.0.1:1"
TIMEOUT_S = 20.0

filled, never_made = b"filled", b"never_made"  # both are topics


@pytest.fixture(scope="module")
def fed(tmp_path_factory: pytest.TempPathFactory, certificate: Certificate) -> Iterator[Daemon]:
    """A daemon with two topics and no broker; one of their tables was written to before."""
    daemon = Daemon(tmp_path_factory.mktemp("fed"), certificate)
    daemon.start()
    with daemon.channel() as channel:
        Table(KV(channel), filled).put(b"key", b"value")
    daemon.flags = (NOBODY, "--kafka.topics=filled,never_made")
    assert daemon.stop() == 0
    daemon.start()
    yield daemon
    daemon.kill_9()


@pytest.fixture
def calls(fed: Daemon) -> Iterator[KV]:
    with fed.channel() as channel:
        yield KV(channel)


@pytest.mark.parametrize("name", [filled, never_made])
@pytest.mark.parametrize(
    "write",
    [
        lambda table: table.put(b"key", b"other"),
        lambda table: table.delete(b"key"),
        lambda table: table.delete(ZERO, ZERO),
        lambda table: table.txn(success=[op_put(b"key")]),
        lambda table: table.txn(success=[op_delete(b"key")]),
        lambda table: table.txn([exists(b"no such key")], [op_put(b"key")], [op_range(b"key")]),
        lambda table: table.txn(success=[op_range(b"key"), op_put(b"key")]),
        lambda table: table.txn(failure=[op_delete(b"key")]),
        lambda table: table.txn(success=[RequestOp()]),
    ],
)
def test_no_call_writes_to_a_topics_table(
    calls: KV, write: Callable[[Table], Any], name: bytes
) -> None:
    assert refusal(write, Table(calls, name)) == READ_ONLY
    assert Table(calls, filled).pairs() == {b"key": b"value"}
    assert refusal(Table(calls, never_made).pairs) == ("NOT_FOUND", "table not found")


@pytest.mark.parametrize(
    ("write", "answer"),
    [
        (lambda table: table.put(b""), ("INVALID_ARGUMENT", "key must be set")),
        (lambda table: table.delete(b""), ("INVALID_ARGUMENT", "key must be set")),
        (lambda table: table.put(b"k" * 1025), READ_ONLY),
        (lambda table: table.put(b"k", b"v" * (2 << 20) + b"v"), READ_ONLY),
        (lambda table: table.delete(b"k" * 1025), READ_ONLY),
        (lambda table: table.txn(success=[op_put(b"")]), READ_ONLY),
    ],
)
def test_names_are_checked_before_and_sizes_after(
    calls: KV, write: Callable[[Table], Any], answer: tuple[str, str]
) -> None:
    assert refusal(write, Table(calls, filled)) == answer


def test_a_topics_table_is_read_in_every_way(calls: KV) -> None:
    table = Table(calls, filled)
    assert table.range(b"key").kvs[0].value == b"value"
    assert len(table.pages(ZERO, ZERO)) == 1
    answer = table.txn([exists(b"key")], [op_range(b"key")], [op_range(b"other")])
    assert answer.succeeded
    assert answer.responses[0].response_range.kvs[0].value == b"value"


@pytest.mark.parametrize(
    "name", [b"fille", b"filled_", b"Filled", b"a", b"zzz", b"filled,never_made"]
)
def test_only_the_exact_names_are_read_only(calls: KV, name: bytes) -> None:
    table = Table(calls, name)
    table.put(b"key", b"value")
    table.txn(success=[op_put(b"other")])
    assert table.delete(b"key", count=True).deleted == 1


def test_rest_answers_400(fed: Daemon) -> None:
    client = Client(fed, send_http1)
    for path in (PUT, DELETE):
        answer = client.post(path, table=filled, key=b"key", value=b"other")
        assert answer.status == 400
        text = "table is read-only"
        assert answer.json == {"error": text, "code": 3, "message": text}
    assert client.post(RANGE, table=filled, key=b"key").json["count"] == "1"


def test_reset_empties_a_topics_table_too(stopped_daemon: Daemon) -> None:
    stopped_daemon.start()
    with stopped_daemon.channel() as channel:
        Table(KV(channel), filled).put(b"key", b"value")
    stopped_daemon.flags = (NOBODY, "--kafka.topics=filled")
    stopped_daemon.restart()
    with stopped_daemon.channel() as channel:
        Maintenance(channel).reset()
        assert Table(KV(channel), filled).pairs() == {}


# --kafka.check-topics


def wait_for_reason(daemon: Daemon, words: str) -> None:
    """Return once /readyz is 503 for a reason that has these words."""
    deadline_s = time.monotonic() + TIMEOUT_S
    while time.monotonic() < deadline_s:
        try:
            answer = fetch(daemon, "/readyz")
        except OSError:
            time.sleep(0.05)  # the port is not open yet
            continue
        if words in answer.text:
            assert answer.status == 503
            return
        time.sleep(0.05)
    raise AssertionError(f"{answer.text!r} lacks {words!r}")


def is_open(port: int) -> bool:
    with socket.socket() as knocking:
        return knocking.connect_ex(("127.0.0.1", port)) == 0


def test_a_stop_ends_the_wait_for_topics_at_once(stopped_daemon: Daemon) -> None:
    daemon = stopped_daemon
    daemon.flags = (NOBODY, "--kafka.topics=a,b", "--kafka.check-topics")
    daemon.launch()
    wait_for_reason(daemon, "waiting for a partition of a, b")
    wait_for_reason(daemon, "Connection refused")
    assert not is_open(daemon.port)
    time.sleep(1.0)
    begin_s = time.monotonic()
    assert daemon.stop() == 0
    assert time.monotonic() - begin_s < 2
    assert "Connection refused" in daemon.stderr
    assert "Traceback" not in daemon.stderr


def test_the_api_opens_when_the_topics_are_there(stopped_daemon: Daemon) -> None:
    brokers = Producer({"test.mock.num.brokers": 1, "log_level": 0})
    (broker,) = brokers.list_topics(timeout=TIMEOUT_S).brokers.values()
    daemon = stopped_daemon
    at = f"--kafka.brokers={broker.host}:{broker.port}"
    daemon.flags = (at, "--kafka.topics=a", "--kafka.check-topics")
    daemon.launch()
    wait_for_reason(daemon, "waiting for a partition of a")
    assert not is_open(daemon.port)
    brokers.produce("a", b"value", b"key")
    assert brokers.flush(TIMEOUT_S) == 0
    daemon.wait_until_serving()
    assert fetch(daemon, "/readyz").status == 200
    assert daemon.stop() == 0


def test_without_check_topics_a_node_serves_whatever_the_brokers_do(fed: Daemon) -> None:
    assert fetch(fed, "/readyz").status == 200


def test_a_wrong_property_ends_the_start_before_anything_is_opened(tmp_path: Path) -> None:
    command = [
        *(sys.executable, "-m", "regatta", "--dev-mode", "--api.address=http://127.0.0.1:0"),
        *("--rest.address=", NOBODY, "--kafka.topics=a"),
        f"--raft.node-host-dir={tmp_path}/raft",
        f"--raft.state-machine-dir={tmp_path}/state-machine",
        *("--kafka.property=sasl.password=hunter2", "--kafka.property=session.timeout.ms=hunter2"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    first, _ = done.stderr.splitlines()
    assert first.startswith("regatta: --kafka.property: ")
    assert "session.timeout.ms" in first
    assert "hunter2" not in done.stderr
    assert list(tmp_path.iterdir()) == []
