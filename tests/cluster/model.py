"""What the tables of a node hold and answer, in the plainest way that the contract can be put.

Nothing here knows the daemon. Requests and answers are protobuf messages; an answer has all that
the daemon's has but the header, of which only the revision is foretold.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, TypeVar

from regatta.pb.mvcc_pb2 import CommandResult
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

ZERO = b"\0"
MIB = 1024 * 1024
KEY_BYTES_MAX = 1024
VALUE_BYTES_MAX = 2 * MIB
PAGE_BYTES_MAX = 4 * MIB - 1024
TXN_ANSWER_BYTES_MAX = 16 * MIB
REQUEST_BYTES_MAX = 4 * MIB

Filled = TypeVar("Filled", bound=Any)
Answer = TypeVar("Answer", PutResponse, DeleteRangeResponse, TxnResponse)
Request = RangeRequest | PutRequest | DeleteRangeRequest | TxnRequest


class Refusal(Exception):
    """The error that a request is answered with; its arguments are code and text."""


INVALID, PRECONDITION, EXHAUSTED = "INVALID_ARGUMENT", "FAILED_PRECONDITION", "RESOURCE_EXHAUSTED"


class Page(NamedTuple):
    """Some pairs of a range."""

    pairs: list[KeyValue]
    more: bool


class Table:
    """One table."""

    def __init__(self) -> None:
        self.pairs: dict[bytes, KeyValue] = {}
        # Index and term of the last entry in the log. The first one is the leader's own.
        self.revision = self.term = 1

    def copy(self) -> "Table":
        """Return a table that may go another way from here."""
        twin = Table()
        twin.pairs, twin.revision, twin.term = dict(self.pairs), self.revision, self.term
        return twin

    def in_order(self) -> list[KeyValue]:
        """Return every pair."""
        return [self.pairs[key] for key in sorted(self.pairs)]

    def selected(self, key: bytes, range_end: bytes) -> list[KeyValue]:
        """Return the pairs that a key and a range_end select, in order."""
        if not range_end:
            return [self.pairs[key]] if key in self.pairs else []
        return [
            pair
            for pair in self.in_order()
            if pair.key >= key and (range_end == ZERO or pair.key < range_end)
        ]

    def pages(self, request: Any) -> Iterator[Page]:
        """Yield the pages, at least one, that a range of any kind selects."""
        found = self.selected(request.key, request.range_end)
        if isinstance(request, RangeRequest):
            found = [pair for pair in found if passes(request, pair)]
        limit = request.limit or len(found)
        cut, found = len(found) > limit, found[:limit]
        if request.count_only:
            yield Page(found, cut)
            return
        pairs: list[KeyValue] = []
        size = 0
        for pair in found:
            shown = KeyValue()
            shown.CopyFrom(pair)
            if request.keys_only:
                shown.ClearField("value")
            if pairs and size + len(shown.key) + len(shown.value) >= PAGE_BYTES_MAX:
                yield Page(pairs, True)
                pairs, size = [], 0
            pairs.append(shown)
            size += RangeResponse(kvs=[shown]).ByteSize()
        yield Page(pairs, cut)

    def put(self, request: Any, answer: Filled) -> Filled:
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

    def delete(self, request: Any, answer: Filled) -> Filled:
        """Delete pairs, and fill an empty *answer* of DeleteRange."""
        found = self.selected(request.key, request.range_end)
        if request.prev_kv:
            page = next(self.pages(RangeRequest(key=request.key, range_end=request.range_end)))
            if page.more:
                raise Refusal(EXHAUSTED, "the previous pairs exceed 4 MiB; nothing was changed")
            answer.prev_kvs.extend(found)
        if request.prev_kv or request.count:
            answer.deleted = len(found)
        for pair in found:
            del self.pairs[pair.key]
        return answer

    def holds(self, compare: Compare) -> bool:
        """Tell whether a comparison holds."""
        found = self.selected(compare.key, compare.range_end)
        if not found or not compare.HasField("value"):
            return bool(found)
        tests: dict[int, Callable[[bytes], bool]] = {
            Compare.EQUAL: lambda value: value == compare.value,
            Compare.GREATER: lambda value: value > compare.value,
            Compare.LESS: lambda value: value < compare.value,
            Compare.NOT_EQUAL: lambda value: value != compare.value,
        }
        return all(tests[compare.result](pair.value) for pair in found)

    def txn(self, request: TxnRequest) -> TxnResponse:
        """Run a transaction."""
        succeeded = all(self.holds(compare) for compare in request.compare)
        responses = []
        size = 0
        for operation in request.success if succeeded else request.failure:
            kind = operation.WhichOneof("request")
            if kind is None:
                continue
            body = getattr(operation, kind)
            filled: Any
            if kind == "request_put":
                filled = self.put(body, ResponseOp.Put())
            elif kind == "request_delete_range":
                filled = self.delete(body, ResponseOp.DeleteRange())
            else:
                filled = self.answer_of(next(self.pages(body)), body, ResponseOp.Range())
            responses.append(ResponseOp(**{kind.replace("request", "response"): filled}))
            size += CommandResult(responses=responses[-1:]).ByteSize()
            if size > TXN_ANSWER_BYTES_MAX:
                text = "the transaction's answer exceeds 16 MiB; nothing was changed"
                raise Refusal(EXHAUSTED, text)
        return TxnResponse(succeeded=succeeded, responses=responses)

    @staticmethod
    def answer_of(page: Page, request: Any, answer: Filled) -> Filled:
        """Fill an empty *answer* of a range from a page."""
        answer.more, answer.count = page.more, len(page.pairs)
        if not request.count_only:
            answer.kvs.extend(page.pairs)
        return answer


class Model:
    """All tables of a node."""

    def __init__(self) -> None:
        self.tables: dict[bytes, Table] = {}

    def restart(self) -> None:
        """Begin a new term in every table, with an entry of its own."""
        for table in self.tables.values():
            table.term += 1
            table.revision += 1

    def range(self, request: RangeRequest) -> RangeResponse:
        """Return what Range answers, or raise Refusal; as the others do."""
        table = self._readable(request)
        return Table.answer_of(next(table.pages(request)), request, RangeResponse())

    def iterate_range(self, request: RangeRequest) -> list[RangeResponse]:
        """Return every message that IterateRange answers."""
        pages = list(self._readable(request).pages(request))
        # A limit that cuts the range does not make the stream promise more than there is.
        pages[-1] = pages[-1]._replace(more=False)
        return [Table.answer_of(page, request, RangeResponse()) for page in pages]

    def put(self, request: PutRequest) -> PutResponse:
        """Return what Put answers."""
        check_names(request)
        check_pair(request.key, request.value)
        return self._write(request.table, lambda table: table.put(request, PutResponse()))

    def delete_range(self, request: DeleteRangeRequest) -> DeleteRangeResponse:
        """Return what DeleteRange answers."""
        check_names(request)
        check_keys(request.key)
        return self._write(
            request.table, lambda table: table.delete(request, DeleteRangeResponse())
        )

    def txn(self, request: TxnRequest) -> TxnResponse:
        """Return what Txn answers."""
        if not request.table:
            raise Refusal(INVALID, "table must be set")
        for part in (*request.compare, *operations_of(request)):
            check_part(part)
        if is_write(request):
            return self._write(request.table, lambda table: table.txn(request))
        if request.table not in self.tables:
            raise Refusal("NOT_FOUND", "table not found")
        return self.tables[request.table].txn(request)

    def _readable(self, request: RangeRequest) -> Table:
        check_options(request)
        check_names(request)
        if request.table not in self.tables:
            raise Refusal("NOT_FOUND", "table not found")
        check_keys(request.key, request.range_end)
        return self.tables[request.table]

    def _write(self, name: bytes, change: Callable[[Table], Answer]) -> Answer:
        """Change a table, which is made if need be, and add the revision to the answer.

        A change that is refused is undone. Its entry is in the log nevertheless.
        """
        before = self.tables.setdefault(name, Table())
        before.revision += 1
        table = before.copy()
        answer = change(table)
        answer.header.revision = table.revision
        self.tables[name] = table
        return answer


def passes(request: RangeRequest, pair: KeyValue) -> bool:
    """Tell whether a pair is within the filters of a request."""
    return (
        pair.mod_revision >= request.min_mod_revision
        and pair.mod_revision <= (request.max_mod_revision or pair.mod_revision)
        and pair.create_revision >= request.min_create_revision
        and pair.create_revision <= (request.max_create_revision or pair.create_revision)
    )


def operations_of(request: TxnRequest) -> Sequence[RequestOp]:
    """Return the operations of both branches."""
    return [*request.success, *request.failure]


def is_write(request: Request) -> bool:
    """Tell whether a request goes into the log."""
    if isinstance(request, TxnRequest):
        return not all(operation.HasField("request_range") for operation in operations_of(request))
    return not isinstance(request, RangeRequest)


def check_size(request: Request) -> None:
    """Raise Refusal for a request that is too large for gRPC."""
    size = request.ByteSize()
    if size > REQUEST_BYTES_MAX:
        text = f"grpc: received message larger than max ({size} vs. {REQUEST_BYTES_MAX})"
        raise Refusal(EXHAUSTED, text)


def check_options(request: Any) -> None:
    """Raise Refusal for options of a range that make no sense."""
    if request.limit < 0:
        raise Refusal(INVALID, "limit must be a positive number")
    if request.keys_only and request.count_only:
        raise Refusal(INVALID, "keys_only and count_only must not be set at the same time")
    if isinstance(request, RangeRequest):
        for field in (
            "min_mod_revision",
            "max_mod_revision",
            "min_create_revision",
            "max_create_revision",
        ):
            if getattr(request, field) < 0:
                raise Refusal(INVALID, f"{field} must not be negative")


def check_names(request: Any) -> None:
    """Raise Refusal unless table and key are set."""
    if not request.table:
        raise Refusal(INVALID, "table must be set")
    if not request.key:
        raise Refusal(INVALID, "key must be set")


def check_keys(*keys: bytes) -> None:
    """Raise Refusal for a key that is too long."""
    if any(len(key) > KEY_BYTES_MAX for key in keys):
        raise Refusal(PRECONDITION, "key length exceeded max allowed value")


def check_pair(key: bytes, value: bytes) -> None:
    """Raise Refusal for a key or a value that is too long."""
    check_keys(key)
    if len(value) > VALUE_BYTES_MAX:
        raise Refusal(PRECONDITION, "value length exceeded max allowed value")


def check_part(part: Any) -> None:
    """Raise Refusal for a part of a transaction that the call of that kind would not take."""
    body = part
    if isinstance(part, RequestOp):
        kind = part.WhichOneof("request")
        if kind is None:
            return
        body = getattr(part, kind)
    if isinstance(body, RequestOp.Range):
        check_options(body)
    if not body.key:
        raise Refusal(INVALID, "key must be set")
    if isinstance(body, RequestOp.Put):
        check_pair(body.key, body.value)
    elif isinstance(body, RequestOp.DeleteRange):
        check_keys(body.key)
    else:
        check_keys(body.key, body.range_end)
