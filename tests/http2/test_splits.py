"""The same request, cut at every byte, gets the same answer from the real read path."""

from pathlib import Path

import pytest
from h2peer import Answer
from h2peer import Peer
from h2peer import frame
from h2peer import http_headers
from h2peer import peer
from h2peer import request_headers

from bench import dataset
from regatta.http2 import Call
from regatta.pb.regatta_pb2 import RangeRequest
from regatta.pb.regatta_pb2 import RangeResponse
from regatta.store import View
from regatta.table._leaders import Leaders
from regatta.table._range import RangeSink

RANGE = b"/regatta.v1.KV/Range"
TIMEOUT = (b"grpc-timeout", b"5S")
found = RangeRequest(table=b"fleet", key=b"key-3").SerializeToString()
missing = RangeRequest(table=b"fleet", key=b"key-x").SerializeToString()
no_table = RangeRequest(table=b"none", key=b"key-3").SerializeToString()

REQUESTS = {
    "found": (request_headers(RANGE, TIMEOUT), frame(found)),
    "missing": (request_headers(RANGE), frame(missing)),
    "declined": (request_headers(RANGE), frame(no_table)),
    "malformed": (request_headers(RANGE), frame(b"\xff\xff")),
    "two messages": (request_headers(RANGE), frame(found) * 2),
    "no message": (request_headers(RANGE), b""),
    "cut": (request_headers(RANGE), frame(found)[:-1]),
    "bad timeout": (request_headers(RANGE, (b"grpc-timeout", b"5s")), frame(found)),
    "rest": (http_headers(b"POST", b"/v1/kv/range", (b"content-length", b"7")), b'{"a":1}'),
}


@pytest.fixture(scope="module")
def sink(tmp_path_factory: pytest.TempPathFactory) -> RangeSink:
    folder: Path = tmp_path_factory.mktemp("data")
    keys = [b"key-%d" % n for n in range(10)]
    return RangeSink(
        View(dataset.make(folder, "fleet", keys, b"value" * 20)), replica=1, leaders=Leaders()
    )


def answer(call: Call) -> None:
    """Answer what the sink declines: the messages that came, and an error."""

    def go_on() -> None:
        if not call.ended or call.cancelled:
            return
        if call.is_grpc:
            while (message := call.next_message()) is not None:
                call.send_message(message)
            call.finish(5, "not here: 100 %\n")
        else:
            call.respond(200, [(b"x-kind", b"rest")], call.take_body())

    call.listener = go_on
    go_on()


def play(sink: RangeSink, request: str, cuts: list[int]) -> Answer:
    """Send one request, its bytes from the preface on cut at *cuts*; return its answer."""
    headers, body = REQUESTS[request]
    with peer(sink, answer) as p:
        stream = p.send(body, headers)
        data = p.client.data_to_send()
        for begin, end in zip([0, *cuts], [*cuts, len(data)], strict=True):
            p.session.receive(data[begin:end])
            while output := p.session.output(1000):
                p.client.receive_data(output)
        p.exchange()
        found = p.answers[stream]
        assert found.closed
        # An error found early ends with a reset that stops the client; that depends on the cuts.
        found.reset_code = None
        return found


def size_of(request: str) -> int:
    headers, body = REQUESTS[request]
    p = Peer()
    p.send(body, headers)
    size = len(p.client.data_to_send())
    p.session.close()
    return size


@pytest.mark.parametrize("request_name", REQUESTS)
def test_cut_at_every_byte_changes_nothing(sink: RangeSink, request_name: str) -> None:
    whole = play(sink, request_name, [])
    size = size_of(request_name)
    assert size > 80
    for cut in range(1, size):
        assert play(sink, request_name, [cut]) == whole
    assert play(sink, request_name, list(range(1, size))) == whole


def test_every_pair_of_cuts_changes_nothing(sink: RangeSink) -> None:
    whole = play(sink, "found", [])
    (message,) = whole.messages
    assert RangeResponse.FromString(message).kvs[0].value == b"value" * 20
    size = size_of("found")
    for first in range(1, size - 1):
        for second in range(first + 1, size, 41):
            assert play(sink, "found", [first, second]) == whole


def test_requests_of_the_test_are_answered_as_meant(sink: RangeSink) -> None:
    statuses = {name: play(sink, name, []) for name in REQUESTS if name != "rest"}
    assert {name: found.status for name, found in statuses.items()} == {
        "found": 0,
        "missing": 0,
        "declined": 5,
        "malformed": 5,
        "two messages": 5,
        "no message": 5,
        "cut": 13,
        "bad timeout": 13,
    }
    assert statuses["two messages"].messages == [found, found]
    assert play(sink, "rest", []).body == b'{"a":1}'
