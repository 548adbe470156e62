"""Native ranges against what the handlers in Python answer, byte by byte."""

import asyncio
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regatta import limits
from regatta.api.context import Context
from regatta.api.kv import KV
from regatta.engine import Engine
from regatta.errors import Code
from regatta.errors import RegattaError
from regatta.pb.mvcc_pb2 import Command
from regatta.pb.mvcc_pb2 import KeyValue
from regatta.pb.regatta_pb2 import RangeRequest
from regatta.pb.regatta_pb2 import RangeResponse
from tests.http2.h2peer import Answer
from tests.http2.h2peer import Peer
from tests.http2.h2peer import frame
from tests.http2.h2peer import peer
from tests.http2.h2peer import request_headers
from tests.table import nodes

RANGE = "/regatta.v1.KV/Range"
ITERATE = "/regatta.v1.KV/IterateRange"
EVERYTHING = {"key": b"\0", "range_end": b"\0"}


class Node:
    """An engine in a loop of its own, asked natively and through the handlers."""

    def __init__(self, engine: Engine, runner: asyncio.Runner) -> None:
        self.engine = engine
        self.runner = runner
        self.kv = KV(engine)
        self.sink = engine.range_sink()
        self.tables = 0
        self.declined: set[tuple[str, bytes | None]] = set()  # of the last batch

    def fill(self, *batches: dict[bytes, bytes]) -> bytes:
        """Make a table between two others; each batch has a revision of its own."""
        self.tables += 1
        name = b"table %d" % self.tables
        commands = [
            Command(
                type=Command.PUT_BATCH,
                batch=[KeyValue(key=key, value=value) for key, value in batch.items()],
            )
            for batch in batches
        ]
        neighbour = Command(type=Command.PUT, kv=KeyValue(key=b"a", value=b"neighbour"))
        self.runner.run(nodes.write(self.engine, neighbour, table=b"before"))
        self.runner.run(nodes.write(self.engine, *commands, table=name))
        self.runner.run(nodes.write(self.engine, neighbour, table=b"after %d" % self.tables))
        return name

    async def _handled(self, path: str, request: RangeRequest) -> list[bytes]:
        context = Context([], "", None)
        if path == RANGE:
            return [await self.kv.range(request, context)]
        return [page async for page in self.kv.iterate_range(request, context)]

    def handled(self, path: str, request: RangeRequest) -> list[bytes]:
        """Return the messages of the handler in Python."""
        return self.runner.run(self._handled(path, request))

    def handled_or_error(self, path: str, request: RangeRequest) -> list[bytes] | RegattaError:
        """Return what the handler answers or raises."""
        try:
            return self.handled(path, request)
        except RegattaError as error:
            return error

    def ask(self, *requests: tuple[str, RangeRequest]) -> Peer:
        """Send requests in one batch; what was declined is in the peer's calls and in declined."""
        with peer(self.sink) as made:
            for path, request in requests:
                made.send(frame(request.SerializeToString()), request_headers(path.encode()))
            made.exchange()
            self.declined = {(call.path.decode(), call.next_message()) for call in made.calls}
            return made


def native(node: Node, path: str, request: RangeRequest) -> Answer | None:
    """Return the native answer, or None for a request that was declined."""
    made = node.ask((path, request))
    (answer,) = made.answers.values()
    return None if made.calls else answer


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    with asyncio.Runner() as runner:
        manager = nodes.engine_in(tmp_path_factory.mktemp("ranges"), node=7)
        engine = runner.run(manager.__aenter__())
        yield Node(engine, runner)
        runner.run(manager.__aexit__(None, None, None))


keys = st.one_of(
    st.sampled_from([b"\0", b"\0\0", b"a", b"b", b"\xff", b"\xff\xff", b"k" * 1024]),
    st.binary(min_size=1, max_size=3),
)
tables = st.lists(
    st.dictionaries(keys, st.sampled_from([b"", b"v", b"v" * 300]), max_size=12),
    min_size=1,
    max_size=4,
)
revisions = st.sampled_from([0, 0, 0, 2, 3, 4, 2**62, -1])
requests = st.builds(
    RangeRequest,
    key=st.one_of(keys, keys, st.sampled_from([b"", b"k" * 1025])),
    range_end=st.one_of(keys, st.sampled_from([b"", b"\0", b"\0", b"k" * 1025])),
    limit=st.sampled_from([0, 0, 0, 1, 2, 3, 8, 2**62, -1]),
    linearizable=st.booleans(),
    keys_only=st.sampled_from([False, False, True]),
    count_only=st.sampled_from([False, False, True]),
    min_mod_revision=revisions,
    max_mod_revision=revisions,
    min_create_revision=revisions,
    max_create_revision=revisions,
)


@settings(max_examples=120, deadline=None)
@given(tables, st.lists(requests, min_size=5, max_size=25), st.booleans())
def test_native_answers_are_those_of_the_handlers(
    node: Node, batches: list[dict[bytes, bytes]], asked: list[RangeRequest], known: bool
) -> None:
    name = node.fill(*batches) if known else b"none of that name"
    for request in asked:
        request.table = name
    calls = [(path, request) for request in asked for path in (RANGE, ITERATE)]
    made = node.ask(*calls)
    for (path, request), answer in zip(calls, made.answers.values(), strict=True):
        declined = (path, request.SerializeToString()) in node.declined
        expected = node.handled_or_error(path, request)
        if isinstance(expected, RegattaError):
            # Only one error is told natively, and none in its place.
            assert declined or expected.code is Code.NOT_FOUND
            assert declined or (answer.status, answer.message) == (
                Code.NOT_FOUND,
                str(expected).encode(),
            )
            continue
        assert not declined
        assert answer.status == 0
        assert answer.messages == expected


@settings(max_examples=20, deadline=None)
@given(requests)
def test_what_is_wrong_with_a_request_is_left_to_the_router(
    node: Node, request: RangeRequest
) -> None:
    request.table = b"none of that name"
    answer = native(node, RANGE, request)
    error = node.handled_or_error(RANGE, request)
    assert isinstance(error, RegattaError)
    assert error.code in (Code.NOT_FOUND, Code.INVALID_ARGUMENT)
    too_long = max(len(request.key), len(request.range_end)) > limits.key_bytes_max
    assert (answer is None) == (error.code is Code.INVALID_ARGUMENT or too_long)


def numbered(count: int, value: bytes = b"value") -> dict[bytes, bytes]:
    return {b"%06d" % number: value for number in range(count)}


@pytest.fixture(scope="module")
def thousand(node: Node) -> bytes:
    return node.fill(numbered(limits.stretch_pairs_max))


@pytest.fixture(scope="module")
def many(node: Node) -> bytes:
    return node.fill(numbered(limits.stretch_pairs_max + 1))


@pytest.mark.parametrize("path", [RANGE, ITERATE])
@pytest.mark.parametrize("options", [{}, {"keys_only": True}, {"count_only": True}])
def test_a_stretch_of_pairs_and_one_more_is_native(
    node: Node, thousand: bytes, many: bytes, path: str, options: dict[str, bool]
) -> None:
    everything = RangeRequest(table=thousand, **EVERYTHING, **options)
    answer = native(node, path, everything)
    assert answer is not None
    assert answer.messages == node.handled(path, everything)
    everything.table = many
    answer = native(node, path, everything)
    expected = RangeResponse.FromString(node.handled(path, everything)[0])
    assert expected.count == limits.stretch_pairs_max + 1
    # One pair more is looked at, so that a limit can tell that there is more.
    assert answer is not None
    everything.limit = limits.stretch_pairs_max
    answer = native(node, path, everything)
    assert answer is not None
    assert RangeResponse.FromString(answer.messages[0]).more == (path == RANGE)
    assert answer.messages == node.handled(path, everything)


def test_pairs_that_a_filter_leaves_out_are_work_too(node: Node) -> None:
    name = node.fill(numbered(limits.stretch_pairs_max + 2))
    request = RangeRequest(table=name, **EVERYTHING, min_mod_revision=2**60)
    assert native(node, RANGE, request) is None
    assert native(node, RANGE, RangeRequest(table=name, **EVERYTHING)) is None
    assert native(node, RANGE, RangeRequest(table=name, **EVERYTHING, count_only=True)) is None


@pytest.mark.parametrize("options", [{}, {"keys_only": True}, {"max_mod_revision": 1}])
def test_more_bytes_than_a_call_may_read_are_left_to_the_router(
    node: Node, options: dict[str, int]
) -> None:
    size = limits.native_call_bytes_max // 4
    for pairs, is_native in ((3, True), (5, False)):
        name = node.fill(numbered(pairs, bytes(size)))
        request = RangeRequest(table=name, **EVERYTHING, **options)
        answer = native(node, RANGE, request)
        assert (answer is not None) == is_native
        if answer is not None:
            assert answer.messages == node.handled(RANGE, request)
        # Counting reads none of them.
        request = RangeRequest(table=name, **EVERYTHING, count_only=True)
        assert native(node, RANGE, request) is not None
        request = RangeRequest(table=name, **EVERYTHING, limit=1)
        assert native(node, RANGE, request) is not None


@pytest.mark.parametrize("path", [RANGE, ITERATE])
def test_a_batch_looks_at_so_many_pairs_and_the_next_one_again(
    node: Node, thousand: bytes, path: str
) -> None:
    request = RangeRequest(table=thousand, **EVERYTHING)
    fitting = limits.native_batch_pairs_max // limits.stretch_pairs_max
    for _ in range(2):
        assert not node.ask(*[(path, request)] * fitting).calls
        assert len(node.ask(*[(path, request)] * (fitting + 3)).calls) == 3


def test_a_batch_reads_so_many_bytes_and_single_keys_go_on(node: Node) -> None:
    size = limits.native_call_bytes_max // 4
    name = node.fill(numbered(3, bytes(size)))
    request = (RANGE, RangeRequest(table=name, **EVERYTHING))
    single = (RANGE, RangeRequest(table=name, key=b"%06d" % 1))
    fitting = limits.native_batch_bytes_max // (3 * (size + 20))
    made = node.ask(*[request] * (fitting + 5), single, single)
    assert 4 <= len(made.calls) <= 5
    assert [answer.status for answer in list(made.answers.values())[-2:]] == [0, 0]


def test_a_batch_puts_out_so_many_bytes_of_keys(node: Node) -> None:
    pairs = {b"%01024d" % number: b"" for number in range(100)}
    request = (RANGE, RangeRequest(table=node.fill(pairs), **EVERYTHING, keys_only=True))
    made = node.ask(*[request] * 40)
    put_out = sum(len(answer.body) for answer in made.answers.values())
    assert limits.native_batch_bytes_max * 0.9 < put_out < limits.native_batch_bytes_max * 1.1


def test_a_snapshot_that_ends_takes_no_cursor_with_it(node: Node) -> None:
    """Ranges in one batch share a cursor, and the next batch sees the writes in between."""
    name = node.fill({b"a": b"1", b"b": b"2"})
    request = RangeRequest(table=name, **EVERYTHING)
    for number in range(50):
        made = node.ask(*[(RANGE, request)] * 3)
        for answer in made.answers.values():
            kvs = RangeResponse.FromString(answer.messages[0]).kvs
            assert len(kvs) == 2 + number
        node.runner.run(nodes.write(node.engine, nodes.put(b"k%03d" % number), table=name))


def test_a_batch_may_ask_for_more_keys_than_are_looked_for_side_by_side(node: Node) -> None:
    pairs = {b"%04d" % number * (1 + number % 40): b"%d" % number for number in range(400)}
    name = node.fill(pairs | {b"large": b"v" * 10_000})
    asked = [*pairs, b"none", *[key + b"0" for key in pairs], b"large"]
    with peer(node.sink) as made:
        made.exchange()  # so that the client knows how many calls may run
        for key in asked:
            body = frame(RangeRequest(table=name, key=key).SerializeToString())
            made.send(body, request_headers(RANGE.encode()))
        made.session.receive(made.client.data_to_send())
        made.exchange()
    for key, answer in zip(asked, made.answers.values(), strict=True):
        [message] = answer.messages
        expected = [pairs[key]] if key in pairs else [b"v" * 10_000] if key == b"large" else []
        assert [pair.value for pair in RangeResponse.FromString(message).kvs] == expected


def test_calls_are_counted_by_method_and_code(node: Node) -> None:
    name = node.fill({b"a": b"1"})
    before = {path: calls.handled for path, calls in node.sink.calls.items()}
    good, missing = RangeRequest(table=name, **EVERYTHING), RangeRequest(table=b"no", key=b"a")
    node.ask((RANGE, good), (ITERATE, good), (ITERATE, missing), (ITERATE, good))
    node.ask((RANGE, RangeRequest(table=name, key=b"a", limit=-1)))
    grown = {
        path: [now - then for now, then in zip(calls.handled, before[path], strict=True)]
        for path, calls in node.sink.calls.items()
    }
    assert (grown[RANGE][Code.OK], sum(grown[RANGE])) == (1, 1)
    assert (grown[ITERATE][Code.OK], grown[ITERATE][Code.NOT_FOUND]) == (2, 1)
    assert sum(grown[ITERATE]) == 3
    for calls in node.sink.calls.values():
        assert calls.time.cumulated()[-1] == sum(calls.handled)
