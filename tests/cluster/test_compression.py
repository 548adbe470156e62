"""Clients that compress: every kind of call, large pages, and what is refused."""

import gzip
from collections.abc import Callable, Iterator

import cramjam
import grpc
import pytest

from regatta.pb.regatta_pb2 import PutRequest
from regatta.pb.regatta_pb2 import RangeRequest
from regatta.pb.regatta_pb2 import RangeResponse
from tests.cluster.harness import Daemon
from tests.cluster.tables import CALL_TIMEOUT_S
from tests.cluster.tables import ZERO
from tests.cluster.tables import Table
from tests.cluster.test_bad_input import H2
from tests.cluster.test_bad_input import frame

CODINGS: dict[str, tuple[Callable[[bytes], bytes], Callable[[bytes], bytes]]] = {
    "gzip": (gzip.compress, gzip.decompress),
    "snappy": (
        lambda data: bytes(cramjam.snappy.compress(data)),
        lambda data: bytes(cramjam.snappy.decompress(data)),
    ),
    "zstd": (
        lambda data: bytes(cramjam.zstd.compress(data)),
        lambda data: bytes(cramjam.zstd.decompress(data)),
    ),
}
SMALL, LARGE = b"value", b"a line of text; " * 128


@pytest.fixture(scope="module")
def h2(shared_daemon: Daemon) -> H2:
    return H2(shared_daemon)


@pytest.fixture(scope="module")
def table(calls: object) -> Table:
    made = Table(calls, b"compressed")  # type: ignore[arg-type]
    made.put(b"small", SMALL)
    for number in range(600):
        made.put(b"large-%04d" % number, LARGE)
    return made


def messages_of(body: bytes) -> Iterator[tuple[int, bytes]]:
    while body:
        size = int.from_bytes(body[1:5], "big")
        yield body[0], body[5 : 5 + size]
        body = body[5 + size :]


@pytest.mark.parametrize("coding", CODINGS)
def test_all_calls_are_answered_in_the_encoding_that_they_came_in(
    h2: H2, table: Table, coding: str
) -> None:
    pack, unpack = CODINGS[coding]

    def ask(method: str, request: bytes) -> tuple[dict[str, str], list[tuple[int, RangeResponse]]]:
        headers, body = h2.ask(
            f"/regatta.v1.KV/{method}", frame(pack(request), flag=1), coding=coding
        )
        assert headers["grpc-status"] == "0", headers
        return headers, [
            (flag, RangeResponse.FromString(unpack(message) if flag else message))
            for flag, message in messages_of(body)
        ]

    put = PutRequest(table=table.name, key=coding.encode(), value=SMALL)
    ask("Put", put.SerializeToString())
    single = RangeRequest(table=table.name, key=coding.encode()).SerializeToString()
    ((flag, answer),) = ask("Range", single)[1]
    assert (flag, answer.kvs[0].value) == (0, SMALL)
    # Of a stretch, packed at once; of a page, in a thread; of several pages.
    for limit, method in ((10, "Range"), (100, "Range"), (600, "Range"), (0, "IterateRange")):
        request = RangeRequest(table=table.name, key=b"large-", range_end=b"large.", limit=limit)
        headers, answers = ask(method, request.SerializeToString())
        assert headers["grpc-encoding"] == coding
        assert {flag for flag, _ in answers} == {1}
        pairs = [pair for _, answer in answers for pair in answer.kvs]
        assert len(pairs) == (limit or 600)
        assert {pair.value for pair in pairs} == {LARGE}


def test_the_gzip_of_the_grpc_library(shared_daemon: Daemon, table: Table) -> None:
    with shared_daemon.channel(compression=grpc.Compression.Gzip) as channel:
        read = channel.unary_unary(
            "/regatta.v1.KV/Range",
            request_serializer=RangeRequest.SerializeToString,
            response_deserializer=RangeResponse.FromString,
        )
        request = RangeRequest(table=table.name, key=b"large-", range_end=b"large.")
        assert len(read(request, timeout=CALL_TIMEOUT_S).kvs) == 600
        request = RangeRequest(table=table.name, key=b"small")
        assert read(request, timeout=CALL_TIMEOUT_S).kvs[0].value == SMALL
        iterate = channel.unary_stream(
            "/regatta.v1.KV/IterateRange",
            request_serializer=RangeRequest.SerializeToString,
            response_deserializer=RangeResponse.FromString,
        )
        request = RangeRequest(table=table.name, key=ZERO, range_end=ZERO)
        pages = list(iterate(request, timeout=CALL_TIMEOUT_S))
        assert sum(page.count for page in pages) >= 601


@pytest.mark.parametrize("method", ["Range", "Put", "IterateRange"])
@pytest.mark.parametrize("coding", CODINGS)
def test_bombs_and_damage_end_their_call_alone(h2: H2, method: str, coding: str) -> None:
    pack, _ = CODINGS[coding]
    path = f"/regatta.v1.KV/{method}"
    headers, _ = h2.ask(path, frame(pack(bytes(64 << 20)), flag=1), coding=coding)
    assert headers["grpc-status"] == "8"
    assert "after decompression larger than max" in headers["grpc-message"]
    headers, _ = h2.ask(path, frame(pack(bytes(999))[:-1], flag=1), coding=coding)
    assert headers["grpc-status"] == "13"
    assert f"not well-formed {coding}" in headers["grpc-message"]
    headers, _ = h2.ask(path, frame(b"", flag=0), coding=coding)
    assert (headers["grpc-status"], headers["grpc-message"]) == ("3", "table must be set")


def test_an_unknown_encoding_names_the_known(h2: H2) -> None:
    headers, _ = h2.ask("/regatta.v1.KV/Range", frame(b"x", flag=1), coding="deflate")
    assert headers["grpc-status"] == "12"
    assert headers["grpc-accept-encoding"] == "identity,gzip,snappy,zstd"
