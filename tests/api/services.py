"""Services with handlers that tests can look into and steer."""

import asyncio
from typing import ClassVar

from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

from regatta import limits
from regatta.api.service import Policy
from regatta.errors import NotFound
from regatta.pb import mvcc_pb2
from regatta.pb import regatta_pb2


class Store:
    """A KV service over a dictionary, enough of one to see requests and answers pass."""

    descriptor = regatta_pb2.DESCRIPTOR.services_by_name["KV"]
    policies: ClassVar = {
        "Range": Policy(limits.read_timeout_s),
        "IterateRange": Policy(limits.read_timeout_s),
        "Put": Policy(limits.write_timeout_s),
        "DeleteRange": Policy(limits.write_timeout_s),
        "Txn": Policy(limits.write_timeout_s),
    }

    def __init__(self) -> None:
        self.tables: dict[bytes, dict[bytes, bytes]] = {}
        self.contexts = []

    def _table(self, request, context):
        self.contexts.append(context)
        if request.table not in self.tables:
            raise NotFound("table not found")
        return self.tables[request.table]

    async def range(self, request, context):
        table = self._table(request, context)
        keys = sorted(table) if request.range_end else [request.key]
        kvs = [mvcc_pb2.KeyValue(key=key, value=table[key]) for key in keys if key in table]
        count, kvs = len(kvs), [] if request.count_only else kvs
        return regatta_pb2.RangeResponse(header=HEADER, kvs=kvs, count=count)

    async def iterate_range(self, request, context):
        for key, value in self._table(request, context).items():
            pair = mvcc_pb2.KeyValue(key=key, value=value)
            yield regatta_pb2.RangeResponse(header=HEADER, kvs=[pair], count=1)

    async def put(self, request, context):
        self.contexts.append(context)
        self.tables.setdefault(request.table, {})[request.key] = request.value
        return regatta_pb2.PutResponse(header=HEADER).SerializeToString()

    async def delete_range(self, request, context):
        table = self._table(request, context)
        keys = list(table) if request.range_end else [request.key]
        deleted = sum(table.pop(key, None) is not None for key in keys)
        return regatta_pb2.DeleteRangeResponse(
            header=HEADER, deleted=deleted if request.count else 0
        )

    async def txn(self, request, context):
        context.proposed = bool(request.success)
        await asyncio.sleep(60)


class Upkeep:
    """A Maintenance service that fails when asked to."""

    descriptor = regatta_pb2.DESCRIPTOR.services_by_name["Maintenance"]
    policies: ClassVar = {
        "Hash": Policy(limits.read_timeout_s),
        "Reset": Policy(limits.write_timeout_s),
    }

    def __init__(self) -> None:
        self.failure: Exception | None = None

    async def hash(self, request, context):
        if self.failure is not None:
            raise self.failure
        return regatta_pb2.HashResponse(header=HEADER, hash=2**64 - 1)

    async def reset(self, request, context):
        await asyncio.sleep(0)
        return regatta_pb2.ResetResponse(header=HEADER)


HEADER = regatta_pb2.ResponseHeader(shard_id=10001, replica_id=1, raft_term=2, raft_leader_id=1)


def _kinds_file() -> FileDescriptorProto:
    file = FileDescriptorProto(name="tests/kinds.proto", package="tests", syntax="proto3")
    file.message_type.add(name="Data").field.add(name="data", number=1, type=12, label=1)
    service = file.service.add(name="Kinds")
    for name, requests, answers in (
        ("Unary", False, False),
        ("ServerStream", False, True),
        ("ClientStream", True, False),
        ("BothStream", True, True),
    ):
        service.method.add(
            name=name,
            input_type=".tests.Data",
            output_type=".tests.Data",
            client_streaming=requests,
            server_streaming=answers,
        )
    return file


POOL = DescriptorPool()
POOL.Add(_kinds_file())
Data = GetMessageClass(POOL.FindMessageTypeByName("tests.Data"))


class Kinds:
    """All four kinds of method, with handlers that a test replaces."""

    descriptor = POOL.FindServiceByName("tests.Kinds")

    def __init__(self, **policies: Policy) -> None:
        names = [method.name for method in self.descriptor.methods]
        self.policies = {name: policies.get(name, Policy(5)) for name in names}

    async def unary(self, request, context):
        return request

    async def server_stream(self, request, context):
        for number in range(request.data[0]):
            yield Data(data=bytes([number]))

    async def client_stream(self, requests, context):
        return Data(data=b"".join([request.data async for request in requests]))

    async def both_stream(self, requests, context):
        async for request in requests:
            yield request
        yield Data(data=b"end")
