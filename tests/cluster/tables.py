"""Calls on one table of a running daemon, and the messages that such calls are made of.

The tests of what KV and Maintenance mean share it.
"""

from collections.abc import Callable, Sequence
from typing import Any

import grpc
import pytest

from regatta.pb.mvcc_pb2 import Compare
from regatta.pb.mvcc_pb2 import KeyValue
from regatta.pb.mvcc_pb2 import RequestOp
from regatta.pb.regatta_pb2 import DeleteRangeRequest
from regatta.pb.regatta_pb2 import DeleteRangeResponse
from regatta.pb.regatta_pb2 import PutRequest
from regatta.pb.regatta_pb2 import PutResponse
from regatta.pb.regatta_pb2 import RangeRequest
from regatta.pb.regatta_pb2 import RangeResponse
from regatta.pb.regatta_pb2 import TxnRequest
from regatta.pb.regatta_pb2 import TxnResponse
from tests.cluster.harness import KV

CALL_TIMEOUT_S = 20.0
ZERO = b"\0"  # as key with itself as range_end: every key

EQUAL = Compare.CompareResult.EQUAL
GREATER = Compare.CompareResult.GREATER
LESS = Compare.CompareResult.LESS
NOT_EQUAL = Compare.CompareResult.NOT_EQUAL


class Table:
    """The blocking calls of KV on one table."""

    def __init__(self, calls: KV, name: bytes) -> None:
        self.calls = calls
        self.name = name

    def put(self, key: bytes, value: bytes = b"", **options: Any) -> PutResponse:
        """Store a pair."""
        request = PutRequest(table=self.name, key=key, value=value, **options)
        answer: PutResponse = self.calls.put(request, timeout=CALL_TIMEOUT_S)
        return answer

    def put_all(self, *keys: bytes) -> None:
        """Store a pair for each key, its value the key itself, in one transaction."""
        self.txn(success=[op_put(key, key) for key in keys])

    def range(self, key: bytes, range_end: bytes = b"", **options: Any) -> RangeResponse:
        """Read one page."""
        request = RangeRequest(table=self.name, key=key, range_end=range_end, **options)
        answer: RangeResponse = self.calls.range(request, timeout=CALL_TIMEOUT_S)
        return answer

    def pages(self, key: bytes, range_end: bytes = b"", **options: Any) -> list[RangeResponse]:
        """Read every page of an IterateRange."""
        request = RangeRequest(table=self.name, key=key, range_end=range_end, **options)
        return list(self.calls.iterate_range(request, timeout=CALL_TIMEOUT_S))

    def delete(self, key: bytes, range_end: bytes = b"", **options: Any) -> DeleteRangeResponse:
        """Delete one pair or a range of them."""
        request = DeleteRangeRequest(table=self.name, key=key, range_end=range_end, **options)
        answer: DeleteRangeResponse = self.calls.delete_range(request, timeout=CALL_TIMEOUT_S)
        return answer

    def txn(
        self,
        compare: Sequence[Compare] = (),
        success: Sequence[RequestOp] = (),
        failure: Sequence[RequestOp] = (),
    ) -> TxnResponse:
        """Run a transaction."""
        request = TxnRequest(table=self.name, compare=compare, success=success, failure=failure)
        answer: TxnResponse = self.calls.txn(request, timeout=CALL_TIMEOUT_S)
        return answer

    def holds(self, *compare: Compare) -> bool:
        """Tell whether all comparisons hold."""
        return self.txn(compare).succeeded

    def pairs(self) -> dict[bytes, bytes]:
        """Return all that the table holds."""
        return {pair.key: pair.value for page in self.pages(ZERO, ZERO) for pair in page.kvs}


def op_range(key: bytes, range_end: bytes = b"", **options: Any) -> RequestOp:
    """Return a read as an operation of a transaction."""
    return RequestOp(request_range=RequestOp.Range(key=key, range_end=range_end, **options))


def op_put(key: bytes, value: bytes = b"", **options: Any) -> RequestOp:
    """Return a put as an operation of a transaction."""
    return RequestOp(request_put=RequestOp.Put(key=key, value=value, **options))


def op_delete(key: bytes, range_end: bytes = b"", **options: Any) -> RequestOp:
    """Return a delete as an operation of a transaction."""
    delete = RequestOp.DeleteRange(key=key, range_end=range_end, **options)
    return RequestOp(request_delete_range=delete)


def exists(key: bytes, range_end: bytes = b"", result: int = EQUAL) -> Compare:
    """Return the comparison that holds when there is any such pair; *result* must not matter."""
    return Compare(key=key, range_end=range_end, result=Compare.CompareResult.Name(result))


def compares(key: bytes, result: int, value: bytes, range_end: bytes = b"") -> Compare:
    """Return a comparison of the stored value, on the left, with *value*."""
    name = Compare.CompareResult.Name(result)
    return Compare(key=key, range_end=range_end, result=name, value=value)


def keys_of(pairs: Sequence[KeyValue]) -> list[bytes]:
    """Return the keys, in the order of the answer."""
    return [pair.key for pair in pairs]


def refusal(call: Callable[..., Any], *arguments: Any, **options: Any) -> tuple[str, str]:
    """Return the code's name and the text of the error that a call ends with."""
    with pytest.raises(grpc.RpcError) as caught:
        call(*arguments, **options)
    return caught.value.code().name, caught.value.details() or ""
