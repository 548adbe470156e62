"""Reader processes: fresh reads, the node's own answers, deaths, and the end of the node."""

import os
import random
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import grpc
import pytest

from bench import processes
from regatta.pb.regatta_pb2 import DeleteRangeRequest
from regatta.pb.regatta_pb2 import PutRequest
from regatta.pb.regatta_pb2 import PutResponse
from regatta.pb.regatta_pb2 import RangeRequest
from regatta.pb.regatta_pb2 import RangeResponse
from regatta.pb.regatta_pb2 import ResetRequest
from regatta.pb.regatta_pb2 import TxnRequest
from tests.cluster.harness import KV
from tests.cluster.harness import Certificate
from tests.cluster.scrape import scrape
from tests.cluster.tables import CALL_TIMEOUT_S
from tests.cluster.tables import ZERO
from tests.cluster.tables import Table
from tests.cluster.tables import op_put
from tests.cluster.tables import op_range
from tests.cluster.test_bad_input import H2
from tests.cluster.test_bad_input import frame
from tests.workers.processes import WAIT_S
from tests.workers.processes import Node

WRITES = int(os.environ.get("REGATTA_WORKER_WRITES", "1500"))
TABLE = b"table"


def range_request(key: bytes, **options: object) -> bytes:
    return RangeRequest(table=TABLE, key=key, **options).SerializeToString()  # type: ignore[arg-type]


def put(connection: H2, key: bytes, value: bytes) -> int:
    """Write by a connection; return the revision."""
    request = PutRequest(table=TABLE, key=key, value=value).SerializeToString()
    headers, body = connection.ask("/regatta.v1.KV/Put", frame(request))
    assert headers["grpc-status"] == "0", headers
    return PutResponse.FromString(body[5:]).header.revision


def get(connection: H2, key: bytes) -> bytes | None:
    """Read by a connection, as the official clients do."""
    headers, body = connection.ask(
        "/regatta.v1.KV/Range", frame(range_request(key, linearizable=True))
    )
    assert headers["grpc-status"] == "0", headers
    kvs = RangeResponse.FromString(body[5:]).kvs
    return kvs[0].value if kvs else None


def test_connections_are_spread_over_the_node_and_its_processes(node: Node) -> None:
    assert len(node.connections()) == 3


def test_a_write_by_one_process_is_read_at_once_by_all(node: Node) -> None:
    connections = list(node.connections().values())
    chance = random.Random(1)
    for number in range(WRITES):
        writer, reader = chance.sample(connections, 2)
        value = b"%d" % number
        put(writer, b"key", value)
        assert get(reader, b"key") == value


def test_a_table_is_there_and_empty_at_once(node: Node) -> None:
    connections = list(node.connections().values())
    chance = random.Random(2)
    for number in range(WRITES // 20):
        writer, reader = chance.sample(connections, 2)
        name = b"table %d" % (number % 10)
        request = PutRequest(table=name, key=b"k", value=b"%d" % number).SerializeToString()
        assert writer.ask("/regatta.v1.KV/Put", frame(request))[0]["grpc-status"] == "0"
        asked = RangeRequest(table=name, key=b"k").SerializeToString()
        headers, body = reader.ask("/regatta.v1.KV/Range", frame(asked))
        assert headers["grpc-status"] == "0"
        answer = RangeResponse.FromString(body[5:])
        assert answer.kvs[0].value == b"%d" % number
        assert answer.header.raft_term > 0
        assert answer.header.raft_leader_id == 1
        if number % 10 == 9:
            reset = ResetRequest().SerializeToString()
            path = "/regatta.v1.Maintenance/Reset"
            assert writer.ask(path, frame(reset))[0]["grpc-status"] == "0"
            headers, body = reader.ask("/regatta.v1.KV/Range", frame(asked))
            assert (headers["grpc-status"], RangeResponse.FromString(body[5:]).count) == ("0", 0)


def test_reads_are_fresh_while_processes_are_killed(node: Node) -> None:
    connections = node.connections()
    chance = random.Random(3)
    stale = read = killed = 0
    for number in range(WRITES):
        if number % (WRITES // 5) == WRITES // 10:
            victim = chance.choice(node.worker_pids)
            os.kill(victim, signal.SIGKILL)
            killed += 1
        value = b"%d" % number
        while True:
            writer = connections[node.process_id]
            pid = chance.choice(list(connections))
            try:
                put(writer, b"key", value)
                stale += get(connections[pid], b"key") != value
                read += 1
                break
            except (OSError, AssertionError):
                if pid == node.process_id:
                    raise
                del connections[pid]
        if len(connections) == 1 and number % 50 == 0:
            node.wait_for_workers(2)
            connections |= node.connections()
    assert (stale, read) == (0, WRITES)
    assert killed == 5
    node.wait_for_workers(2)
    assert node.stderr.count("has died (signal 9)") == 5


REQUESTS: dict[str, tuple[str, bytes]] = {
    "a pair": ("KV/Range", range_request(b"k05")),
    "a missing one": ("KV/Range", range_request(b"none")),
    "a range": ("KV/Range", range_request(b"k", range_end=b"l")),
    "a large range": ("KV/Range", range_request(b"k", range_end=b"m")),
    "a count": ("KV/Range", range_request(ZERO, range_end=ZERO, count_only=True)),
    "all pages": ("KV/IterateRange", range_request(ZERO, range_end=ZERO)),
    "no table": ("KV/Range", RangeRequest(table=b"none", key=b"k").SerializeToString()),
    "no key": ("KV/Range", RangeRequest(table=TABLE).SerializeToString()),
    "a negative limit": ("KV/Range", range_request(b"k", limit=-1)),
    "a long key": ("KV/Range", range_request(b"k" * 1025)),
    "no message": ("KV/Range", b"\xff"),
    "a put of nothing": ("KV/Put", PutRequest(table=TABLE).SerializeToString()),
    "a delete of nothing": (
        "KV/DeleteRange",
        DeleteRangeRequest(table=TABLE, key=b"none").SerializeToString()[:-1],
    ),
    "a transaction that reads": (
        "KV/Txn",
        TxnRequest(table=TABLE, success=[op_range(b"k", b"l")]).SerializeToString(),
    ),
    "no method": ("KV/Nothing", b""),
    "no service": ("Nothing/Range", b""),
}


def test_all_processes_answer_alike(node: Node) -> None:
    connections = node.connections()
    own = connections[node.process_id]
    for number in range(20):
        put(own, b"k%02d" % number, b"v" * 100)
    for number in range(5):
        put(own, b"l%02d" % number, b"v" * 1_500_000)
    for name, (method, message) in REQUESTS.items():
        path = f"/regatta.v1.{method}"
        answers = [connection.ask(path, frame(message)) for connection in connections.values()]
        assert all(answer == answers[0] for answer in answers), name


@pytest.mark.parametrize(
    "more",
    [
        (b"x-name", b"caf\xc3\xa9 \xff"),
        (b"x-data-bin", b"not base 64"),
        (b"x-data-bin", b"AAE"),
        (b"x+name", b"v"),
        (b"client-api-version", b"1"),
        (b"grpc-timeout", b"5S"),
        (b"user-agent", b"grpc-go/1.0"),
    ],
)
def test_headers_of_all_kinds_are_no_obstacle(node: Node, more: tuple[bytes, bytes]) -> None:
    for connection in node.connections().values():
        request = PutRequest(table=TABLE, key=b"k", value=b"v").SerializeToString()
        headers, _ = connection.ask("/regatta.v1.KV/Put", frame(request), more=[more])
        assert headers["grpc-status"] == "0", headers
        headers, body = connection.ask("/v1/kv/range", b"{}", "application/json", more=[more])
        assert (headers[":status"], b"table must be set" in body) == ("400", True)


def test_rest_is_answered_alike_over_both_versions_of_http(
    node: Node, certificate: Certificate
) -> None:
    Table(KV(node.channel()), TABLE).put(b"k", b"v")
    for version in ("--http2", "--http1.1"):
        for path, body in (
            ("v1/kv/range", '{"table":"dGFibGU=","key":"aw=="}'),
            ("v1/kv/range", '{"table":"dGFibGU=","key":"bm8="}'),
            ("v1/kv/range", '{"table":"dGFibGU='),
            ("nowhere?x=1", "{}"),
        ):
            found = set()
            for _ in range(12):
                command = ["curl", "-sS", "-m", "20", version, "-w", "\n%{http_code}", "-d", body]
                command += ["--cacert", str(certificate.certificate_path)]
                url = f"https://localhost:{node.port}/{path}"
                found.add(subprocess.run([*command, url], capture_output=True, check=True).stdout)
            assert len(found) == 1, found


def test_what_is_handed_on_keeps_its_deadline_and_may_be_cancelled(node: Node) -> None:
    connections = node.connections()
    del connections[node.process_id]
    channels = []
    for _ in range(40):
        channel = node.channel()
        channels.append(channel)
        calls = KV(channel)
        with pytest.raises(grpc.RpcError) as caught:
            calls.txn(TxnRequest(table=TABLE, success=[op_put(b"k", b"v")]), timeout=0.000001)
        assert caught.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
        table = Table(calls, TABLE)
        table.put(b"k", b"v" * 1_500_000)
        pages = calls.iterate_range(
            RangeRequest(table=TABLE, key=ZERO, range_end=ZERO), timeout=CALL_TIMEOUT_S
        )
        next(pages)
        pages.cancel()
        assert table.range(b"k").count == 1
    for channel in channels:
        channel.close()


def test_a_process_that_dies_is_started_again_and_its_counts_stay(node: Node) -> None:
    connections = node.connections()
    own = connections.pop(node.process_id)
    put(own, b"k", b"v")
    for connection in connections.values():
        for _ in range(10):
            assert get(connection, b"k") == b"v"
    labels = {"grpc_type": "unary", "grpc_service": "regatta.v1.KV", "grpc_method": "Range"}
    counted = scrape(node)("grpc_server_handled_total", grpc_code="OK", **labels)
    assert counted == 20.0
    assert scrape(node)("grpc_server_handling_seconds_count", **labels) == 20.0
    before = tuple(node.worker_pids)
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    node.wait_for_workers(2, other_than=before)
    again = node.connections()
    for connection in again.values():
        assert get(connection, b"k") == b"v"
    assert scrape(node)("grpc_server_handled_total", grpc_code="OK", **labels) == counted + 3


@pytest.mark.parametrize("end", [Node.kill_9, Node.stop])
def test_processes_end_with_the_node(node: Node, end: Callable[[Node], object]) -> None:
    pids = node.worker_pids
    begun_s = time.monotonic()
    assert end(node) in (None, 0)
    while any(Path(f"/proc/{pid}").exists() for pid in pids):
        assert time.monotonic() < begun_s + WAIT_S
        time.sleep(0.01)
    assert time.monotonic() - begun_s < 5
    assert "has died" not in node.stderr
    node.start()
    assert len(node.wait_for_workers(2)) == 2


def test_calls_in_flight_are_finished_at_a_stop(node: Node) -> None:
    connections = node.connections()
    put(connections[node.process_id], b"k", b"v" * 1_000_000)
    connection = next(made for pid, made in connections.items() if pid != node.process_id)
    headers = [
        (b":method", b"POST"),
        (b":scheme", b"https"),
        (b":authority", b"localhost"),
        (b":path", b"/regatta.v1.KV/Range"),
        (b"content-type", b"application/grpc"),
    ]
    stream = connection.client.send_request(headers)
    connection.socket.sendall(connection.client.data_to_send())
    time.sleep(0.2)
    os.kill(node.process_id, signal.SIGTERM)
    time.sleep(0.5)
    connection.client.send_data(stream, frame(range_request(b"k")), end_stream=True)
    answer = b""
    while b"grpc-status" not in answer and len(answer) < 1_000_000:
        if data := connection.client.data_to_send():
            connection.socket.sendall(data)
        received = connection.socket.recv(65536)
        assert received
        connection.client.receive_data(received)
        answer += received
    connection.socket.close()
    assert node._process is not None
    assert node._process.wait(WAIT_S) == 0
    node._process = None


def test_a_port_that_others_have_is_not_shared_with_them(
    node: Node, tmp_path: Path, certificate: Certificate
) -> None:
    (tmp_path / "other").mkdir()
    other = Node(tmp_path / "other", certificate, "--api.workers=2")
    other.port = node.port
    other.launch()
    assert other._process is not None
    assert other._process.wait(WAIT_S) == 1
    assert f"regatta: can't listen on 127.0.0.1:{node.port}" in other.stderr
    other._process = None


@pytest.mark.parametrize("scheme", ["unix", "unixs"])
def test_a_unix_socket_is_shared_too(tmp_path: Path, certificate: Certificate, scheme: str) -> None:
    path = tmp_path / "api.sock"
    node = Node(tmp_path, certificate, "--api.workers=2", f"--api.address={scheme}://{path}")
    node.launch()
    try:
        node.wait_for_workers(2)
        command = ["curl", "-sS", "-m", "10", "--unix-socket", str(path)]
        command += ["--cacert", str(certificate.certificate_path)]
        protocol = "https" if scheme == "unixs" else "http"
        for number in range(30):
            body = f'{{"table":"dGFibGU=","key":"aw==","value":"{number:02d}=="}}'
            url = f"{protocol}://localhost/v1/kv"
            subprocess.run([*command, "-d", body, f"{url}/put"], check=True, capture_output=True)
            body = '{"table":"dGFibGU=","key":"aw=="}'
            read = subprocess.run([*command, "-d", body, f"{url}/range"], capture_output=True)
            assert b'"count":"1"' in read.stdout
        assert node.stop() == 0
        assert not path.exists()
    finally:
        node.kill_9()


@pytest.mark.parametrize("value", ["-1", "257", "two"])
def test_a_number_of_processes_that_makes_no_sense_is_refused(
    tmp_path: Path, certificate: Certificate, value: str
) -> None:
    node = Node(tmp_path, certificate, f"--api.workers={value}")
    node.launch()
    assert node._process is not None
    assert node._process.wait(WAIT_S) == 2
    assert "api.workers" in node.stderr
    assert "Traceback" not in node.stderr
    node._process = None


def test_processes_sleep_that_nobody_asks(node: Node) -> None:
    # The harness has asked for the health of the node; gRPC's threads never sleep quite after that.
    asked = tuple(node.worker_pids)
    for pid in asked:
        os.kill(pid, signal.SIGKILL)
    node.wait_for_workers(2, other_than=asked)
    time.sleep(1.0)
    before = [processes.sleeps(pid) for pid in node.worker_pids]
    time.sleep(5.0)
    after = [processes.sleeps(pid) for pid in node.worker_pids]
    assert all(later - earlier <= 2 for earlier, later in zip(before, after, strict=True))
