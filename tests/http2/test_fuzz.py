"""Any split of the same bytes gives the same answers; no bytes at all do harm."""

from types import ModuleType

from h2peer import Answer
from h2peer import Peer
from h2peer import frame
from h2peer import http_headers
from h2peer import peer
from h2peer import request_headers
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from regatta.http2 import Call
from regatta.http2 import Session
from regatta.http2 import live_streams

ECHO = request_headers(b"/test/Echo")
relaxed = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)

small = st.binary(max_size=40)
orders = [b"!decline", b"!error", b"!lateranswer", b"!later!decline", b"!later!error"]
message = st.one_of(small, st.sampled_from(orders), st.just(70_000).map(bytes))
request = st.fixed_dictionaries(
    {
        "kind": st.sampled_from(["sink", "python", "plain"]),
        "messages": st.lists(message, max_size=3),
        "flags": st.sampled_from([0, 0, 0, 0, 1, 7]),
        "cut": st.sampled_from([0, 0, 0, 1, 6]),
        "timeout": st.sampled_from([b"", b"", b"1S", b"x"]),
        "cancelled": st.booleans(),
    }
)


def answer_with_what_came(call: Call) -> None:
    def go_on() -> None:
        if call.is_grpc:
            while (message := call.next_message()) is not None:
                call.send_message(message)
            if call.ended:
                call.finish(3, "ended", [(b"x-more", b"yes")])
        elif call.ended and not call.cancelled:
            call.respond(200, [(b"content-type", b"text/plain")], call.take_body())

    call.listener = go_on
    go_on()


def start(p: Peer, request: dict) -> bytes:
    """Make a request, and cancel it if so ordered; return the client's bytes up to there."""
    body = b"".join(frame(message, request["flags"]) for message in request["messages"])
    body = body[: len(body) - request["cut"]]
    headers = http_headers(b"POST", b"/v1/kv/put")
    if request["kind"] != "plain":
        headers = ECHO if request["kind"] == "sink" else request_headers()
    if request["kind"] != "plain" and request["timeout"]:
        headers = [*headers, (b"grpc-timeout", request["timeout"])]
    stream = p.send(body, headers)
    sent = p.client.data_to_send()
    if request["cancelled"]:
        p.client.reset_stream(stream)
    return sent


def start_all(p: Peer, requests: list[dict]) -> bytes:
    return b"".join([start(p, request) for request in requests]) + p.client.data_to_send()


def play(sink: object, requests: list[dict], piece_bytes: list[int]) -> dict[int, Answer]:
    """Send all requests with the client's bytes cut into pieces of the given sizes, in turn."""
    with peer(sink, answer_with_what_came) as p:
        data = start_all(p, requests)
        turn = 0
        while data:
            while data:
                size = piece_bytes[turn % len(piece_bytes)]
                turn += 1
                p.session.receive(data[:size])
                data = data[size:]
            while output := p.session.output(piece_bytes[0] * 100):
                p.client.receive_data(output)
            data = p.client.data_to_send()
        p.note_events()
        assert p.session.call_count == 0
        return p.answers


def comparable(answers: dict[int, Answer], requests: list[dict]) -> list[object]:
    """What must not depend on timing.

    A cancelled call may or may not have been answered before. One that goes wrong may or may not
    have had its first messages answered before that.
    """
    found: list[object] = []
    for answer, request in zip(answers.values(), requests, strict=True):
        if request["flags"] or request["cut"]:
            found.append(None if request["cancelled"] else answer.closed)
        elif not request["cancelled"]:
            found.append(answer)
    return found


@relaxed
@given(
    requests=st.lists(request, min_size=1, max_size=6),
    piece_bytes=st.lists(st.integers(1, 300), min_size=1, max_size=8),
)
def test_answers_do_not_depend_on_how_the_bytes_come(
    echo: ModuleType, requests: list[dict], piece_bytes: list[int]
) -> None:
    whole = play(echo.Echo(), requests, [1 << 20])
    split = play(echo.Echo(), requests, piece_bytes)
    assert comparable(split, requests) == comparable(whole, requests)


def recorded(requests: list[dict]) -> bytearray:
    p = Peer()
    data = start_all(p, requests)
    p.session.close()
    return bytearray(data)


def survive(sink: object, data: bytes) -> None:
    """Feed *data*, answer what comes of it, and check that nothing is left."""
    before = live_streams()
    session = Session(sink, answer_with_what_came, lambda: None)
    for offset in range(0, len(data), 777):
        session.receive(data[offset : offset + 777])
        while session.output(5000):
            pass
    session.close()
    assert live_streams() == before


@relaxed
@given(
    requests=st.lists(request, min_size=1, max_size=4),
    changes=st.lists(st.tuples(st.integers(0, 1 << 16), st.integers(0, 255)), max_size=12),
    cut=st.one_of(st.none(), st.integers(24, 3000)),
)
def test_changed_bytes_do_no_harm(
    echo: ModuleType, requests: list[dict], changes: list[tuple[int, int]], cut: int | None
) -> None:
    data = recorded(requests)
    for place, byte in changes:
        data[24 + place % (len(data) - 24)] = byte  # the preface stays
    survive(echo.Echo(), bytes(data[:cut]))


preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0"
any_frame = st.builds(
    lambda kind, flags, stream, payload: (
        len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload
    ),
    st.integers(0, 12),
    st.integers(0, 255),
    st.sampled_from([0, 1, 1, 3, 5, 2, 2**31 - 1]),
    st.one_of(
        st.binary(max_size=60), st.sampled_from([bytes(4), bytes(8), b"\x82\x87\x84\x41\x00"])
    ),
)


@relaxed
@given(frames=st.lists(any_frame, max_size=20))
def test_frames_of_any_kind_do_no_harm(echo: ModuleType, frames: list[bytes]) -> None:
    survive(echo.Echo(), preface + b"".join(frames))


@relaxed
@given(data=st.binary(max_size=200))
def test_bytes_of_any_kind_do_no_harm(echo: ModuleType, data: bytes) -> None:
    survive(echo.Echo(), data)


def test_calls_cancelled_at_every_point_leave_nothing(echo: ModuleType) -> None:
    p = Peer()
    p.send(frame(b"one"), ECHO)
    p.send(frame(b"two") + frame(b"three"))
    p.send(b"body", http_headers(b"POST", b"/v1/kv/put"))
    data = p.client.data_to_send()
    p.session.close()
    for size in range(len(data)):
        survive(echo.Echo(), data[:size])
