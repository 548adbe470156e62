"""What common clients see of the services, over real sockets."""

import asyncio
import json
import shutil
from collections.abc import Callable
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2
from grpc_health.v1 import health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)
from peer import router_of
from services import Store
from services import Upkeep

from regatta.api.standard import with_standard_services
from regatta.http2 import Call
from regatta.net import listen
from regatta.pb import regatta_pb2

GRPCURL = shutil.which("grpcurl") or shutil.which("grpcurl", path=Path.home() / "go" / "bin")


class Node:
    """A port with the services behind it."""

    def __init__(self) -> None:
        self.store = Store()
        services, self.health = with_standard_services([self.store, Upkeep()], reflection=True)
        self.router = router_of(*services)

    async def open(self) -> None:
        """Listen on a free port, in plain text."""

        def connect(peer: str) -> Callable[[Call], None]:
            return self.router.connection(peer).dispatch

        self.listener = await listen("127.0.0.1", 0, None, None, connect, self.router.rest.handle)
        host, port = self.listener.addresses[0]
        self.address = f"{host}:{port}"

    async def close(self) -> None:
        """Stop, and see that nothing is left."""
        self.router.end_endless_calls()
        await self.listener.stop(1)
        await self.router.close()
        assert not self.router.exchanges


@asynccontextmanager
async def running():
    node = Node()
    await node.open()
    try:
        yield node
    finally:
        await node.close()


async def grpcurl(*arguments: str) -> str:
    process = await asyncio.create_subprocess_exec(
        GRPCURL, "-plaintext", *arguments, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate()
    assert process.returncode == 0
    return output.decode()


needs_grpcurl = pytest.mark.skipif(GRPCURL is None, reason="grpcurl is not installed")


@needs_grpcurl
async def test_grpcurl_lists_the_services():
    async with running() as node:
        assert (await grpcurl(node.address, "list")).split() == [
            "grpc.health.v1.Health",
            "grpc.reflection.v1.ServerReflection",
            "grpc.reflection.v1alpha.ServerReflection",
            "regatta.v1.KV",
            "regatta.v1.Maintenance",
        ]


@needs_grpcurl
@pytest.mark.parametrize(
    ("symbol", "line"),
    [
        ("regatta.v1.KV", "rpc IterateRange ( .regatta.v1.RangeRequest ) returns ( stream"),
        ("grpc.reflection.v1.ServerReflection", "rpc ServerReflectionInfo ( stream .grpc.ref"),
        ("grpc.reflection.v1alpha.ServerReflection", "rpc ServerReflectionInfo ( stream"),
        ("grpc.health.v1.Health", "rpc Watch ( .grpc.health.v1.HealthCheckRequest )"),
        ("mvcc.v1.KeyValue", "int64 create_revision = 2;"),
    ],
)
async def test_grpcurl_describes_what_is_served(symbol, line):
    async with running() as node:
        assert line in await grpcurl(node.address, "describe", symbol)


@needs_grpcurl
async def test_grpcurl_reads_what_it_put():
    async with running() as node:
        pair = {"table": "dGFibGVfMQ==", "key": "a2V5XzE="}
        put = json.dumps(pair | {"value": "dGFibGVfMXZhbHVlXzE="})
        await grpcurl("-d", put, node.address, "regatta.v1.KV/Put")
        for method in ("Range", "IterateRange"):
            answer = json.loads(
                await grpcurl("-d", json.dumps(pair), node.address, f"regatta.v1.KV/{method}")
            )
            assert answer["kvs"] == [{"key": pair["key"], "value": "dGFibGVfMXZhbHVlXzE="}]


async def test_grpcios_reflection_client_finds_the_services():
    async with running() as node:

        def find() -> list[str]:
            with grpc.insecure_channel(node.address) as channel:
                database = ProtoReflectionDescriptorDatabase(channel)
                file = database.FindFileContainingSymbol("regatta.v1.KV")
                assert file.name == "regatta/pb/regatta.proto"
                return list(database.get_services())

        assert "regatta.v1.KV" in await asyncio.to_thread(find)


async def test_grpcios_health_client_checks_and_watches():
    async with running() as node, grpc.aio.insecure_channel(node.address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        request = health_pb2.HealthCheckRequest(service="regatta.v1.KV")
        watch = stub.Watch(request)
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
        node.health.set_serving(True)
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
        assert (await stub.Check(request)).status == health_pb2.HealthCheckResponse.SERVING
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.Check(health_pb2.HealthCheckRequest(service="other"))
        assert caught.value.code() == grpc.StatusCode.NOT_FOUND
        node.router.end_endless_calls()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await watch.read()
        assert caught.value.code() == grpc.StatusCode.UNAVAILABLE


async def test_grpcio_meets_its_deadline_and_cancels():
    async with running() as node, grpc.aio.insecure_channel(node.address) as channel:
        transact = channel.unary_unary(
            "/regatta.v1.KV/Txn",
            request_serializer=regatta_pb2.TxnRequest.SerializeToString,
            response_deserializer=regatta_pb2.TxnResponse.FromString,
        )
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await transact(regatta_pb2.TxnRequest(), timeout=0.05)
        assert caught.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
        call = transact(regatta_pb2.TxnRequest())
        while not node.router.exchanges:
            await asyncio.sleep(0.01)
        call.cancel()
        while node.router.exchanges:
            await asyncio.sleep(0.01)


async def test_grpcio_sees_codes_and_texts():
    async with running() as node, grpc.aio.insecure_channel(node.address) as channel:

        async def failure(path: str, request: bytes) -> tuple[grpc.StatusCode, str]:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await channel.unary_unary(path)(request)
            return caught.value.code(), caught.value.details()

        table = regatta_pb2.RangeRequest(table="é".encode()).SerializeToString()
        unknown = (grpc.StatusCode.NOT_FOUND, "table not found")
        assert await failure("/regatta.v1.KV/Range", table) == unknown
        undecodable = "cannot decode regatta.v1.RangeRequest: the tag at byte 0: cut short"
        assert await failure("/regatta.v1.KV/Range", b"\xff") == (
            grpc.StatusCode.INVALID_ARGUMENT,
            undecodable,
        )
        assert await failure("/regatta.v2.KV/Range", b"") == (
            grpc.StatusCode.UNIMPLEMENTED,
            "unknown service regatta.v2.KV",
        )


needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")


@needs_curl
@pytest.mark.parametrize("version", ["--http1.1", "--http2-prior-knowledge"])
@pytest.mark.parametrize(
    ("arguments", "status", "answer"),
    [
        (["-d", "{}", "maintenance/reset"], 200, "{}"),
        (["kv/range"], 405, "Method Not Allowed\n"),
        (["-d", "", "kv/other"], 404, "Not Found\n"),
        (
            ["-d", '{"table":"dA==","key":"aw=="}', "kv/range"],
            404,
            '{"error":"table not found","code":5,"message":"table not found"}',
        ),
        (
            ["-d", '{"table":"YWJj!"}', "kv/range"],
            400,
            '{"error":"table: illegal base64 data at input byte 4","code":3,'
            '"message":"table: illegal base64 data at input byte 4"}',
        ),
    ],
)
async def test_curl_gets_the_same_over_both_versions(version, arguments, status, answer):
    async with running() as node:
        *options, path = arguments
        process = await asyncio.create_subprocess_exec(
            *("curl", "-s", version, "-w", "|%{http_code}", *options),
            f"http://{node.address}/v1/{path}",
            stdout=asyncio.subprocess.PIPE,
        )
        output, _ = await process.communicate()
        assert output.decode() == f"{answer}|{status}"
