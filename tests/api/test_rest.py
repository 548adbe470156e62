import asyncio
import base64
import json
import logging
import threading
from contextlib import asynccontextmanager

import pytest
from services import Store
from services import Upkeep

from regatta import limits
from regatta.api import json_codec
from regatta.api.deadlines import Wheel
from regatta.api.rest import Rest
from regatta.api.service import Policy
from regatta.api.service import methods_of
from regatta.errors import HTTP_STATUS
from regatta.errors import Code
from regatta.errors import RegattaError

HEADER = {"cluster_id": "10001", "member_id": "1", "raft_term": "2", "raft_leader_id": "1"}


class Node:
    """The REST side over services in memory."""

    def __init__(self) -> None:
        self.store, self.upkeep = Store(), Upkeep()
        self.rest = Rest(methods_of([self.store, self.upkeep]), Wheel())

    async def post(self, path: str, body: dict | bytes = b"", **headers: str):
        """Return status and parsed body."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        status, response_headers, answer = await self.rest.handle("POST", path, names, data)
        assert response_headers == [("Content-Type", "application/json")]
        return status, json.loads(answer)


@pytest.fixture
def node() -> Node:
    return Node()


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def failure(code: Code, text: str):
    return HTTP_STATUS[code], {"error": text, "code": int(code), "message": text}


PAIR = {"table": b64(b"table_1"), "key": b64(b"key_1")}


async def test_what_was_put_is_read(node):
    put = PAIR | {"value": b64(b"table_1value_1")}
    assert await node.post("/v1/kv/put", put) == (200, {"header": HEADER})
    assert await node.post("/v1/kv/range", PAIR) == (
        200,
        {
            "header": HEADER,
            "kvs": [{"key": "a2V5XzE=", "value": "dGFibGVfMXZhbHVlXzE="}],
            "count": "1",
        },
    )


async def test_a_missing_key_is_not_found(node):
    node.store.tables[b"table_1"] = {}
    assert await node.post("/v1/kv/range", PAIR) == failure(Code.NOT_FOUND, "key not found")
    counted = await node.post("/v1/kv/range", PAIR | {"count_only": True})
    assert counted == failure(Code.NOT_FOUND, "key not found")


async def test_an_empty_range_of_keys_is_found(node):
    node.store.tables[b"table_1"] = {}
    answer = await node.post("/v1/kv/range", PAIR | {"range_end": b64(b"\0")})
    assert answer == (200, {"header": HEADER})


async def test_a_present_key_that_is_only_counted_is_found(node):
    node.store.tables[b"table_1"] = {b"key_1": b""}
    answer = await node.post("/v1/kv/range", PAIR | {"countOnly": True})
    assert answer == (200, {"header": HEADER, "count": "1"})


async def test_an_unknown_table_is_not_found(node):
    assert await node.post("/v1/kv/range", PAIR) == failure(Code.NOT_FOUND, "table not found")


async def test_a_delete_of_one_key_tells_the_count_without_being_asked(node):
    node.store.tables[b"table_1"] = {b"key_1": b""}
    first, second = [await node.post("/v1/kv/deleterange", PAIR) for _ in range(2)]
    assert first == (200, {"header": HEADER, "deleted": "1"})
    assert second == (200, {"header": HEADER})


async def test_a_delete_of_a_range_tells_the_count_only_when_asked(node):
    node.store.tables[b"table_1"] = {b"key_1": b""}
    every = PAIR | {"range_end": b64(b"\0")}
    assert await node.post("/v1/kv/deleterange", every) == (200, {"header": HEADER})
    node.store.tables[b"table_1"] = {b"key_1": b"", b"key_2": b""}
    assert (await node.post("/v1/kv/deleterange", every | {"count": True}))[1]["deleted"] == "2"


async def test_hash_is_a_decimal_string_and_reset_answers_nothing(node):
    hashed = {"header": HEADER, "hash": "18446744073709551615"}
    assert await node.post("/v1/maintenance/hash") == (200, hashed)
    assert await node.post("/v1/maintenance/reset", {}) == (200, {})


@pytest.mark.parametrize("path", ["/", "/v1/kv", "/v1/kv/range/", "/v1/KV/range", "", "*", "?"])
@pytest.mark.parametrize("method", ["POST", "GET"])
async def test_an_unknown_path_is_not_found_in_text(node, method, path):
    headers = [("Content-Type", "text/plain; charset=utf-8")]
    assert await node.rest.handle(method, path, {}, b"") == (404, headers, b"Not Found\n")


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "OPTIONS", "post"])
async def test_another_method_is_not_allowed_in_text(node, method):
    status, headers, body = await node.rest.handle(method, "/v1/kv/range", {}, b"")
    assert (status, body) == (405, b"Method Not Allowed\n")
    assert ("Allow", "POST") in headers


async def test_an_answer_to_head_has_no_body(node):
    assert (await node.rest.handle("HEAD", "/v1/kv/range", {}, b""))[2] == b""


async def test_the_query_is_no_part_of_the_route(node):
    assert (await node.post("/v1/maintenance/hash?pretty=1"))[0] == 200


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b'{"table":"YWJj!"}', "table: illegal base64 data at input byte 4"),
        (b'{"limit":[]}', "limit: not an integer"),
        (b"[]", "the body is not an object"),
    ],
)
async def test_a_bad_body_is_an_invalid_argument_that_names_the_field(node, body, text):
    assert await node.post("/v1/kv/range", body) == failure(Code.INVALID_ARGUMENT, text)


@pytest.mark.parametrize("code", [code for code in Code if code != Code.OK])
async def test_every_code_has_its_status_and_shape(node, code):
    node.upkeep.failure = RegattaError("why it failed")
    node.upkeep.failure.code = code
    assert await node.post("/v1/maintenance/hash") == failure(code, "why it failed")


async def test_the_error_is_compact_and_in_order(node):
    status, _, body = await node.rest.handle("POST", "/v1/kv/range", {}, b"[]")
    text = b'"the body is not an object"'
    assert (status, body) == (400, b'{"error":%s,"code":3,"message":%s}' % (text, text))


async def test_a_fault_is_logged_once_and_not_told(node, caplog):
    node.upkeep.failure = RuntimeError("secret")
    answer = await node.post("/v1/maintenance/hash")
    assert answer == failure(Code.INTERNAL, "internal error")
    [record] = caplog.records
    assert (record.name, record.levelno) == ("server.api", logging.ERROR)
    assert "secret" in caplog.text


async def test_grpc_timeout_is_the_deadline(node, monkeypatch):
    async def forever(request, context):
        context.proposed = request.prev_kv
        await asyncio.sleep(60)

    monkeypatch.setattr(node.store, "put", forever)
    node.rest = Rest(methods_of([node.store, node.upkeep]), Wheel())
    answer = await node.post("/v1/kv/put", {}, Grpc_Timeout="30m")
    assert answer == failure(Code.DEADLINE_EXCEEDED, "context deadline exceeded")
    _, told = await node.post("/v1/kv/put", {"prev_kv": True}, grpc_timeout="30000u")
    assert told["error"] == "context deadline exceeded: the write may still take effect"


@pytest.mark.parametrize("text", ["", "5", "m", "-5m", "5s", "123456789m", "5m ", "٣m"])
async def test_a_malformed_timeout_is_an_invalid_argument(node, text):
    answer = await node.post("/v1/maintenance/hash", b"", Grpc_Timeout=text)
    assert answer == failure(Code.INVALID_ARGUMENT, f"invalid grpc-timeout: {text}")


async def test_metadata_is_passed_on_and_other_headers_are_not(node):
    await node.post(
        "/v1/kv/put",
        {},
        Grpc_Metadata_Client_Api_Version="1",
        Authorization="Bearer x",
        User_Agent="curl",
    )
    [context] = node.store.contexts
    assert context.metadata("client-api-version") == "1"
    assert context.metadata("authorization") == "Bearer x"
    assert context.metadata("user-agent") is None


async def test_a_value_of_two_mebibytes_goes_in_and_out(node):
    value = b64(bytes(range(256)) * (limits.value_bytes_max // 256))
    assert (await node.post("/v1/kv/put", PAIR | {"value": value}))[0] == 200
    _, answer = await node.post("/v1/kv/range", PAIR)
    assert answer["kvs"][0]["value"] == value


async def test_the_loop_goes_on_while_a_large_body_is_read(node, monkeypatch):
    loop_went_on = threading.Event()
    waits = []

    def decode(request, body):
        asyncio_loop.call_soon_threadsafe(loop_went_on.set)
        waits.append(loop_went_on.wait(10))
        decode_at_once(request, body)

    asyncio_loop, decode_at_once = asyncio.get_running_loop(), json_codec.decode
    monkeypatch.setattr(json_codec, "decode", decode)
    value = b64(bytes(limits.value_bytes_max))
    assert (await node.post("/v1/kv/put", PAIR | {"value": value}))[0] == 200
    assert waits == [True]


async def test_large_requests_and_answers_wait_for_room(node):
    asked = []

    @asynccontextmanager
    async def place(answer_bytes_max, request_bytes):
        asked.append((answer_bytes_max, request_bytes))
        yield

    node.store.policies = Store.policies | {"Range": Policy(5, lambda request: 1000)}
    node.store.tables[b"table_1"] = {b"key_1": b""}
    rest = Rest(methods_of([node.store, node.upkeep]), Wheel())
    small = json.dumps(PAIR).encode()
    large = small + b" " * limits.stretch_bytes_max
    for path, body in [("range", small), ("range", large), ("put", small)]:
        assert (await rest.handle("POST", f"/v1/kv/{path}", {}, body, place=place))[0] == 200
    assert asked == [(1000, len(small)), (len(large), len(large)), (1000, len(large))]
