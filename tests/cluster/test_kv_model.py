"""Random operations on a table answer what a small model in memory answers."""

import itertools
from collections.abc import Sequence
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from regatta.pb.mvcc_pb2 import Compare
from regatta.pb.mvcc_pb2 import KeyValue
from regatta.pb.mvcc_pb2 import RequestOp
from regatta.pb.mvcc_pb2 import ResponseOp
from regatta.pb.regatta_pb2 import DeleteRangeRequest
from regatta.pb.regatta_pb2 import DeleteRangeResponse
from regatta.pb.regatta_pb2 import PutRequest
from regatta.pb.regatta_pb2 import PutResponse
from regatta.pb.regatta_pb2 import RangeRequest
from regatta.pb.regatta_pb2 import RangeResponse
from regatta.pb.regatta_pb2 import TxnRequest
from regatta.pb.regatta_pb2 import TxnResponse
from tests.cluster.harness import KV
from tests.cluster.tables import CALL_TIMEOUT_S
from tests.cluster.tables import EQUAL
from tests.cluster.tables import GREATER
from tests.cluster.tables import LESS
from tests.cluster.tables import ZERO
from tests.cluster.tables import Table
from tests.cluster.tables import op_put

OPERATION_COUNT = 20  # in each of the tables
TABLE_COUNT = 40

Request = RangeRequest | PutRequest | DeleteRangeRequest | TxnRequest


class Model:
    """A table as the contract describes it, in the plainest way. Answers have no headers."""

    def __init__(self) -> None:
        self.pairs: dict[bytes, KeyValue] = {}
        self.revision = 0  # of the last write

    def selected(self, key: bytes, range_end: bytes) -> list[KeyValue]:
        """Return the pairs that a key and a range_end select, in order."""
        return [
            self.pairs[candidate]
            for candidate in sorted(self.pairs)
            if (candidate == key and not range_end)
            or (candidate >= key and range_end == ZERO)
            or (range_end not in (b"", ZERO) and key <= candidate < range_end)
        ]

    def read(self, request: Any, answer: Any) -> Any:
        """Fill an empty *answer* of Range or of a range in a transaction."""
        found = self.selected(request.key, request.range_end)
        if isinstance(request, RangeRequest):
            found = [pair for pair in found if passes(request, pair)]
        answer.more = bool(request.limit) and len(found) > request.limit
        found = found[: request.limit or len(found)]
        answer.count = len(found)
        if not request.count_only:
            answer.kvs.extend(found)
        if request.keys_only:
            for pair in answer.kvs:
                pair.ClearField("value")
        return answer

    def put(self, request: Any, answer: Any) -> Any:
        """Store a pair, and fill an empty *answer* of Put."""
        before = self.pairs.get(request.key)
        if before is not None and request.prev_kv:
            answer.prev_kv.CopyFrom(before)
        self.pairs[request.key] = KeyValue(
            key=request.key,
            create_revision=self.revision if before is None else before.create_revision,
            mod_revision=self.revision,
            value=request.value,
        )
        return answer

    def delete(self, request: Any, answer: Any) -> Any:
        """Delete pairs, and fill an empty *answer* of DeleteRange."""
        found = self.selected(request.key, request.range_end)
        for pair in found:
            del self.pairs[pair.key]
        if request.prev_kv:
            answer.prev_kvs.extend(found)
        if request.prev_kv or request.count:
            answer.deleted = len(found)
        return answer

    def holds(self, compare: Compare) -> bool:
        """Tell whether a comparison holds."""
        found = self.selected(compare.key, compare.range_end)
        if not found or not compare.HasField("value"):
            return bool(found)
        return all(
            {
                EQUAL: pair.value == compare.value,
                GREATER: pair.value > compare.value,
                LESS: pair.value < compare.value,
            }.get(compare.result, pair.value != compare.value)
            for pair in found
        )

    def txn(self, request: TxnRequest) -> TxnResponse:
        """Run a transaction."""
        succeeded = all(self.holds(compare) for compare in request.compare)
        answer = TxnResponse(succeeded=succeeded)
        for operation in request.success if succeeded else request.failure:
            response = ResponseOp()
            kind = operation.WhichOneof("request")
            body = getattr(response, kind.replace("request", "response"))
            body.SetInParent()
            run = {
                "request_range": self.read,
                "request_put": self.put,
                "request_delete_range": self.delete,
            }[kind]
            run(getattr(operation, kind), body)
            answer.responses.append(response)
        return answer

    def run(self, request: Request) -> Any:
        """Run any request, and return what it must answer."""
        if is_write(request):
            self.revision += 1
        if isinstance(request, TxnRequest):
            return self.txn(request)
        run, answer = {
            RangeRequest: (self.read, RangeResponse()),
            PutRequest: (self.put, PutResponse()),
            DeleteRangeRequest: (self.delete, DeleteRangeResponse()),
        }[type(request)]
        return run(request, answer)


def passes(request: RangeRequest, pair: KeyValue) -> bool:
    """Tell whether a pair is within the filters of a request."""
    return (
        pair.mod_revision >= request.min_mod_revision
        and pair.mod_revision <= (request.max_mod_revision or pair.mod_revision)
        and pair.create_revision >= request.min_create_revision
        and pair.create_revision <= (request.max_create_revision or pair.create_revision)
    )


def is_write(request: Request) -> bool:
    """Tell whether a request goes into the log."""
    if isinstance(request, TxnRequest):
        operations: Sequence[RequestOp] = [*request.success, *request.failure]
        return not all(operation.HasField("request_range") for operation in operations)
    return not isinstance(request, RangeRequest)


FIRST_KEYS = (b"\0", b"a", b"ab", b"a\xff", b"b", b"\xff")

Fields = st.SearchStrategy[dict[str, Any]]  # of a message

# Few bytes, those that ranges treat in a special way among them: many requests meet.
keys = st.lists(st.sampled_from([b"\0", b"a", b"b", b"\xff"]), min_size=1, max_size=2).map(b"".join)
ends = st.one_of(st.just(b""), st.just(ZERO), keys)
values = st.sampled_from([b"", b"\0", b"a", b"b"])
limits = st.integers(0, 4)
bounds = st.one_of(st.integers(0, 3), st.integers(0, OPERATION_COUNT))
shapes = st.sampled_from([{}, {"keys_only": True}, {"count_only": True}])

selections = st.fixed_dictionaries({"key": keys, "range_end": ends})
reads: Fields = st.builds(
    lambda selection, limit, shape: {**selection, "limit": limit, **shape},
    selections,
    limits,
    shapes,
)
puts: Fields = st.fixed_dictionaries({"key": keys, "value": values, "prev_kv": st.booleans()})
deletes: Fields = st.builds(
    lambda selection, prev_kv, count: {**selection, "prev_kv": prev_kv, "count": count},
    selections,
    st.booleans(),
    st.booleans(),
)
filters: Fields = st.dictionaries(
    st.sampled_from(
        ["min_mod_revision", "max_mod_revision", "min_create_revision", "max_create_revision"]
    ),
    bounds,
    max_size=2,
)
comparisons = st.builds(
    lambda selection, result, value: Compare(**selection, result=result, **value),
    selections,
    st.sampled_from(Compare.CompareResult.keys()),
    st.one_of(st.just({}), st.fixed_dictionaries({"value": values})),
)
operations = st.one_of(
    reads.map(lambda fields: RequestOp(request_range=RequestOp.Range(**fields))),
    puts.map(lambda fields: RequestOp(request_put=RequestOp.Put(**fields))),
    deletes.map(lambda fields: RequestOp(request_delete_range=RequestOp.DeleteRange(**fields))),
)
lists = st.lists(operations, max_size=4)
requests = st.one_of(
    puts.map(lambda fields: PutRequest(**fields)),
    puts.map(lambda fields: PutRequest(**fields)),
    st.builds(lambda fields, options: RangeRequest(**fields, **options), reads, filters),
    deletes.map(lambda fields: DeleteRangeRequest(**fields)),
    st.builds(
        lambda compare, success, failure: TxnRequest(
            compare=compare, success=success, failure=failure
        ),
        st.lists(comparisons, max_size=2),
        lists,
        lists,
    ),
)

table_numbers = itertools.count()


@settings(max_examples=TABLE_COUNT, deadline=None, database=None)
@given(st.lists(requests, min_size=OPERATION_COUNT // 2, max_size=OPERATION_COUNT))
def test_a_table_behaves_as_its_model(calls: KV, sequence: list[Request]) -> None:
    table, model = Table(calls, b"model_%d" % next(table_numbers)), Model()
    # The first write makes the table, and there is something to find from the start.
    filling = TxnRequest(success=[op_put(key) for key in FIRST_KEYS])
    for request in (filling, *sequence):
        request.table = table.name
        send = {
            RangeRequest: calls.range,
            PutRequest: calls.put,
            DeleteRangeRequest: calls.delete_range,
            TxnRequest: calls.txn,
        }[type(request)]
        answer = send(request, timeout=CALL_TIMEOUT_S)
        expected = model.run(request)
        assert answer.header.revision == (model.revision if is_write(request) else 0)
        answer.ClearField("header")
        assert answer == expected
        if isinstance(request, RangeRequest):
            (page,) = calls.iterate_range(request, timeout=CALL_TIMEOUT_S)
            expected.more = False  # a stream of a page has no more, even when a limit ends it
            page.ClearField("header")
            assert page == expected
    assert table.pairs() == {key: pair.value for key, pair in model.pairs.items()}
    assert table.delete(ZERO, ZERO, count=True).deleted == len(model.pairs)
