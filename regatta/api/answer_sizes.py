"""The most bytes that an answer can have, told from its request; see Policy.answer_bytes_max.

0 stands for an answer of a header and some numbers. Headers beside pairs are not counted.
"""

from collections.abc import Iterable

from regatta import limits
from regatta.pb import mvcc_pb2
from regatta.pb import regatta_pb2

pair_bytes_max = limits.key_bytes_max + limits.value_bytes_max


def of_range(request: regatta_pb2.RangeRequest | mvcc_pb2.RequestOp.Range) -> int:
    """Return the size of one page, or of one pair."""
    if request.count_only:
        return 0
    return limits.page_bytes_max if request.range_end else pair_bytes_max


def of_put(request: regatta_pb2.PutRequest | mvcc_pb2.RequestOp.Put) -> int:
    """Return the size of the pair as it was before, if that is asked for."""
    return pair_bytes_max if request.prev_kv else 0


def of_delete_range(
    request: regatta_pb2.DeleteRangeRequest | mvcc_pb2.RequestOp.DeleteRange,
) -> int:
    """Return the size of the deleted pairs, if they are asked for."""
    if not request.prev_kv:
        return 0
    return limits.page_bytes_max if request.range_end else pair_bytes_max


def of_txn(request: regatta_pb2.TxnRequest) -> int:
    """Return the size of the answers to all operations, of the list for which it is larger."""
    largest = max(_of_operations(request.success), _of_operations(request.failure))
    return min(largest, limits.txn_answer_bytes_max)


def _of_operations(operations: Iterable[mvcc_pb2.RequestOp]) -> int:
    return sum(_of_operation(operation) for operation in operations)


def _of_operation(operation: mvcc_pb2.RequestOp) -> int:
    if operation.HasField("request_put"):
        return of_put(operation.request_put)
    if operation.HasField("request_delete_range"):
        return of_delete_range(operation.request_delete_range)
    return of_range(operation.request_range)
