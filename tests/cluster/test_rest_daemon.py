"""The REST routes of a running daemon, over HTTP/1.1 by the standard library and HTTP/2 by curl."""

import base64
import http.client
import json
import shutil
import ssl
import subprocess
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import pytest

from regatta.limits import MIB
from tests.cluster.harness import KV
from tests.cluster.harness import Daemon
from tests.cluster.tables import Table
from tests.cluster.tables import op_put

CALL_TIMEOUT_S = 20

RANGE, PUT, DELETE = "/v1/kv/range", "/v1/kv/put", "/v1/kv/deleterange"
HASH, RESET = "/v1/maintenance/hash", "/v1/maintenance/reset"


class Answer(NamedTuple):
    """An HTTP answer; the names of its headers are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body, decoded."""
        return json.loads(self.body)


Send = Callable[[Daemon, str, str, Mapping[str, str], bytes], Answer]


def send_http1(
    daemon: Daemon, method: str, path: str, headers: Mapping[str, str], body: bytes
) -> Answer:
    """Send one request over HTTP/1.1."""
    trust = ssl.create_default_context(cafile=str(daemon.certificate.certificate_path))
    trust.set_alpn_protocols(["http/1.1"])
    connection = http.client.HTTPSConnection(
        "localhost", daemon.port, timeout=CALL_TIMEOUT_S, context=trust
    )
    try:
        connection.request(method, path, body, dict(headers))
        answer = connection.getresponse()
        found = {name.lower(): value for name, value in answer.getheaders()}
        return Answer(answer.status, found, answer.read())
    finally:
        connection.close()


def send_http2(
    daemon: Daemon, method: str, path: str, headers: Mapping[str, str], body: bytes
) -> Answer:
    """Send one request over HTTP/2."""
    command = ["curl", "--silent", "--show-error", "--http2", "--include", "--request", method]
    command += ["--max-time", str(CALL_TIMEOUT_S)]
    command += ["--cacert", str(daemon.certificate.certificate_path), "--data-binary", "@-"]
    for name, value in headers.items():
        command += ["--header", f"{name}: {value}"]
    command.append(f"https://localhost:{daemon.port}{path}")
    output = subprocess.run(
        command, input=body, check=True, capture_output=True, timeout=2 * CALL_TIMEOUT_S
    ).stdout
    head, _, answer = output.partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    version, number = status.split()[:2]
    assert version == "HTTP/2"
    found = dict(line.split(": ", 1) for line in lines)
    return Answer(int(number), found, answer)


class Client:
    """A daemon's REST routes by one version of HTTP."""

    def __init__(self, daemon: Daemon, send: Send) -> None:
        self.daemon = daemon
        self._send = send

    def send(
        self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> Answer:
        """Send any request."""
        return self._send(self.daemon, method, path, headers or {}, body)

    def post(self, path: str, **fields: Any) -> Answer:
        """Send *fields* as JSON, bytes as base64."""
        message = {
            name: encoded(value) if isinstance(value, bytes) else value
            for name, value in fields.items()
        }
        return self.send("POST", path, json.dumps(message).encode())


def encoded(data: bytes) -> str:
    """Return base64."""
    return base64.b64encode(data).decode()


@pytest.fixture(params=["HTTP/1.1", "HTTP/2"])
def client(request: pytest.FixtureRequest, shared_daemon: Daemon) -> Client:
    """The routes over each version of HTTP."""
    if request.param == "HTTP/1.1":
        return Client(shared_daemon, send_http1)
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    return Client(shared_daemon, send_http2)


def error_body(text: str, code: int) -> bytes:
    """Return what an error looks like, byte for byte."""
    return f'{{"error":"{text}","code":{code},"message":"{text}"}}'.encode()


def header_of(table: Table) -> str:
    """Return the header of a table's reads, byte for byte."""
    header = table.range(b"any").header
    return (
        f'{{"cluster_id":"{header.shard_id}","member_id":"1",'
        f'"raft_term":"{header.raft_term}","raft_leader_id":"1"}}'
    )


# The routes.


def test_put_answers_a_header_with_the_revision(client: Client, table: Table) -> None:
    first = table.put(b"key").header
    answer = client.post(PUT, table=table.name, key=b"key", value=b"value")
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.body.decode() == (
        f'{{"header":{{"cluster_id":"{first.shard_id}","member_id":"1",'
        f'"revision":"{first.revision + 1}",'
        f'"raft_term":"{first.raft_term}","raft_leader_id":"1"}}}}'
    )
    assert table.pairs() == {b"key": b"value"}


def test_range_answers_pairs_with_revisions(client: Client, table: Table) -> None:
    first = table.put(b"key_1", b"1").header.revision
    second = table.put(b"key_1", b"table_1value_1").header.revision
    answer = client.post(RANGE, table=table.name, key=b"key_1")
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.body.decode() == (
        f'{{"header":{header_of(table)},"kvs":[{{"key":"a2V5XzE=",'
        f'"create_revision":"{first}","mod_revision":"{second}",'
        '"value":"dGFibGVfMXZhbHVlXzE="}],"count":"1"}'
    )


def test_more_and_an_empty_value_show_as_json_has_them(client: Client, table: Table) -> None:
    revision = table.txn(success=[op_put(b"a"), op_put(b"b")]).header.revision
    answer = client.post(RANGE, table=table.name, key=b"a", range_end=b"\0", limit=1)
    assert answer.body.decode() == (
        f'{{"header":{header_of(table)},"kvs":[{{"key":"YQ==","create_revision":"{revision}",'
        f'"mod_revision":"{revision}"}}],"more":true,"count":"1"}}'
    )


def test_put_answers_the_previous_pair_when_asked(client: Client, table: Table) -> None:
    first = table.put(b"key", b"old").header.revision
    answer = client.post(PUT, table=table.name, key=b"key", value=b"new", prev_kv=True)
    assert answer.json["prev_kv"] == {
        "key": encoded(b"key"),
        "create_revision": str(first),
        "mod_revision": str(first),
        "value": encoded(b"old"),
    }


def test_a_delete_of_one_key_always_tells_the_count(client: Client, table: Table) -> None:
    first = table.put(b"key").header
    begin = f'{{"header":{{"cluster_id":"{first.shard_id}","member_id":"1","revision":"'
    end = f'","raft_term":"{first.raft_term}","raft_leader_id":"1"}}'
    answer = client.post(DELETE, table=table.name, key=b"key")
    assert answer.status == 200
    assert answer.body.decode() == f'{begin}{first.revision + 1}{end},"deleted":"1"}}'
    answer = client.post(DELETE, table=table.name, key=b"key")
    assert answer.status == 200
    assert answer.body.decode() == f"{begin}{first.revision + 2}{end}}}"


def test_a_delete_of_a_range_tells_the_count_when_asked(client: Client, table: Table) -> None:
    for options, deleted in [({}, None), ({"count": True}, "2"), ({"prev_kv": True}, "2")]:
        table.put_all(b"a", b"b")
        answer = client.post(DELETE, table=table.name, key=b"a", range_end=b"c", **options)
        assert answer.json.get("deleted") == deleted
        assert len(answer.json.get("prev_kvs", [])) == (2 if "prev_kv" in options else 0)
        assert table.pairs() == {}


def test_hash_and_reset(client: Client, table: Table) -> None:
    table.put(b"key", b"value")
    hashed = client.post(HASH)
    assert hashed.status == 200
    assert list(hashed.json) == ["header", "hash"]
    assert hashed.json["hash"].isdecimal()
    assert client.send("POST", HASH).body == hashed.body  # an empty body is an empty message
    reset = client.send("POST", RESET, b"{}")
    assert (reset.status, reset.body) == (200, b"{}")
    assert table.pairs() == {}
    assert client.post(HASH).json["hash"] == str(0xCBF29CE484222325)
    assert client.post(RESET, operation="CLUSTER", member_id="1").body == b"{}"


def test_the_four_filters_and_both_spellings_are_read(client: Client, table: Table) -> None:
    revision = table.put(b"key").header.revision
    for bound in ("min_mod_revision", "minModRevision", "min_create_revision"):
        for value in (revision + 1, str(revision + 1)):
            answer = client.post(RANGE, table=table.name, key=b"a", rangeEnd=b"z", **{bound: value})
            assert answer.status == 200
            assert answer.body.decode() == f'{{"header":{header_of(table)}}}'


@pytest.mark.parametrize("table_field", ["b25l", "b25l\\n"])
def test_base64_may_be_url_safe_or_unpadded(client: Client, calls: KV, table_field: str) -> None:
    one = Table(calls, b"one")
    one.put(b"\xff\xfe\xfd?>", b"value")
    for key in ("//79Pz4=", "__79Pz4=", "//79Pz4", "__79Pz4"):
        answer = client.send("POST", RANGE, f'{{"table":"{table_field}","key":"{key}"}}'.encode())
        assert answer.status == 200, key
        assert answer.json["kvs"][0]["value"] == encoded(b"value")


def test_content_type_and_query_do_not_matter(client: Client, table: Table) -> None:
    table.put(b"key", b"value")
    body = json.dumps({"table": encoded(table.name), "key": encoded(b"key"), "new": [1]}).encode()
    for content_type in ("application/json", "text/plain", "application/x-www-form-urlencoded"):
        answer = client.send("POST", f"{RANGE}?a=b", body, {"Content-Type": content_type})
        assert answer.json["count"] == "1"


# Errors.


def test_a_missing_key_is_not_found(client: Client, table: Table) -> None:
    table.put(b"key")
    answer = client.post(RANGE, table=table.name, key=b"missing")
    assert (answer.status, answer.body) == (404, error_body("key not found", 5))
    assert answer.headers["content-type"] == "application/json"
    counted = client.post(RANGE, table=table.name, key=b"missing", count_only=True)
    assert (counted.status, counted.body) == (404, error_body("key not found", 5))
    answer = client.post(RANGE, table=table.name, key=b"x", range_end=b"y")
    assert (answer.status, answer.json.keys()) == (200, {"header"})


def test_an_unknown_table_is_not_found(client: Client, table: Table) -> None:
    answer = client.post(RANGE, table=table.name, key=b"key")
    assert (answer.status, answer.body) == (404, error_body("table not found", 5))


@pytest.mark.parametrize(
    ("path", "fields", "status", "code", "text"),
    [
        (RANGE, {"key": b"k"}, 400, 3, "table must be set"),
        (RANGE, {"table": b"t"}, 400, 3, "key must be set"),
        (
            RANGE,
            {"table": b"t", "key": b"k", "limit": -1},
            400,
            3,
            "limit must be a positive number",
        ),
        (PUT, {"table": b"t"}, 400, 3, "key must be set"),
        (PUT, {"key": b"k"}, 400, 3, "table must be set"),
        (DELETE, {"table": b"t"}, 400, 3, "key must be set"),
        (
            PUT,
            {"table": b"t", "key": bytes(1025)},
            400,
            9,
            "key length exceeded max allowed value",
        ),
        (
            PUT,
            {"table": b"t", "key": b"k", "value": bytes(2 * MIB + 1)},
            400,
            9,
            "value length exceeded max allowed value",
        ),
        (
            PUT,
            {"table": b"a/b", "key": b"k"},
            400,
            3,
            "table must not contain '/' or control characters",
        ),
        (RESET, {"member_id": 9}, 404, 5, "member_id 9 is not in this cluster"),
    ],
)
def test_an_error_has_its_status_code_and_text(
    client: Client, path: str, fields: dict[str, Any], status: int, code: int, text: str
) -> None:
    answer = client.post(path, **fields)
    assert (answer.status, answer.body) == (status, error_body(text, code))
    assert answer.headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"[]",
        b"\xff",
        b'{"table":"*"}',
        b'{"table":1}',
        b'{"limit":"many"}',
        b'{"limit":9223372036854775808}',
        b"[" * 100_000,
        b'{"a":' * 100 + b"1" + b"}" * 100,
    ],
    ids=lambda body: repr(body[:24]),
)
def test_a_malformed_body_is_an_invalid_argument(client: Client, body: bytes) -> None:
    answer = client.send("POST", RANGE, body)
    assert answer.status == 400
    assert list(answer.json) == ["error", "code", "message"]
    assert answer.json["code"] == 3
    assert answer.json["error"] == answer.json["message"] != ""


def test_an_unknown_path_is_not_found(client: Client) -> None:
    for path in ("/", "/v1/kv", "/v1/kv/range/", "/v1/kv/txn", "/regatta.v1.KV/Range"):
        for method in ("GET", "POST"):
            answer = client.send(method, path, b"{}")
            assert (answer.status, answer.body) == (404, b"Not Found\n")
            assert answer.headers["content-type"] == "text/plain; charset=utf-8"


@pytest.mark.parametrize("path", [RANGE, PUT, DELETE, HASH, RESET])
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "OPTIONS"])
def test_another_method_is_not_allowed(client: Client, method: str, path: str) -> None:
    answer = client.send(method, path)
    assert (answer.status, answer.body) == (405, b"Method Not Allowed\n")
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"


def test_a_body_over_eight_mebibytes_is_too_large(shared_daemon: Daemon, client: Client) -> None:
    spaces = b" " * (8 * MIB)
    assert client.send("POST", RANGE, spaces).status == 400  # read, and found to be empty
    answer = client.send("POST", RANGE, spaces + b" ")
    assert answer.status == 413
    assert answer.body == b"Request Entity Too Large\n"
    assert client.post(HASH).status == 200


def test_too_large_previous_pairs_are_refused_and_nothing_is_deleted(
    client: Client, table: Table
) -> None:
    for key in (b"a", b"b", b"c"):
        table.put(key, bytes(2 * MIB))
    answer = client.post(DELETE, table=table.name, key=b"a", range_end=b"\0", prev_kv=True)
    text = "the previous pairs exceed 4 MiB; nothing was changed"
    assert (answer.status, answer.body) == (429, error_body(text, 8))
    assert table.range(b"a", b"\0", count_only=True).count == 3


def test_the_largest_value_goes_in_and_out(client: Client, table: Table) -> None:
    value = bytes(range(256)) * (2 * MIB // 256)
    assert client.post(PUT, table=table.name, key=b"key", value=value).status == 200
    answer = client.post(RANGE, table=table.name, key=b"key")
    assert answer.json["kvs"][0]["value"] == encoded(value)


def test_grpc_timeout_is_the_deadline(client: Client, table: Table) -> None:
    # A hash over this much takes several times the 10 ms that a deadline is exact to.
    for number in range(16):
        table.put(b"%d" % number, bytes(2 * MIB))
    assert client.send("POST", HASH, b"", {"Grpc-Timeout": "10S"}).status == 200
    for timeout in ("0m", "1n", "1m"):
        answer = client.send("POST", HASH, b"", {"Grpc-Timeout": timeout})
        assert answer.status == 504, timeout
        assert answer.body == error_body("context deadline exceeded", 4)


def test_no_error_was_a_fault_of_the_daemon(shared_daemon: Daemon) -> None:
    # The last test of the module: all of the above were answered on purpose.
    assert "Traceback" not in shared_daemon.stderr
