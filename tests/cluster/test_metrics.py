"""What /metrics tells is what happened, call by call and write by write."""

import json
import re
import ssl
import time
import urllib.error
import urllib.request
from pathlib import Path

import grpc
import pytest

from regatta import limits
from regatta.errors import Code
from regatta.measure import call_bounds_s
from regatta.pb.regatta_pb2 import PutRequest
from regatta.pb.regatta_pb2 import RangeRequest
from tests.cluster.harness import KV
from tests.cluster.harness import Daemon
from tests.cluster.scrape import Metrics
from tests.cluster.scrape import fetch
from tests.cluster.scrape import scrape
from tests.cluster.tables import Table
from tests.cluster.tables import op_put
from tests.cluster.tables import refusal

STARTED, HANDLED = "grpc_server_started_total", "grpc_server_handled_total"
RECEIVED, SENT = "grpc_server_msg_received_total", "grpc_server_msg_sent_total"
COUNTS = (STARTED, HANDLED, RECEIVED, SENT)
METRICS_PAGE = Path(__file__).parents[2] / "docs/metrics.md"
SECONDS = "grpc_server_handling_seconds"


def of_calls(before: Metrics, after: Metrics, method: str) -> dict[str, float]:
    """Return how the counters of a method of KV have grown, the handled ones by code."""
    changes = after.changes_since(before, "grpc_server_")
    found = {}
    for (name, *labels), change in changes.items():
        if name in COUNTS and method in labels:
            found[labels[0] if name == HANDLED else name] = change
    return found


def test_every_method_is_there_from_the_start_at_zero(daemon: Daemon) -> None:
    metrics = scrape(daemon)
    methods = {labels["grpc_method"]: labels for labels in metrics.labels(STARTED)}
    types = {name: labels["grpc_type"] for name, labels in methods.items()}
    assert types == {
        "Range": "unary",
        "IterateRange": "server_stream",
        "Put": "unary",
        "DeleteRange": "unary",
        "Txn": "unary",
        "Hash": "unary",
        "Reset": "unary",
        "Check": "unary",
        "List": "unary",
        "Watch": "server_stream",
    }
    for name, labels in methods.items():
        called = 1.0 if name == "Check" else 0.0  # the health check of the start
        assert [metrics(count, **labels) for count in (STARTED, RECEIVED, SENT)] == 3 * [called]
        handled = {
            found["grpc_code"]: metrics(HANDLED, **found)
            for found in metrics.labels(HANDLED)
            if found["grpc_method"] == name
        }
        assert len(handled) == len(Code)
        assert handled.pop("OK") == called
        assert set(handled.values()) == {0.0}
        bounds = [
            float(found["le"])
            for found in metrics.labels(f"{SECONDS}_bucket")
            if found["grpc_method"] == name
        ]
        assert sorted(bounds) == [*call_bounds_s, float("inf")]
    assert metrics("grpc_server_handled_total", **methods["Range"], grpc_code="Canceled") == 0.0


def test_native_reads_are_counted_with_their_codes(shared_daemon: Daemon, table: Table) -> None:
    table.put(b"key", b"value")
    before = scrape(shared_daemon)
    for _ in range(23):
        assert table.range(b"key").count == 1
    for _ in range(4):
        assert table.range(b"no such key").count == 0
    missing = RangeRequest(table=b"missing", key=b"key")
    for _ in range(3):
        assert refusal(table.calls.range, missing)[0] == "NOT_FOUND"
    after = scrape(shared_daemon)
    expected = {STARTED: 30.0, RECEIVED: 30.0, SENT: 27.0, "OK": 27.0, "NotFound": 3.0}
    assert of_calls(before, after, "Range") == expected
    labels = {"grpc_type": "unary", "grpc_service": "regatta.v1.KV", "grpc_method": "Range"}
    for suffix, extra in (("count", {}), ("bucket", {"le": "30.0"}), ("bucket", {"le": "+Inf"})):
        name = f"{SECONDS}_{suffix}"
        assert after(name, **labels, **extra) - before(name, **labels, **extra) == 30.0
    spent_s = after(f"{SECONDS}_sum", **labels) - before(f"{SECONDS}_sum", **labels)
    assert 0 < spent_s < 1.0


def test_reads_that_python_answers_are_counted_with_the_native_ones(
    shared_daemon: Daemon, table: Table
) -> None:
    table.put_all(b"a", b"b", b"c")
    before = scrape(shared_daemon)
    table.range(b"a")
    table.range(b"a", b"c")
    assert refusal(table.range, b"a", limit=-1)[0] == "INVALID_ARGUMENT"
    expected = {STARTED: 3.0, RECEIVED: 3.0, SENT: 2.0, "OK": 2.0, "InvalidArgument": 1.0}
    assert of_calls(before, scrape(shared_daemon), "Range") == expected


def test_writes_and_streams_are_counted_message_by_message(
    shared_daemon: Daemon, table: Table
) -> None:
    large = bytes(1 << 20)
    before = scrape(shared_daemon)
    table.txn(success=[op_put(b"%d" % number, large) for number in range(3)])
    for number in range(5):
        table.put(b"%d" % number, large)
    assert refusal(table.put, b"", b"value")[0] == "INVALID_ARGUMENT"
    table.delete(b"none")
    pages = table.pages(b"\0", b"\0")
    assert len(pages) == 2
    after = scrape(shared_daemon)
    assert of_calls(before, after, "Txn") == {STARTED: 1.0, RECEIVED: 1.0, SENT: 1.0, "OK": 1.0}
    assert of_calls(before, after, "Put") == {
        STARTED: 6.0,
        RECEIVED: 6.0,
        SENT: 5.0,
        "OK": 5.0,
        "InvalidArgument": 1.0,
    }
    expected = {STARTED: 1.0, RECEIVED: 1.0, SENT: 2.0, "OK": 1.0}
    assert of_calls(before, after, "IterateRange") == expected


def test_a_call_that_is_cancelled_is_counted_as_canceled(
    shared_daemon: Daemon, table: Table
) -> None:
    table.txn(success=[op_put(b"%02d" % number, bytes(1 << 20)) for number in range(3)])
    for number in range(3, 40):
        table.put(b"%02d" % number, bytes(1 << 20))
    before = scrape(shared_daemon)
    request = RangeRequest(table=table.name, key=b"\0", range_end=b"\0")
    answers = table.calls.iterate_range(request, timeout=20)
    next(answers)
    answers.cancel()
    deadline_s = time.monotonic() + 10
    while "Canceled" not in (seen := of_calls(before, scrape(shared_daemon), "IterateRange")):
        assert time.monotonic() < deadline_s
        time.sleep(0.02)
    assert (seen[STARTED], seen["Canceled"]) == (1.0, 1.0)
    assert "OK" not in seen


def test_a_method_that_is_not_served_is_not_counted(shared_daemon: Daemon) -> None:
    before = scrape(shared_daemon)
    with shared_daemon.channel() as channel, pytest.raises(grpc.RpcError):
        channel.unary_unary("/regatta.v1.KV/Nonsense")(b"", timeout=10)
    assert scrape(shared_daemon).changes_since(before, STARTED) == {}


def test_rest_requests_count_by_path_and_status_and_not_as_grpc(shared_daemon: Daemon) -> None:
    context = ssl.create_default_context(cafile=str(shared_daemon.certificate.certificate_path))

    def post(path: str, body: str) -> int:
        url = f"https://localhost:{shared_daemon.port}{path}"
        try:
            with urllib.request.urlopen(url, body.encode(), timeout=10, context=context) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code

    pair = json.dumps({"table": "cmVzdA==", "key": "a2V5", "value": "dmFsdWU="})
    before = scrape(shared_daemon)
    assert post("/v1/kv/put", pair) == 200
    assert post("/v1/kv/put", "{") == 400
    assert post("/v1/kv/range?x=1", pair.replace("value", "unknown")) in (200, 400)
    assert post("/any", "") == 404
    assert post("/other", "") == 404
    after = scrape(shared_daemon)
    counted = after.changes_since(before, "regatta_rest_requests_total")
    name = "regatta_rest_requests_total"
    assert counted.pop((name, "200", "/v1/kv/put")) == 1.0
    assert counted.pop((name, "400", "/v1/kv/put")) == 1.0
    assert counted.pop((name, "404", "other")) == 2.0
    ((found, _, path), count) = counted.popitem()
    assert (found, path, count) == (name, "/v1/kv/range", 1.0)
    assert not counted
    assert after.changes_since(before, STARTED) == {}


def test_entries_a_sync_and_the_state_of_tables_follow_the_writes(daemon: Daemon) -> None:
    with daemon.channel() as channel:
        table = Table(KV(channel), b'table \xff"\\')
        table.put(b"key", b"value")
        time.sleep(2 * limits.checkpoint_interval_s)
        before = scrape(daemon)
        request = PutRequest(table=table.name, key=b"key", value=b"another")
        # All at once, so that several share a turn.
        for call in [KV(channel).put.future(request, timeout=20) for _ in range(50)]:
            call.result()
        time.sleep(2 * limits.checkpoint_interval_s)
        after = scrape(daemon)
    for environment in ("log", "data"):
        of = {"environment": environment}

        def grown(name: str, of: dict[str, str] = of) -> float:
            return after(f"regatta_store_{name}", **of) - before(f"regatta_store_{name}", **of)

        # In the log, a turn may have the commit index of the turn before.
        hard_states = grown("items_total") - 50.0
        assert 0.0 <= hard_states <= (grown("turns_total") if environment == "log" else 0.0)
        assert 1.0 <= grown("turns_total") <= 50.0
        assert grown("turn_seconds_count") == grown("turns_total")
        if environment == "log":
            assert grown("sync_seconds_count") >= grown("turns_total")
        else:
            assert 1.0 <= grown("sync_seconds_count") <= grown("turns_total")  # checkpoints
        assert grown("sync_seconds_sum") > 0
        assert after("regatta_store_queue_items", **of) == 0.0
        assert after("regatta_store_queue_bytes", **of) == 0.0
        assert after("regatta_store_stalled", **of) == 0.0
        assert after("regatta_store_page_bytes", **of) == 4096.0
        assert 0 < after("regatta_store_free_pages", **of) < after("regatta_store_pages", **of)
        assert after("regatta_store_map_bytes", **of) > 1 << 30
        assert after("regatta_store_depth", **of) >= 1.0
    assert after("regatta_store_readers", environment="data") == 1.0  # the native read path's
    assert after("regatta_store_entries", environment="data") == 1.0
    assert after("regatta_pending_writes") == after("regatta_pending_write_bytes") == 0.0
    shard = {"table": 'table \\xff"\\', "shard_id": "10001"}
    assert after("regatta_applied_index", **shard) == 52.0
    assert after("regatta_table_keys", **shard) == 1.0
    assert after("regatta_table_bytes", **shard) > 0.0
    assert after("regatta_tables") == 1.0
    for shardid in ("1000", "10001"):
        replica = {"shardid": shardid, "replicaid": "1"}
        assert after("dragonboat_raftnode_has_leader", **replica) == 1.0
        assert after("dragonboat_raftnode_term", **replica) == 1.0


def test_connections_and_streams_are_those_that_are_open(daemon: Daemon) -> None:
    assert scrape(daemon)("regatta_api_connections") == 0.0
    with daemon.channel() as channel:
        watch = channel.unary_stream("/grpc.health.v1.Health/Watch")(b"", timeout=20)
        next(watch)
        metrics = scrape(daemon)
        assert metrics("regatta_api_connections") == 1.0
        assert metrics("regatta_api_streams") == 1.0
        watch.cancel()
    assert metrics("process_resident_memory_bytes") > 1 << 20
    assert metrics("process_open_fds") > 3


def test_every_metric_is_explained(stopped_daemon: Daemon) -> None:
    stopped_daemon.flags = ("--kafka.topics=orders", "--kafka.brokers=127.0.0.1:1")
    stopped_daemon.start()
    text = fetch(stopped_daemon, "/metrics").text
    names = {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")}
    explained = {
        name
        for line in METRICS_PAGE.read_text().splitlines()
        if line.startswith("| `")
        for name in re.findall(r"`(\w+)`", line.split("|")[1])
    }
    assert names == explained


def test_only_so_many_tables_are_shown(daemon: Daemon) -> None:
    with daemon.channel() as channel:
        put = KV(channel).put
        requests = [PutRequest(table=b"t%d" % number, key=b"k") for number in range(1005)]
        for first in range(0, len(requests), 200):
            for call in [put.future(request, timeout=60) for request in requests[first:][:200]]:
                call.result()
    metrics = scrape(daemon)
    assert metrics("regatta_tables") == 1005.0
    assert len(metrics.labels("regatta_applied_index")) == 1000
