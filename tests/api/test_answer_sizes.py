import pytest

from regatta import limits
from regatta.api import answer_sizes
from regatta.api.answer_sizes import pair_bytes_max
from regatta.pb import regatta_pb2 as pb

RANGE = {"request_range": {"key": b"a", "range_end": b"b"}}
GET = {"request_range": {"key": b"a"}}
COUNT = {"request_range": {"key": b"a", "range_end": b"b", "count_only": True}}
PUT = {"request_put": {"key": b"a"}}
SWAP = {"request_put": {"key": b"a", "prev_kv": True}}
DELETE = {"request_delete_range": {"key": b"a", "range_end": b"b", "count": True}}
TAKE = {"request_delete_range": {"key": b"a", "range_end": b"b", "prev_kv": True}}
TAKE_ONE = {"request_delete_range": {"key": b"a", "prev_kv": True}}


@pytest.mark.parametrize(
    ("operation", "size"),
    [
        (RANGE, limits.page_bytes_max),
        (GET, pair_bytes_max),
        (COUNT, 0),
        (PUT, 0),
        (SWAP, pair_bytes_max),
        (DELETE, 0),
        (TAKE, limits.page_bytes_max),
        (TAKE_ONE, pair_bytes_max),
    ],
)
def test_an_operation_counts_as_much_alone_as_in_a_txn(operation, size):
    [(name, fields)] = operation.items()
    of, request_class = {
        "request_range": (answer_sizes.of_range, pb.RangeRequest),
        "request_put": (answer_sizes.of_put, pb.PutRequest),
        "request_delete_range": (answer_sizes.of_delete_range, pb.DeleteRangeRequest),
    }[name]
    assert of(request_class(**fields)) == size
    assert answer_sizes.of_txn(pb.TxnRequest(success=[operation])) == size
    assert answer_sizes.of_txn(pb.TxnRequest(failure=[operation, PUT])) == size


def test_a_txn_counts_the_larger_list_up_to_its_bound():
    request = pb.TxnRequest(success=[GET, SWAP], failure=[RANGE, PUT, COUNT])
    assert answer_sizes.of_txn(request) == max(2 * pair_bytes_max, limits.page_bytes_max)
    assert answer_sizes.of_txn(pb.TxnRequest()) == 0
    many = pb.TxnRequest(success=[RANGE] * 100)
    assert answer_sizes.of_txn(many) == limits.txn_answer_bytes_max
