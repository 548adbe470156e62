"""Clients that know what must be stored: each has keys of its own and checks every answer."""

import base64
import json
from collections.abc import Awaitable, Callable
from random import Random
from typing import Any, Protocol

from regatta.pb.mvcc_pb2 import Compare
from regatta.pb.mvcc_pb2 import RequestOp
from regatta.pb.regatta_pb2 import DeleteRangeRequest
from regatta.pb.regatta_pb2 import PutRequest
from regatta.pb.regatta_pb2 import RangeRequest
from regatta.pb.regatta_pb2 import TxnRequest
from tests.cluster.harness import KV

TIMEOUT_S = 30.0
KEYS = 150  # of each keeper
VALUE_BYTES = (0, 10, 100, 100, 1000, 1000, 5000, 5000, 20_000)
LARGE_BYTES = (300_000, 2 << 20)


class WrongAnswer(AssertionError):
    """The daemon has answered something that is not so."""


def check(found: object, expected: object, what: str) -> None:
    """Raise WrongAnswer if the two differ."""
    if found != expected:
        raise WrongAnswer(f"{what}: {str(found)[:200]} instead of {str(expected)[:200]}")


class Api(Protocol):
    """The calls that every way in has."""

    async def put(self, table: bytes, key: bytes, value: bytes) -> None:
        """Store a pair."""

    async def get(self, table: bytes, key: bytes) -> bytes | None:
        """Return a value, or None."""

    async def pairs(self, table: bytes, key: bytes, range_end: bytes) -> dict[bytes, bytes]:
        """Return a range, of one page at most."""

    async def delete(self, table: bytes, key: bytes, range_end: bytes) -> None:
        """Delete a range."""


class GrpcApi:
    """gRPC on a channel of grpcio."""

    def __init__(self, channel: Any) -> None:
        self.kv = KV(channel)

    async def put(self, table: bytes, key: bytes, value: bytes) -> None:
        """Store a pair."""
        await self.kv.put(PutRequest(table=table, key=key, value=value), timeout=TIMEOUT_S)

    async def get(self, table: bytes, key: bytes) -> bytes | None:
        """Return a value, or None."""
        request = RangeRequest(table=table, key=key, linearizable=True)
        answer = await self.kv.range(request, timeout=TIMEOUT_S)
        return answer.kvs[0].value if answer.kvs else None

    async def pairs(self, table: bytes, key: bytes, range_end: bytes) -> dict[bytes, bytes]:
        """Return a range, by IterateRange."""
        request = RangeRequest(table=table, key=key, range_end=range_end)
        pages = self.kv.iterate_range(request, timeout=TIMEOUT_S)
        return {pair.key: pair.value async for page in pages for pair in page.kvs}

    async def delete(self, table: bytes, key: bytes, range_end: bytes) -> None:
        """Delete a range."""
        request = DeleteRangeRequest(table=table, key=key, range_end=range_end, count=True)
        await self.kv.delete_range(request, timeout=TIMEOUT_S)

    async def swap(self, table: bytes, key: bytes, old: bytes, new: bytes) -> tuple[bool, bytes]:
        """Store *new* if the value is *old*; return whether it was, and the value afterwards."""
        compare = Compare(key=key, value=old, result="EQUAL")
        put = RequestOp(request_put=RequestOp.Put(key=key, value=new))
        read = RequestOp(request_range=RequestOp.Range(key=key))
        request = TxnRequest(table=table, compare=[compare], success=[put, read], failure=[read])
        answer = await self.kv.txn(request, timeout=TIMEOUT_S)
        kvs = answer.responses[-1].response_range.kvs
        return answer.succeeded, kvs[0].value if kvs else b""


# Path and body to HTTP status and body.
Post = Callable[[str, bytes], Awaitable[tuple[int, bytes]]]


class RestApi:
    """REST over either version of HTTP."""

    def __init__(self, post: Post) -> None:
        self._post = post

    async def _call(self, path: str, **fields: bytes) -> dict[str, Any] | None:
        """Return the answer, or None for a missing key or table."""
        encoded = {name: base64.b64encode(value).decode() for name, value in fields.items()}
        status, body = await self._post(path, json.dumps(encoded).encode())
        if status == 404:
            return None
        check(status, 200, f"status of {path} ({body[:200]!r})")
        answer: dict[str, Any] = json.loads(body)
        return answer

    async def put(self, table: bytes, key: bytes, value: bytes) -> None:
        """Store a pair."""
        await self._call("/v1/kv/put", table=table, key=key, value=value)

    async def get(self, table: bytes, key: bytes) -> bytes | None:
        """Return a value, or None."""
        answer = await self._call("/v1/kv/range", table=table, key=key)
        return None if answer is None else base64.b64decode(answer["kvs"][0].get("value", ""))

    async def pairs(self, table: bytes, key: bytes, range_end: bytes) -> dict[bytes, bytes]:
        """Return a range."""
        answer = await self._call("/v1/kv/range", table=table, key=key, range_end=range_end) or {}
        return {
            base64.b64decode(pair["key"]): base64.b64decode(pair.get("value", ""))
            for pair in answer.get("kvs", [])
        }

    async def delete(self, table: bytes, key: bytes, range_end: bytes) -> None:
        """Delete a range."""
        await self._call("/v1/kv/deleterange", table=table, key=key, range_end=range_end)


class Keeper:
    """Writes and reads the keys that begin with its name, and remembers what they hold."""

    def __init__(self, table: bytes, name: bytes, chance: Random, *, large: bool = False) -> None:
        self.table = table
        self.name = name
        self.large = large
        self.pairs: dict[bytes, bytes] = {}
        self._chance = chance

    def key(self) -> bytes:
        """Return one of the keys."""
        return b"%s/%03d" % (self.name, self._chance.randrange(KEYS))

    def value(self) -> bytes:
        """Return a new value; some are large."""
        sizes = LARGE_BYTES if self.large and self._chance.random() < 0.01 else VALUE_BYTES
        return self._chance.randbytes(self._chance.choice(sizes))

    async def step(self, api: Api) -> None:
        """Do one thing and check its answer."""
        turn, key = self._chance.random(), self.key()
        if turn < 0.5:
            value = self.value()
            await api.put(self.table, key, value)
            self.pairs[key] = value
        elif turn < 0.8:
            check(await api.get(self.table, key), self.pairs.get(key), f"the value of {key!r}")
        elif turn < 0.9 and isinstance(api, GrpcApi):
            await self._swap(api, key)
        elif turn < 0.98:
            end = key + b"\0"
            await api.delete(self.table, key, end)
            self.pairs.pop(key, None)
        else:
            await self.verify(api)

    async def _swap(self, api: GrpcApi, key: bytes) -> None:
        before, new = self.pairs.get(key), self._chance.randbytes(8)
        old = before if before is not None and self._chance.random() < 0.5 else b"not this"
        swapped, now = await api.swap(self.table, key, old, new)
        check(swapped, before == old, f"the transaction on {key!r}")
        if swapped:
            self.pairs[key] = new
        check(now, self.pairs.get(key, b""), f"the value of {key!r} in its transaction")

    async def verify(self, api: Api) -> None:
        """Compare all keys with what is stored."""
        found = await api.pairs(self.table, self.name + b"/", self.name + b"0")
        check(sorted(found), sorted(self.pairs), f"the keys of {self.name!r}")
        check(found == self.pairs, True, f"the values of {self.name!r}")
