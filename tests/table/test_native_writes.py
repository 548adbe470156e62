"""Native writes against what the handlers in Python propose and answer, byte by byte."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regatta import limits
from regatta.admin.metrics import totals
from regatta.api.context import Context
from regatta.api.kv import KV
from regatta.api.service import methods_of
from regatta.engine import Engine
from regatta.engine import Group
from regatta.errors import Code
from regatta.errors import Internal
from regatta.errors import RegattaError
from regatta.pb.mvcc_pb2 import Command
from regatta.pb.mvcc_pb2 import Compare
from regatta.pb.mvcc_pb2 import RequestOp
from regatta.pb.regatta_pb2 import DeleteRangeRequest
from regatta.pb.regatta_pb2 import DeleteRangeResponse
from regatta.pb.regatta_pb2 import PutRequest
from regatta.pb.regatta_pb2 import PutResponse
from regatta.pb.regatta_pb2 import TxnRequest
from regatta.pb.regatta_pb2 import TxnResponse
from regatta.store.space import Room
from tests.fuzz.writes import answers_pairs
from tests.http2.h2peer import Answer
from tests.http2.h2peer import Peer
from tests.http2.h2peer import frame
from tests.http2.h2peer import peer
from tests.http2.h2peer import request_headers
from tests.table import nodes

PUT = "/regatta.v1.KV/Put"
DELETE = "/regatta.v1.KV/DeleteRange"
TXN = "/regatta.v1.KV/Txn"
NATIVE, HANDLED, READ_ONLY = b"native", b"handled", b"topic"

Request = PutRequest | DeleteRangeRequest | TxnRequest
Response = PutResponse | DeleteRangeResponse | TxnResponse
PATHS: dict[type[Request], str] = {PutRequest: PUT, DeleteRangeRequest: DELETE, TxnRequest: TXN}
RESPONSES: dict[type[Request], type[Response]] = {
    PutRequest: PutResponse,
    DeleteRangeRequest: DeleteRangeResponse,
    TxnRequest: TxnResponse,
}


class Node:
    """An engine in a loop of its own, which runs only when asked to."""

    def __init__(self, engine: Engine, runner: asyncio.Runner) -> None:
        self.engine = engine
        self.runner = runner
        self.kv = KV(engine)
        self.sink = engine.sink(frozenset([READ_ONLY]))
        self.driver = engine._driver
        for name in (NATIVE, HANDLED, READ_ONLY):
            runner.run(nodes.write(engine, nodes.put(b"a"), table=name))

    def group(self, name: bytes = NATIVE) -> Group:
        return self.engine._groups[name]

    def send(self, made: Peer, request: Request, *headers: tuple[bytes, bytes]) -> Answer:
        path = PATHS[type(request)].encode()
        made.send(frame(request.SerializeToString()), request_headers(path, *headers))
        made.exchange()
        return made.answers[max(made.answers)]

    def finish(self) -> None:
        """Run the loop until every write is applied."""
        self.runner.run(self._finish())

    async def _finish(self) -> None:
        while self.engine.pending[0]:
            await asyncio.sleep(0.001)

    async def handle(self, request: Request, table: bytes) -> tuple[bytes, bytes]:
        """Return the handler's Command and its answer."""
        request = type(request).FromString(request.SerializeToString())
        if request.table:
            request.table = table
        handler: Any = {PUT: self.kv.put, DELETE: self.kv.delete_range, TXN: self.kv.txn}[
            PATHS[type(request)]
        ]
        task = asyncio.ensure_future(handler(request, Context([], "", None)))
        await asyncio.sleep(0)
        proposed = self.group(table).proposed
        command = proposed[-1].command if proposed else b""
        return command, (await task).SerializeToString()

    def calls(self, path: str) -> list[int]:
        return self.sink.calls[path].handled


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    with asyncio.Runner() as runner:
        manager = nodes.engine_in(tmp_path_factory.mktemp("writes"), node=7)
        engine = runner.run(manager.__aenter__())
        yield Node(engine, runner)
        runner.run(manager.__aexit__(None, None, None))


keys = st.one_of(
    st.sampled_from([b"\0", b"a", b"b", b"\xff", b"k" * 1024, b"k" * 127]),
    st.binary(min_size=1, max_size=3),
)
bad_keys = st.sampled_from([b"", b"k" * 1025])
table_names = st.sampled_from([NATIVE] * 9 + [b""])
large = st.sampled_from([b"v" * limits.value_bytes_max, b"v" * (limits.value_bytes_max + 1)])
puts = st.builds(
    PutRequest,
    table=table_names,
    key=st.one_of(keys, keys, keys, bad_keys),
    value=st.one_of(*[st.binary(max_size=200)] * 9, large),
    prev_kv=st.sampled_from([False, False, False, True]),
)
deletes = st.builds(
    DeleteRangeRequest,
    table=table_names,
    key=st.one_of(keys, keys, keys, bad_keys),
    range_end=st.one_of(keys, st.sampled_from([b"", b"", b"\0", b"k" * 1025])),
    prev_kv=st.sampled_from([False, False, False, True]),
    count=st.booleans(),
)
long_or_too_long = st.sampled_from([b"v" * 30_000, b"v" * (limits.value_bytes_max + 1)])
operations = st.one_of(
    st.builds(
        lambda put: RequestOp(request_put=put),
        st.builds(
            RequestOp.Put,
            key=st.one_of(*[keys] * 20, bad_keys),
            value=st.one_of(*[st.binary(max_size=200)] * 20, long_or_too_long),
            prev_kv=st.sampled_from([False] * 15 + [True]),
        ),
    ),
    st.builds(
        lambda delete: RequestOp(request_delete_range=delete),
        st.builds(
            RequestOp.DeleteRange,
            key=st.one_of(*[keys] * 20, bad_keys),
            range_end=st.one_of(keys, st.sampled_from([b"", b"", b"\0", b"k" * 1025])),
            prev_kv=st.sampled_from([False] * 15 + [True]),
            count=st.booleans(),
        ),
    ),
    st.sampled_from([RequestOp()]),
)
lists = st.lists(operations, max_size=3)
comparisons = st.builds(
    Compare,
    result=st.sampled_from([0, 1, 2, 3] * 5 + [4, -1]),
    target=st.sampled_from([0] * 20 + [1, -1]),
    key=st.one_of(*[keys] * 20, bad_keys),
    value=st.one_of(st.none(), st.binary(max_size=3)),
    range_end=st.one_of(*[st.just(b"")] * 10, keys, st.just(b"k" * 1025)),
)
reading = st.builds(
    lambda key: [RequestOp(request_range=RequestOp.Range(key=key))],
    keys,
)
txns = st.builds(
    TxnRequest,
    table=table_names,
    compare=st.lists(comparisons, max_size=2),
    success=st.one_of(*[lists] * 9, reading),
    failure=lists,
).filter(lambda request: request.ByteSize() <= limits.request_bytes_max)


def only_writes(request: Request) -> bool:
    """Say whether a sound request changes pairs and answers none of them."""
    return not answers_pairs(type(request), request.SerializeToString())


# Unknown fields, wrong kinds, and the fields of other requests among them.
requests_encoded = st.builds(
    b"".join,
    st.lists(
        st.one_of(
            st.builds(lambda request: request.SerializeToString(), deletes),
            st.sampled_from([b"\x08\x01", b"\x1a\x00", b"\x20\x01", b"\x28\x02", b"\x15abcd"]),
            st.sampled_from([b"\x12\x02ab", b"\x7b\x7c", b"\x7b", b"\x31abcdefgh", b"\x12\xff"]),
        ),
        max_size=3,
    ),
)


def with_table(command: bytes, table: bytes) -> bytes:
    changed = Command.FromString(command)
    changed.table = table
    return changed.SerializeToString()


def with_shard(answer: bytes, shard: int, kind: type[Response]) -> bytes:
    changed = kind.FromString(answer)
    changed.header.shard_id = shard
    return changed.SerializeToString()


@settings(max_examples=500, deadline=None)
@given(request=st.one_of(puts, puts, deletes, txns, txns))
def test_commands_and_answers_are_those_of_the_handlers(node: Node, request: Request) -> None:
    with peer(node.sink) as made:
        answer = node.send(made, request)
        command = node.group().proposed[-1].command if node.group().proposed else b""
        node.finish()
        made.exchange()
        is_declined = bool(made.calls)
    try:
        expected_command, expected = node.runner.run(node.handle(request, HANDLED))
    except RegattaError:
        assert is_declined
        assert not command
        with suppress(RegattaError):  # it may take an index, though
            node.runner.run(node.handle(request, NATIVE))
        return
    if is_declined:
        assert not only_writes(request), "others are not too much for the native way"
        with suppress(RegattaError):
            node.runner.run(node.handle(request, NATIVE))
        return
    kind = RESPONSES[type(request)]
    assert command == with_table(expected_command, NATIVE)
    assert answer.messages == [with_shard(expected, node.group().id, kind)]
    assert answer.status == 0
    assert only_writes(request)


@settings(max_examples=500, deadline=None)
@given(tail=st.one_of(st.binary(max_size=40), requests_encoded), deletes=st.booleans())
def test_bytes_behind_a_request_are_read_as_protobuf_reads_them(
    node: Node, tail: bytes, deletes: bool
) -> None:
    kind = DeleteRangeRequest if deletes else PutRequest
    body = kind(table=NATIVE, key=b"k").SerializeToString() + tail
    with peer(node.sink) as made:
        made.send(frame(body), request_headers((DELETE if deletes else PUT).encode()))
        made.exchange()
        proposed = node.group().proposed
        command = proposed[-1].command if proposed else b""
        node.finish()
        if made.calls:
            assert not command
            return
    request = kind.FromString(body)
    expected, _ = node.runner.run(node.handle(request, HANDLED))
    assert command == with_table(expected, NATIVE)


@settings(max_examples=500, deadline=None)
@given(
    request=txns,
    tail=st.one_of(
        st.binary(max_size=20),
        st.sampled_from(
            [b"\x12\x00", b"\x1a\x00", b"\x22\x02\x12\x00", b"\x1a\x04\x12\x02\x0a\x00"]
        ),
        st.builds(lambda inner: b"\x1a" + bytes([len(inner)]) + inner, st.binary(max_size=20)),
        st.builds(lambda inner: b"\x12" + bytes([len(inner)]) + inner, st.binary(max_size=20)),
    ),
)
def test_bytes_behind_a_transaction_are_read_as_protobuf_reads_them(
    node: Node, request: TxnRequest, tail: bytes
) -> None:
    request.table = NATIVE
    body = request.SerializeToString() + tail
    with peer(node.sink) as made:
        made.send(frame(body), request_headers(TXN.encode()))
        made.exchange()
        proposed = node.group().proposed
        command = proposed[-1].command if proposed else b""
        node.finish()
        if made.calls:
            assert not command
            return
    read = TxnRequest.FromString(body)
    # Parts are copied as they came, which need not be how protobuf would write them.
    expected, _ = node.runner.run(node.handle(read, HANDLED))
    assert Command.FromString(command) == Command.FromString(with_table(expected, NATIVE))


def test_a_transaction_compares_and_sets(node: Node) -> None:
    def set_if(before: bytes, after: bytes) -> TxnRequest:
        put = RequestOp.Put(key=b"cas", value=after)
        return TxnRequest(
            table=NATIVE,
            compare=[Compare(key=b"cas", value=before)],
            success=[RequestOp(request_put=put)],
            failure=[
                RequestOp(request_delete_range=RequestOp.DeleteRange(key=b"nothing", count=True))
            ],
        )

    with peer(node.sink) as made:
        node.send(made, PutRequest(table=NATIVE, key=b"cas", value=b"1"))
        first = node.send(made, set_if(b"1", b"2"))
        second = node.send(made, set_if(b"1", b"3"))
        node.finish()
        made.exchange()
        assert not made.calls
    one, other = (TxnResponse.FromString(each.messages[0]) for each in (first, second))
    assert (one.succeeded, other.succeeded) == (True, False)
    assert [each.WhichOneof("response") for each in one.responses] == ["response_put"]
    assert other.responses[0].response_delete_range.deleted == 0
    assert nodes.pairs(node.engine, NATIVE)[b"cas"] == b"2"


def test_a_long_transaction_is_for_the_router(node: Node) -> None:
    put = RequestOp(request_put=RequestOp.Put(key=b"k", value=b"v" * 1000))
    with peer(node.sink) as made:
        node.send(made, TxnRequest(table=NATIVE, success=[put] * 66))
        assert len(made.calls) == 1
    assert node.engine.pending == (0, 0)


def test_native_writes_are_there(node: Node) -> None:
    with peer(node.sink) as made:
        first = node.send(made, PutRequest(table=NATIVE, key=b"there", value=b"1"))
        second = node.send(made, PutRequest(table=NATIVE, key=b"there", value=b"2"))
        third = node.send(made, PutRequest(table=NATIVE, key=b"large", value=b"l" * 100_000))
        assert not first.messages
        assert node.sink.calls[PUT].kept_count == 3
        node.finish()
        made.exchange()
        revisions = [
            PutResponse.FromString(answer.messages[0]).header.revision
            for answer in (first, second, third)
        ]
        assert revisions == [revisions[0], revisions[0] + 1, revisions[0] + 2]
        assert made.output_asks == 1, "three answers leave in one write"
        assert not made.calls
    found = nodes.pairs(node.engine, NATIVE)
    assert found[b"there"] == b"2"
    assert found[b"large"] == b"l" * 100_000
    assert node.sink.calls[PUT].kept_count == 0


@pytest.mark.parametrize("table", [b"not made yet", READ_ONLY])
def test_other_tables_are_for_the_router(node: Node, table: bytes) -> None:
    with peer(node.sink) as made:
        node.send(made, PutRequest(table=table, key=b"k"))
        assert len(made.calls) == 1
    assert node.engine.pending == (0, 0)


def test_a_full_queue_refuses_at_once(node: Node) -> None:
    before = node.calls(PUT)[Code.UNAVAILABLE]
    node.driver.queue.bytes += limits.queue_bytes_max
    try:
        with peer(node.sink) as made:
            answer = node.send(made, PutRequest(table=NATIVE, key=b"k", value=b"v"))
            assert not made.calls
    finally:
        node.driver.queue.bytes -= limits.queue_bytes_max
    assert (answer.status, answer.message) == (14, b"system is too busy try again later")
    assert node.calls(PUT)[Code.UNAVAILABLE] == before + 1
    assert node.engine.pending == (0, 0)


def test_a_disk_without_room_is_for_the_router_and_deletes_go_on(node: Node) -> None:
    node.driver._short = True
    with peer(node.sink) as made:
        # What was granted before may still be used.
        for _ in range(40):
            node.send(made, PutRequest(table=NATIVE, key=b"k", value=b"v"))
        declined_count = len(made.calls)
        node.send(made, DeleteRangeRequest(table=NATIVE, key=b"k"))
        assert len(made.calls) == declined_count
        node.driver._short = False
        node.finish()
    assert 8 <= declined_count <= 40


def test_room_is_asked_for_with_what_waits_already(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[int, ...]] = []

    class Asked(Room):
        def admit(self, *sizes: int) -> bool:
            asked.append(sizes)
            return super().admit(*sizes)

    stores = node.engine._stores
    monkeypatch.setattr(node.driver, "_room", Asked(stores.log, stores.data))
    large = PutRequest(table=NATIVE, key=b"k", value=b"v" * limits.MIB)
    with peer(node.sink) as made:
        for _ in range(3):
            node.send(made, large)
        node.finish()
    size = limits.MIB + 30
    assert [(count, waiting) for _, _, waiting, count in asked] == [(1, 0), (1, 1), (1, 2)]
    for number, (command_bytes, waiting_bytes, _, _) in enumerate(asked):
        assert limits.MIB < command_bytes < size
        assert number * limits.MIB <= waiting_bytes < number * size + 1


def test_a_deadline_is_kept_and_the_write_goes_on(node: Node) -> None:
    context = Context([], "", None)
    context.proposed = True
    before = node.calls(PUT)
    with peer(node.sink) as made:
        request = PutRequest(table=NATIVE, key=b"too late", value=b"v")
        late = node.send(made, request, (b"grpc-timeout", b"1m"))
        patient = node.send(made, request, (b"grpc-timeout", b"1H"))
        usual = node.send(made, request)
        assert node.driver._expiry is not None
        time.sleep(0.002)
        node.driver._expire()
        made.exchange()
        assert (late.status, late.message.decode()) == (4, str(context.expired()))
        node.finish()
        made.exchange()
        assert [patient.status, usual.status] == [0, 0]
    after = node.calls(PUT)
    assert after[Code.DEADLINE_EXCEEDED] == before[Code.DEADLINE_EXCEEDED] + 1
    assert sum(after) == sum(before) + 3
    assert nodes.pairs(node.engine, NATIVE)[b"too late"] == b"v"


def test_the_loop_looks_at_deadlines_only_while_writes_wait(node: Node) -> None:
    with peer(node.sink) as made:
        node.send(made, PutRequest(table=NATIVE, key=b"k"), (b"grpc-timeout", b"1m"))
        time.sleep(0.11)
        # The turn comes first, but its result is a sync away, and the timer is due already.
        assert node.driver._expiry is not None
        node.runner.run(asyncio.sleep(0.2))
        assert node.driver._expiry is None


@pytest.mark.parametrize("way", ["reset", "closed"])
def test_a_write_whose_client_has_gone_is_carried_out(node: Node, way: str) -> None:
    before = node.calls(PUT)[Code.CANCELLED]
    with peer(node.sink) as made:
        node.send(made, PutRequest(table=NATIVE, key=way.encode(), value=b"v"))
        if way == "reset":
            made.client.reset_stream(max(made.answers), 8)
            made.exchange()
        else:
            made.session.close()
        node.finish()
        assert node.calls(PUT)[Code.CANCELLED] == before + 1
    assert nodes.pairs(node.engine, NATIVE)[way.encode()] == b"v"


def test_a_failure_of_storage_is_told(node: Node) -> None:
    with peer(node.sink) as made:
        answer = node.send(made, PutRequest(table=NATIVE, key=b"k", value=b"v"))
        node.group().proposed[-1].fail(Internal("disk gone: the write may still take effect"))
        made.exchange()
        assert answer.status == Code.INTERNAL
        assert answer.message == b"disk gone: the write may still take effect"
        node.finish()
        made.exchange()
        assert not answer.messages


def test_writes_in_flight_count_as_begun(node: Node) -> None:
    methods = methods_of([node.kv])
    before = totals(methods[PUT], [node.sink.calls])
    with peer(node.sink) as made:
        node.send(made, PutRequest(table=NATIVE, key=b"k", value=b"v"))
        during = totals(methods[PUT], [node.sink.calls])
        assert during.started == before.started + 1
        assert during.handled == before.handled
        node.finish()
        after = totals(methods[PUT], [node.sink.calls])
    assert after.started == before.started + 1
    assert after.handled[Code.OK] == before.handled[Code.OK] + 1
    assert after.cumulated[-1] == before.cumulated[-1] + 1
