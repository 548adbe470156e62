"""Sends the operations of a history, and checks what is answered."""

from regatta.pb.mvcc_pb2 import Compare
from regatta.pb.mvcc_pb2 import RequestOp
from regatta.pb.regatta_pb2 import DeleteRangeRequest
from regatta.pb.regatta_pb2 import PutRequest
from regatta.pb.regatta_pb2 import TxnRequest
from tests.cluster.harness import KV
from tests.cluster.history import DeleteRange
from tests.cluster.history import History
from tests.cluster.history import Operation
from tests.cluster.history import Put
from tests.cluster.history import Txn

CALL_TIMEOUT_S = 30.0


def step_request(step: Put | DeleteRange) -> RequestOp:
    """Return *step* as an operation of a transaction."""
    if isinstance(step, Put):
        return RequestOp(request_put=RequestOp.Put(key=step.key, value=step.value))
    delete = RequestOp.DeleteRange(key=step.start, range_end=step.end, count=True)
    return RequestOp(request_delete_range=delete)


def guard_of(txn: Txn) -> list[Compare]:
    """Return the comparison that holds while the client's picture of the data is right."""
    if txn.guard_value is None:
        return []
    equal, value = Compare.CompareResult.EQUAL, Compare.CompareTarget.VALUE
    return [Compare(result=equal, target=value, key=txn.guard, value=txn.guard_value)]


async def send(calls: KV, table: bytes, history: History, operation: Operation) -> int:
    """Send one operation, check what is answered, return the revision of the write."""
    if isinstance(operation, Put):
        request = PutRequest(table=table, key=operation.key, value=operation.value)
        answer = await calls.put(request, timeout=CALL_TIMEOUT_S)
    elif isinstance(operation, DeleteRange):
        answer = await calls.delete_range(
            DeleteRangeRequest(
                table=table, key=operation.start, range_end=operation.end, count=True
            ),
            timeout=CALL_TIMEOUT_S,
        )
        before = history.acknowledged
        assert answer.deleted == len(before) - len(operation.apply(before))
    else:
        # Should the guard fail, a key appears that no history accounts for.
        poison = Put(history.prefix + b"guard failed", b"")
        answer = await calls.txn(
            TxnRequest(
                table=table,
                compare=guard_of(operation),
                success=[step_request(step) for step in operation.steps],
                failure=[step_request(poison)],
            ),
            timeout=CALL_TIMEOUT_S,
        )
        assert answer.succeeded
        assert len(answer.responses) == len(operation.steps)
    revision: int = answer.header.revision
    return revision
