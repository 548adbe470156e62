"""The service regatta.v1.KV: checks, then reads from a snapshot or proposes a write."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import ClassVar

from regatta import limits
from regatta.api import answer_sizes
from regatta.api.context import Context
from regatta.api.service import Policy
from regatta.engine import Applied
from regatta.engine import Engine
from regatta.engine import Group
from regatta.engine import RangeScan
from regatta.errors import FailedPrecondition
from regatta.errors import InvalidArgument
from regatta.errors import NotFound
from regatta.errors import error_of
from regatta.pb.mvcc_pb2 import Command
from regatta.pb.mvcc_pb2 import CommandResult
from regatta.pb.mvcc_pb2 import Compare
from regatta.pb.mvcc_pb2 import KeyValue
from regatta.pb.mvcc_pb2 import RequestOp
from regatta.pb.mvcc_pb2 import Txn
from regatta.pb.regatta_pb2 import DESCRIPTOR
from regatta.pb.regatta_pb2 import DeleteRangeRequest
from regatta.pb.regatta_pb2 import DeleteRangeResponse
from regatta.pb.regatta_pb2 import PutRequest
from regatta.pb.regatta_pb2 import PutResponse
from regatta.pb.regatta_pb2 import RangeRequest
from regatta.pb.regatta_pb2 import RangeResponse
from regatta.pb.regatta_pb2 import ResponseHeader
from regatta.pb.regatta_pb2 import TxnRequest
from regatta.pb.regatta_pb2 import TxnResponse

revision_filters = (
    "min_mod_revision",
    "max_mod_revision",
    "min_create_revision",
    "max_create_revision",
)


class KV:
    """Handlers of regatta.v1.KV."""

    descriptor = DESCRIPTOR.services_by_name["KV"]
    policies: ClassVar[Mapping[str, Policy]] = {
        "Range": Policy(limits.read_timeout_s, answer_sizes.of_range),
        "IterateRange": Policy(
            limits.read_timeout_s,
            answer_sizes.of_range,
            idle_s_max=limits.scan_idle_s_max,
            total_s_max=limits.scan_total_s_max,
        ),
        "Put": Policy(limits.write_timeout_s, answer_sizes.of_put),
        "DeleteRange": Policy(limits.write_timeout_s, answer_sizes.of_delete_range),
        "Txn": Policy(limits.write_timeout_s, answer_sizes.of_txn),
    }

    def __init__(self, engine: Engine, read_only: frozenset[bytes] = frozenset()) -> None:
        """*read_only* names the tables that only Kafka may write to."""
        self._engine = engine
        self._read_only = read_only

    # Reads.

    async def range(self, request: RangeRequest, context: Context) -> bytes:
        """Answer one page of pairs, the first."""
        group, scan = self._scan(request)
        return await self._page(scan, group, request)

    async def iterate_range(
        self, request: RangeRequest, context: Context
    ) -> AsyncGenerator[bytes, None]:
        """Answer every page of pairs, all from one snapshot."""
        group, scan = self._scan(request)
        while True:
            yield await self._page(scan, group, request, last_has_more=False)
            if scan.exhausted:
                return

    def _scan(self, request: RangeRequest) -> tuple[int, RangeScan]:
        check_range(request)
        check_names(request)
        snapshot = self._engine.snapshot()
        table = snapshot.find(request.table)
        if table is None:
            raise NotFound("table not found")
        check_key_length(request.key, request.range_end)
        return table.group, snapshot.scan(table.table_id, request)

    async def _page(
        self, scan: RangeScan, group: int, request: RangeRequest, *, last_has_more: bool = True
    ) -> bytes:
        if not scan.step():
            await self._engine.in_thread(scan.snapshot, scan.finish_page)
        pairs, count, more = scan.take_page()
        if scan.exhausted and not last_has_more:
            more = False
        head = RangeResponse(header=self._header(group)).SerializeToString()
        return head + pairs + RangeResponse(more=more, count=count).SerializeToString()

    # Writes.

    async def put(self, request: PutRequest, context: Context) -> PutResponse:
        """Store one pair."""
        check_names(request)
        self._check_writable(request.table)
        check_pair_length(request.key, request.value)
        command = Command(
            table=request.table,
            type=Command.PUT,
            kv=KeyValue(key=request.key, value=request.value),
            prev_kvs=request.prev_kv,
        )
        group, applied = await self._write(request.table, command, context)
        response = PutResponse(header=self._header(group.id, applied.index))
        if request.prev_kv:
            result = CommandResult.FromString(applied.result).responses[0].response_put
            if result.HasField("prev_kv"):
                response.prev_kv.CopyFrom(result.prev_kv)
        return response

    async def delete_range(
        self, request: DeleteRangeRequest, context: Context
    ) -> DeleteRangeResponse:
        """Delete one pair or a range of them."""
        check_names(request)
        self._check_writable(request.table)
        check_key_length(request.key)
        command = Command(
            table=request.table,
            type=Command.DELETE,
            kv=KeyValue(key=request.key),
            range_end=request.range_end,
            prev_kvs=request.prev_kv,
            count=request.count,
        )
        group, applied = await self._write(request.table, command, context)
        response = DeleteRangeResponse(header=self._header(group.id, applied.index))
        if request.prev_kv or request.count:
            result = CommandResult.FromString(applied.result).responses[0].response_delete_range
            response.deleted = result.deleted
            response.prev_kvs.extend(result.prev_kvs)
        return response

    async def txn(self, request: TxnRequest, context: Context) -> TxnResponse:
        """Run comparisons, and then one of two lists of operations, as one step."""
        if not request.table:
            raise InvalidArgument("table must be set")
        reads_only = all(op.HasField("request_range") for op in operations_of(request))
        if not reads_only:
            self._check_writable(request.table)
        check_txn(request)
        txn = Txn(compare=request.compare, success=request.success, failure=request.failure)
        if reads_only:
            return await self._read_only_txn(request.table, txn)
        command = Command(table=request.table, type=Command.TXN, txn=txn)
        group, applied = await self._write(request.table, command, context)
        return TxnResponse(
            header=self._header(group.id, applied.index),
            succeeded=not applied.failure_branch,
            responses=CommandResult.FromString(applied.result).responses,
        )

    async def _read_only_txn(self, name: bytes, txn: Txn) -> TxnResponse:
        snapshot = self._engine.snapshot()
        table = snapshot.find(name)
        if table is None:
            raise NotFound("table not found")
        encoded = txn.SerializeToString()
        code, failure_branch, payload = await self._engine.in_thread(
            snapshot, lambda: snapshot.transact(table.table_id, encoded)
        )
        if code:
            raise error_of(code, payload.decode())
        return TxnResponse(
            header=self._header(table.group),
            succeeded=not failure_branch,
            responses=CommandResult.FromString(payload).responses,
        )

    def _check_writable(self, table: bytes) -> None:
        if table in self._read_only:
            raise InvalidArgument("table is read-only")

    async def _write(
        self, table: bytes, command: Command, context: Context
    ) -> tuple[Group, Applied]:
        group = await self._engine.group_for_write(table)
        waiter = self._engine.propose(group, command)
        context.proposed = True
        return group, await waiter

    def _header(self, group: int, revision: int = 0) -> ResponseHeader:
        term, leader = self._engine.leader(group)
        return ResponseHeader(
            shard_id=group,
            replica_id=self._engine.node,
            revision=revision,
            raft_term=term,
            raft_leader_id=leader,
        )


def check_range(request: RangeRequest | RequestOp.Range) -> None:
    """Raise InvalidArgument for options that make no sense whatever the table."""
    if request.limit < 0:
        raise InvalidArgument("limit must be a positive number")
    if request.keys_only and request.count_only:
        raise InvalidArgument("keys_only and count_only must not be set at the same time")
    if isinstance(request, RangeRequest):
        for field in revision_filters:
            if getattr(request, field) < 0:
                raise InvalidArgument(f"{field} must not be negative")


def check_names(request: RangeRequest | PutRequest | DeleteRangeRequest) -> None:
    """Raise InvalidArgument unless table and key are set."""
    if not request.table:
        raise InvalidArgument("table must be set")
    if not request.key:
        raise InvalidArgument("key must be set")


def check_key_length(*keys: bytes) -> None:
    """Raise FailedPrecondition for a key that is too long."""
    if any(len(key) > limits.key_bytes_max for key in keys):
        raise FailedPrecondition("key length exceeded max allowed value")


def check_pair_length(key: bytes, value: bytes) -> None:
    """Raise FailedPrecondition for a key or a value that is too long."""
    check_key_length(key)
    if len(value) > limits.value_bytes_max:
        raise FailedPrecondition("value length exceeded max allowed value")


def operations_of(request: TxnRequest) -> Sequence[RequestOp]:
    """Return the operations of both branches."""
    return [*request.success, *request.failure]


def check_txn(request: TxnRequest) -> None:
    """Hold every part of a transaction to the rules of the single calls."""
    for compare in request.compare:
        check_key_is_set(compare.key)
        check_key_length(compare.key, compare.range_end)
        if compare.result not in Compare.CompareResult.values():
            raise InvalidArgument(f"compare.result {compare.result} is not known")
        if compare.target != Compare.VALUE:
            raise InvalidArgument(f"compare.target {compare.target} is not known")
    for operation in operations_of(request):
        check_operation(operation)


def check_operation(operation: RequestOp) -> None:
    """Hold one operation to the rules of the call of the same name."""
    kind = operation.WhichOneof("request")
    if kind == "request_range":
        check_range(operation.request_range)
        check_key_is_set(operation.request_range.key)
        check_key_length(operation.request_range.key, operation.request_range.range_end)
    elif kind == "request_put":
        check_key_is_set(operation.request_put.key)
        check_pair_length(operation.request_put.key, operation.request_put.value)
    elif kind == "request_delete_range":
        check_key_is_set(operation.request_delete_range.key)
        check_key_length(operation.request_delete_range.key)


def check_key_is_set(key: bytes) -> None:
    """Raise InvalidArgument for an empty key."""
    if not key:
        raise InvalidArgument("key must be set")
