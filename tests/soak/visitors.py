"""Clients of every kind, good and bad. Each visits a running daemon until a moment in time."""

import asyncio
import contextlib
import ssl
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from random import Random

import aiohttp
from grpc_health.v1 import health_pb2
from grpc_health.v1 import health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2
from grpc_reflection.v1alpha import reflection_pb2_grpc

from regatta.pb.regatta_pb2 import PutRequest
from regatta.pb.regatta_pb2 import RangeRequest
from regatta.pb.regatta_pb2 import RangeResponse
from tests.cluster.harness import Daemon
from tests.fuzz.frames import READING_SEEDS
from tests.fuzz.frames import changed_conversation
from tests.soak.h2client import Client
from tests.soak.keepers import Api
from tests.soak.keepers import GrpcApi
from tests.soak.keepers import Keeper
from tests.soak.keepers import RestApi
from tests.soak.keepers import check

SHARED, QUIET, FIXED, LEFT = b"shared", b"quiet", b"fixed", b"left"
FIXED_KEYS, FIXED_VALUE_BYTES = 400, 32_768  # more than a deaf client's windows and our buffers
TABLES = (SHARED, QUIET, FIXED, LEFT)
BALLAST, BALLAST_BYTES = 34, 2 << 20  # in each table: more than a log keeps
BATCH = 32
INVALID_ARGUMENT = 3

KV = "/regatta.v1.KV/"
EVERY_FIXED_PAIR = RangeRequest(table=FIXED, key=b"\0", range_end=b"\0").SerializeToString()
# A field of a wrong type, a length beyond the end, a varint that does not end.
MALFORMED_MESSAGES = (b"\x0f\x01", b"\x0a\x7fx", b"\x20" + b"\xff" * 11)
MALFORMED_JSON = (b"{", b"[]", b'{"table":1}', b'{"key":"*"}', b"\xff", b'{"limit":"1e30"}')
RUDE_BYTES = (
    *(b"", b"\0" * 50, b"PRI * HTTP/2.0\r\n\r\nSM", b"GET / HTTP/1.1\r\nhost: x\r\n"),
    *(b"POST /v1/kv/put HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\nabc", b"\x16\x03\x01"),
)


def fixed_value(number: int) -> bytes:
    """Return what the table FIXED holds under a key."""
    return Random(number).randbytes(FIXED_VALUE_BYTES)


def fixed_key(number: int) -> bytes:
    """Return a key of the table FIXED."""
    return b"fixed/%04d" % number


class Visits:
    """All that visitors need: the daemon, ways in that stay open, keepers, and what was done."""

    def __init__(self, daemon: Daemon, seed: int) -> None:
        self.daemon = daemon
        self.chance = Random(seed)
        self.done: Counter[str] = Counter()
        self.channel = daemon.aio_channel()
        self.grpc = GrpcApi(self.channel)
        self.tls = {name: self._tls(name) for name in ("h2", "http/1.1")}
        self.client: Client
        keeper = self._keeper
        self.grpc_keepers = [keeper(SHARED, n, large=n == 0) for n in range(10)]
        self.http1_keepers = [keeper(SHARED, n) for n in (10, 11)] + [keeper(QUIET, 12)]
        self.http2_keepers = [keeper(SHARED, n) for n in (13, 14)] + [keeper(QUIET, 15)]
        self.fixed_values = [fixed_value(number) for number in range(FIXED_KEYS)]

    def _tls(self, protocol: str) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=str(self.daemon.certificate.certificate_path))
        context.set_alpn_protocols([protocol])
        return context

    def _keeper(self, table: bytes, number: int, *, large: bool = False) -> Keeper:
        return Keeper(table, b"keeper%02d" % number, Random(self.chance.random()), large=large)

    @property
    def keepers(self) -> list[Keeper]:
        """Every keeper."""
        return [*self.grpc_keepers, *self.http1_keepers, *self.http2_keepers]

    async def begin(self) -> None:
        """Fill what visitors find there, and open the connection that stays."""
        self.client = await Client.connect(self.daemon.port, self.tls["h2"])
        await self.make_ballast()
        await self.fill()

    async def make_ballast(self) -> None:
        """Grow both files to where a node's files are after a while, with room inside them.

        Values of 2 MiB need pages in a row, so that a young file grows a little for long; and the
        logs of quiet tables would take long to be as large as logs become.
        """
        for table in TABLES:
            for number in range(BALLAST):
                await self.grpc.put(table, b"%d" % number, bytes(BALLAST_BYTES))
            await self.grpc.delete(table, b"\0", b"\0")

    async def fill(self) -> None:
        """Store the fixed pairs and one of each other table."""
        for number, value in enumerate(self.fixed_values):
            await self.grpc.put(FIXED, fixed_key(number), value)
        for table in (SHARED, QUIET, LEFT):
            await self.grpc.put(table, b"there", b"")

    async def end(self) -> None:
        """Close what stayed open."""
        await self.client.close()
        await self.channel.close()

    async def connect(self, *, deaf: bool = False) -> Client:
        """Open a connection for one visit."""
        return await Client.connect(self.daemon.port, self.tls["h2"], deaf=deaf)

    async def keep(self, name: str, keeper: Keeper, api: Api, deadline_s: float) -> None:
        """Let a keeper work."""
        while time.monotonic() < deadline_s:
            await keeper.step(api)
            self.done[name] += 1

    async def keep_by_grpc(self, deadline_s: float) -> None:
        """Keepers over one channel that stays."""
        async with asyncio.TaskGroup() as group:
            for keeper in self.grpc_keepers:
                group.create_task(self.keep("gRPC", keeper, self.grpc, deadline_s))

    async def keep_by_http1(self, deadline_s: float) -> None:
        """Keepers over new HTTP/1.1 connections."""
        url = f"https://localhost:{self.daemon.port}"
        async with aiohttp.ClientSession() as session, asyncio.TaskGroup() as group:

            async def post(path: str, body: bytes) -> tuple[int, bytes]:
                async with session.post(url + path, data=body, ssl=self.tls["http/1.1"]) as answer:
                    return answer.status, await answer.read()

            for keeper in self.http1_keepers:
                group.create_task(self.keep("REST/1.1", keeper, RestApi(post), deadline_s))

    async def keep_by_http2(self, deadline_s: float) -> None:
        """Keepers over REST on the HTTP/2 connection that stays."""

        async def post(path: str, body: bytes) -> tuple[int, bytes]:
            answer = self.client.request(path, body, ())
            await self.client.finish(answer)
            return int(answer.headers[b":status"]), bytes(answer.body)

        async with asyncio.TaskGroup() as group:
            for keeper in self.http2_keepers:
                group.create_task(self.keep("REST/2", keeper, RestApi(post), deadline_s))

    async def read_natively(self, deadline_s: float) -> None:
        """Batches of single-key reads, which are answered without Python."""
        while time.monotonic() < deadline_s:
            numbers = [self.chance.randrange(FIXED_KEYS) for _ in range(BATCH)]
            requests = [RangeRequest(table=FIXED, key=fixed_key(number)) for number in numbers]
            answers = [self.client.grpc(KV + "Range", r.SerializeToString()) for r in requests]
            await self.client.finish(*answers)
            for number, answer in zip(numbers, answers, strict=True):
                response = RangeResponse.FromString(answer.messages[0])
                check(response.kvs[0].value, self.fixed_values[number], "a native read")
                check(answer.status, 0, "a native read's status")
            self.done["native reads"] += BATCH
            await asyncio.sleep(0.02)

    async def stall(self, deadline_s: float) -> None:
        """Ask for everything, read nothing, then leave in one of three ways."""
        while time.monotonic() < deadline_s:
            client = await self.connect(deaf=True)
            answers = [client.grpc(KV + "IterateRange", EVERY_FIXED_PAIR) for _ in range(4)]
            client.flush()
            await asyncio.sleep(self.chance.uniform(0.05, 1.0))
            if self.chance.random() < 0.3:
                client.cancel(answers[0])
            if self.chance.random() < 0.3:
                await client.close()
            client.vanish()
            self.done["stalled scans"] += len(answers)

    async def scan(self, deadline_s: float) -> None:
        """Read everything, and sometimes stop after the first page."""
        request = RangeRequest.FromString(EVERY_FIXED_PAIR)
        while time.monotonic() < deadline_s:
            pages, count = self.grpc.kv.iterate_range(request, timeout=60), 0
            async for page in pages:
                count += len(page.kvs)
                if self.chance.random() < 0.2:
                    pages.cancel()
                    break
            else:
                check(count, FIXED_KEYS, "pairs in a scan")
            self.done["scans"] += 1
            await asyncio.sleep(0.2)

    async def cancel(self, deadline_s: float) -> None:
        """Begin calls and cancel them; nobody knows whether the writes took effect."""
        while time.monotonic() < deadline_s:
            client = await self.connect()
            for _ in range(20):
                put = PutRequest(table=LEFT, key=b"%d" % self.chance.randrange(50), value=bytes(99))
                method, message = self.chance.choice(
                    [("Put", put.SerializeToString()), ("Range", EVERY_FIXED_PAIR)]
                )
                answer = client.grpc(KV + method, message, end=self.chance.random() < 0.8)
                client.flush()
                await asyncio.sleep(self.chance.choice((0, 0, 0.002)))
                client.cancel(answer)
            await client.close()
            self.done["cancelled calls"] += 20

    async def come_and_go(self, deadline_s: float) -> None:
        """Connections that say little or nothing that makes sense, with TLS and without."""
        while time.monotonic() < deadline_s:
            tls = self.chance.choice([*self.tls.values(), None])
            with contextlib.suppress(OSError):  # we may be cut off, and should be
                _, writer = await asyncio.open_connection(
                    *("127.0.0.1", self.daemon.port),
                    ssl=tls,
                    server_hostname="localhost" if tls else None,
                )
                writer.write(self.chance.choice(RUDE_BYTES))
                await asyncio.sleep(self.chance.choice((0, 0.01)))
                if self.chance.random() < 0.5:
                    writer.close()
                else:
                    writer.transport.abort()
                await writer.wait_closed()
            self.done["connections"] += 1
            await asyncio.sleep(0.02)

    async def send_nonsense(self, deadline_s: float) -> None:
        """Whole HTTP/2 conversations with faults in them."""
        while time.monotonic() < deadline_s:
            with contextlib.suppress(OSError):
                reader, writer = await asyncio.open_connection(
                    *("127.0.0.1", self.daemon.port),
                    ssl=self.tls["h2"],
                    server_hostname="localhost",
                )
                writer.write(changed_conversation(self.chance, READING_SEEDS))
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(reader.read(), 0.05)
                writer.transport.abort()
                await writer.wait_closed()
            self.done["nonsense"] += 1

    async def err(self, deadline_s: float) -> None:
        """Messages and bodies that can't be read; the connection stays in use."""
        while time.monotonic() < deadline_s:
            calls = [self.client.grpc(KV + "Range", message) for message in MALFORMED_MESSAGES]
            posts = [self.client.request("/v1/kv/range", body, ()) for body in MALFORMED_JSON]
            await self.client.finish(*calls, *posts)
            for answer in calls:
                check(answer.status, INVALID_ARGUMENT, "the status of a malformed message")
            for answer in posts:
                check(answer.headers[b":status"], b"400", "the status of malformed JSON")
            self.done["malformed requests"] += len(calls) + len(posts)
            await asyncio.sleep(0.05)

    async def look_around(self, deadline_s: float) -> None:
        """Health checks, a health watch, reflection."""
        health = health_pb2_grpc.HealthStub(self.channel)
        reflection = reflection_pb2_grpc.ServerReflectionStub(self.channel)
        request = reflection_pb2.ServerReflectionRequest(list_services="")
        while time.monotonic() < deadline_s:
            answer = await health.Check(health_pb2.HealthCheckRequest(), timeout=10)
            check(answer.status, health_pb2.HealthCheckResponse.SERVING, "health")
            watch = health.Watch(health_pb2.HealthCheckRequest())
            check((await watch.read()).status, answer.status, "watched health")
            watch.cancel()
            listing = reflection.ServerReflectionInfo(iter([request]), timeout=10)
            found = await listing.read()
            check(len(found.list_services_response.service) >= 4, True, "reflected services")
            listing.cancel()
            self.done["health and reflection"] += 3
            await asyncio.sleep(0.05)

    @property
    def all(self) -> list[Callable[[float], Awaitable[None]]]:
        """Every visitor; each takes the moment to stop at, in seconds of time.monotonic()."""
        return [
            *(self.keep_by_grpc, self.keep_by_http1, self.keep_by_http2, self.read_natively),
            *(self.stall, self.stall, self.scan, self.cancel, self.come_and_go),
            *(self.send_nonsense, self.err, self.look_around),
        ]

    async def round(self, seconds: float) -> None:
        """Let all visitors come at once and leave after some seconds."""
        deadline_s = time.monotonic() + seconds
        async with asyncio.timeout(seconds + 120), asyncio.TaskGroup() as group:
            for visitor in self.all:
                group.create_task(visitor(deadline_s))  # type: ignore[arg-type]

    async def verify(self) -> None:
        """Compare all that the keepers know with what is stored."""
        for keeper in self.keepers:
            await keeper.verify(self.grpc)

    async def reset(self) -> None:
        """Empty every table, see that it is so, and begin anew."""
        answer = self.client.request("/v1/maintenance/reset", b'{"operation":"CLUSTER"}', ())
        await self.client.finish(answer)
        check(bytes(answer.body), b"{}", "the answer to a reset")
        for table in TABLES:
            check(await self.grpc.pairs(table, b"\0", b"\0"), {}, f"{table!r} after a reset")
        for keeper in self.keepers:
            keeper.pairs.clear()
        self.done["resets"] += 1
        await self.fill()
