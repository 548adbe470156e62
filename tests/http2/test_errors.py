"""Requests that are wrong: each gets the answer that the gRPC or HTTP specification names."""

import re
from types import ModuleType
from urllib.parse import unquote_to_bytes

import ngh2
import pytest
from h2peer import Headers
from h2peer import frame
from h2peer import http_headers
from h2peer import peer
from h2peer import request_headers

from regatta.http2 import Call
from regatta.http2 import Session
from regatta.limits import request_bytes_max
from regatta.limits import rest_body_bytes_max

ECHO = request_headers(b"/test/Echo")
PATHS = [b"/test/Echo", b"/test/Call"]


def with_header(name: bytes, value: bytes, path: bytes = b"/test/Echo") -> Headers:
    rest = [pair for pair in request_headers(path) if pair[0] != name]
    return [*rest, (name, value)]


@pytest.mark.parametrize("path", PATHS)
def test_message_over_the_limit_is_refused_by_its_prefix(echo: ModuleType, path: bytes) -> None:
    with peer(echo.Echo()) as p:
        size = request_bytes_max + 1
        stream = p.send(b"\0" + size.to_bytes(4, "big"), request_headers(path), end=False)
        p.exchange()
        answer = p.answers[stream]
        assert answer.status == 8
        assert answer.message == b"grpc: received message larger than max (4194305 vs. 4194304)"
        assert answer.closed
        assert all(call.cancelled for call in p.calls)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("body", [b"\0", b"\0\0\0\0", frame(b"hello")[:-1], frame(b"a") + b"\0"])
def test_request_that_ends_inside_a_message_is_internal(
    echo: ModuleType, path: bytes, body: bytes
) -> None:
    with peer(echo.Echo()) as p:
        answer = p.ask(body, request_headers(path))
        if p.calls and not answer.headers:
            p.calls[0].finish(0)
            p.exchange()
        assert (answer.status, answer.message) == (13, b"the request ended inside a message")


@pytest.mark.parametrize("path", PATHS)
def test_unknown_message_flags_are_internal(echo: ModuleType, path: bytes) -> None:
    with peer(echo.Echo()) as p:
        answer = p.ask(frame(b"x", flags=2), request_headers(path))
        assert (answer.status, answer.message) == (13, b"a message's flags are neither 0 nor 1")


@pytest.mark.parametrize("timeout", [b"S", b"1", b"1x", b"-1S", b"1.5S", b"123456789S", b"1 S"])
def test_malformed_timeout_is_internal(echo: ModuleType, timeout: bytes) -> None:
    with peer(echo.Echo()) as p:
        answer = p.ask(frame(b"x"), [*ECHO, (b"grpc-timeout", timeout)])
        assert (answer.status, answer.message) == (13, b"malformed grpc-timeout")


@pytest.mark.parametrize(
    ("timeout", "timeout_ns"),
    [
        (b"99999999H", 2**63 - 1),
        (b"2H", 7_200_000_000_000),
        (b"3M", 180_000_000_000),
        (b"1S", 1_000_000_000),
        (b"20m", 20_000_000),
        (b"20u", 20_000),
        (b"20n", 20),
        (b"0S", 0),
    ],
)
def test_timeout_is_read_in_every_unit(timeout: bytes, timeout_ns: int) -> None:
    with peer() as p:
        p.send(frame(b"x"), request_headers(b"/test/Call", (b"grpc-timeout", timeout)))
        p.exchange()
        assert p.calls[0].timeout_ns == timeout_ns


def test_grpc_is_only_spoken_over_post(echo: ModuleType) -> None:
    with peer(echo.Echo()) as p:
        answer = p.ask(frame(b"x"), with_header(b":method", b"GET")[-1:] + ECHO[1:])
        assert answer.headers[b":status"] == b"405"
        assert answer.status == 13


@pytest.mark.parametrize(
    ("content_type", "status"),
    [
        (b"application/grpc", b"200"),
        (b"application/grpc+proto", b"200"),
        (b"application/grpc;charset=utf-8", b"200"),
        (b"application/grpc+proto; a=b", b"200"),
        (b"application/grpc+json", b"415"),
        (b"application/grpc-web", b"415"),
        (b"application/grpc-web+proto", b"415"),
        (b"application/grpcx", b"415"),
    ],
)
def test_content_type_chooses(echo: ModuleType, content_type: bytes, status: bytes) -> None:
    with peer(echo.Echo()) as p:
        answer = p.ask(frame(b"x"), with_header(b"content-type", content_type))
        assert answer.headers[b":status"] == status
        assert p.calls == []


@pytest.mark.parametrize("content_type", [b"application/json", b"application/grp", b"text/plain"])
def test_other_content_types_are_plain_http(echo: ModuleType, content_type: bytes) -> None:
    with peer(echo.Echo()) as p:
        p.ask(b"x", with_header(b"content-type", content_type))
        assert not p.calls[0].is_grpc


@pytest.mark.parametrize("headers", [ECHO, http_headers(b"POST", b"/v1/kv/range")])
def test_headers_over_the_limit_are_431(echo: ModuleType, headers: Headers) -> None:
    with peer(echo.Echo()) as p:
        large = [(b"x-%d" % n, b"v" * 4000) for n in range(17)]
        stream = p.send(b"", [*headers, *large])
        p.exchange()
        assert p.answers[stream].headers[b":status"] == b"431"
        assert p.calls == []
        # The connection goes on, and headers under the limit are no matter.
        stream = p.send(frame(b"x"), [*ECHO, *large[:15]])
        p.exchange()
        assert p.answers[stream].status == 0


def test_announced_body_over_the_limit_is_413_at_once() -> None:
    with peer() as p:
        length = b"%d" % (rest_body_bytes_max + 1)
        stream = p.send(
            b"x", http_headers(b"POST", b"/v1/kv/put", (b"content-length", length)), end=False
        )
        p.exchange()
        assert p.answers[stream].headers[b":status"] == b"413"
        assert p.answers[stream].body == b"Request Entity Too Large\n"
        assert p.calls == []


def test_body_over_the_limit_is_413_when_it_gets_there() -> None:
    with peer() as p:
        stream = p.send(b"x" * rest_body_bytes_max, http_headers(b"POST", b"/put"), end=False)
        p.exchange()
        (call,) = p.calls
        assert not call.cancelled
        p.client.send_data(stream, b"x" * 1000, end_stream=True)
        p.exchange()
        assert call.cancelled
        assert p.answers[stream].headers[b":status"] == b"413"
        assert p.answers[stream].closed


def test_sender_of_an_endless_body_is_reset() -> None:
    with peer() as p:
        stream = p.send(b"x" * (3 * rest_body_bytes_max), http_headers(b"POST", b"/put"), end=False)
        p.exchange()
        assert p.answers[stream].headers[b":status"] == b"413"
        assert p.answers[stream].reset_code == ngh2.ErrorCode.NO_ERROR


def test_body_that_belies_its_length_is_reset() -> None:
    with peer() as p:
        stream = p.send(b"1234", http_headers(b"POST", b"/put", (b"content-length", b"3")))
        p.exchange()
        assert p.answers[stream].reset_code == ngh2.ErrorCode.PROTOCOL_ERROR


def test_error_after_messages_goes_into_the_trailers() -> None:
    with peer() as p:
        stream = p.send(frame(b"one"), end=False)
        p.exchange()
        (call,) = p.calls
        call.send_message(b"answer")
        p.client.send_data(stream, b"\7\0\0\0\0")
        p.exchange()
        answer = p.answers[stream]
        assert answer.messages == [b"answer"]
        assert answer.trailers[b"grpc-status"] == b"13"
        assert call.cancelled


def test_bytes_that_are_no_http2_finish_the_session() -> None:
    session = Session(None, lambda call: None, lambda: None)
    session.receive(b"GET / HTTP/1.1\r\n\r\n" + b"x" * 100)
    assert session.finished
    session.close()


def test_malformed_frame_ends_in_goaway() -> None:
    with peer() as p:
        p.send(frame(b"x"))
        p.exchange()
        p.session.receive(b"\0\0\3\4\0\0\0\0\0abc")  # SETTINGS of three bytes
        p.exchange()
        (goaway,) = [event for event in p.events if isinstance(event, ngh2.GoAwayReceived)]
        assert goaway.error_code == ngh2.ErrorCode.FRAME_SIZE_ERROR
        assert p.session.finished


def test_streams_over_the_limit_are_refused_and_the_others_served() -> None:
    # A client that has not heard of the limit yet.
    client = ngh2.Connection(ngh2.Role.CLIENT, ngh2.Configuration(peer_max_concurrent_streams=2000))
    calls: list[Call] = []
    session = Session(None, calls.append, lambda: None)
    client.initiate_connection()
    for _ in range(1100):
        client.send_request(request_headers())
    session.receive(client.data_to_send())
    assert session.call_count == len(calls) == 1000
    while output := session.output(1 << 20):
        client.receive_data(output)
    resets = [event for event in client.events() if isinstance(event, ngh2.StreamReset)]
    assert [event.error_code for event in resets] == [ngh2.ErrorCode.REFUSED_STREAM] * 100
    session.close()


def test_thousands_of_cancelled_calls_are_no_attack(echo: ModuleType) -> None:
    with peer(echo.Echo()) as p:
        for _ in range(50):
            for stream in [p.send(frame(b"x"), end=False) for _ in range(100)]:
                p.client.reset_stream(stream)
            p.exchange()
        assert p.ask(frame(b"still here"), ECHO).messages == [b"still here"]
        assert p.session.call_count == 0


def test_drain_lets_calls_finish_and_then_ends() -> None:
    with peer() as p:
        stream = p.send(frame(b"x"))
        p.exchange()
        p.session.start_drain()
        p.exchange()
        goaways = [event for event in p.events if isinstance(event, ngh2.GoAwayReceived)]
        assert [event.last_stream_id for event in goaways] == [2**31 - 1, stream]
        assert not p.session.finished
        p.calls[0].send_message(b"answer")
        p.calls[0].finish()
        p.exchange()
        assert p.answers[stream].messages == [b"answer"]
        assert p.session.finished


def test_drain_of_an_idle_session_ends_it() -> None:
    with peer() as p:
        p.exchange()
        p.session.start_drain()
        p.session.start_drain()
        p.session.receive(p.client.data_to_send() or b"")
        p.client.receive_data(p.session.output(1000))
        assert not p.client.want_read
        p.session.receive(b"\0\0\x08\6\1" + bytes(12))  # the ping's acknowledgement
        assert p.session.output(1000)
        assert p.session.finished


@pytest.mark.parametrize("unit", [b"H", b"M", b"S", b"m", b"u", b"n"])
@pytest.mark.parametrize("digits", [b"1", b"0", b"00000007", b"12345678", b"99999999"])
def test_timeout_of_every_length_and_unit_is_read(unit: bytes, digits: bytes) -> None:
    units_ns = {b"H": 3600 * 10**9, b"M": 60 * 10**9, b"S": 10**9, b"m": 10**6, b"u": 1000, b"n": 1}
    with peer() as p:
        p.send(frame(b"x"), request_headers(b"/test/Call", (b"grpc-timeout", digits + unit)))
        p.exchange()
        assert p.calls[0].timeout_ns == min(int(digits) * units_ns[unit], 2**63 - 1)


malformed = [b"1h", b"1s", b"1N", b"1ms", b"+1S", b"0x1S", b"1_0S", b"H", b"100000000n", b"1\xb2S"]


@pytest.mark.parametrize("timeout", malformed)
@pytest.mark.parametrize("path", PATHS)
def test_malformed_timeout_is_trailers_only_and_reaches_nobody(
    echo: ModuleType, path: bytes, timeout: bytes
) -> None:
    with peer(echo.Echo()) as p:
        answer = p.ask(frame(b"x"), request_headers(path, (b"grpc-timeout", timeout)))
        assert answer.headers == {
            b":status": b"200",
            b"content-type": b"application/grpc",
            b"grpc-status": b"13",
            b"grpc-message": b"malformed grpc-timeout",
        }
        assert (answer.body, answer.trailers, p.calls) == (b"", {}, [])


def percent_decoded(text: bytes) -> str:
    return unquote_to_bytes(text).decode()


texts = [
    "".join(map(chr, range(256))),
    "100 % sure %25 %",
    "\0\r\n\t\x1f\x7f\x80",
    "zwölf Boxkämpfer, 十二, 🚣",
    "~ }",
]


@pytest.mark.parametrize("text", texts)
def test_message_of_any_characters_is_percent_encoded(text: str) -> None:
    with peer() as p:
        for sent_before in (False, True):
            stream = p.send(frame(b"x"))
            p.exchange()
            if sent_before:
                p.calls[-1].send_message(b"one")
            p.calls[-1].finish(9, text)
            p.exchange()
            message = p.answers[stream].message
            assert percent_decoded(message) == text
            assert all(0x20 <= byte <= 0x7E for byte in message)
            # Only what has to be encoded is, in capitals.
            assert message.count(b"%") == sum(
                not 0x20 <= byte <= 0x7E or byte == 0x25 for byte in text.encode()
            )
            assert re.fullmatch(rb"([^%]|%[0-9A-F]{2})*", message)


def test_message_that_is_no_unicode_is_still_sent() -> None:
    with peer() as p:
        stream = p.send(frame(b"x"))
        p.exchange()
        p.calls[0].finish(9, "half \ud800 pair")
        p.exchange()
        assert p.answers[stream].message == b"half ? pair"


def test_header_list_far_over_the_limit_ends_the_connection(echo: ModuleType) -> None:
    with peer(echo.Echo()) as p:
        # All but the first are sent as an index into the table.
        p.send(b"", [*ECHO, *[(b"x", b"v" * 3000)] * 100])
        p.exchange()
        (goaway,) = [event for event in p.events if isinstance(event, ngh2.GoAwayReceived)]
        assert goaway.error_code == ngh2.ErrorCode.ENHANCE_YOUR_CALM
        assert p.session.finished
