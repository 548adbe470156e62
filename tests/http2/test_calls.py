"""Calls of all kinds, answered by the sink and by Python."""

import logging
from types import ModuleType

import ngh2
import pytest
from h2peer import Peer, frame, http_headers, peer, request_headers

from regatta.http2 import Call

ECHO = request_headers(b"/test/Echo")


def test_sink_answers_a_unary_call(echo: ModuleType) -> None:
    sink = echo.Echo()
    with peer(sink) as p:
        answer = p.ask(frame(b"hello"), ECHO)
        assert answer.headers == {b":status": b"200", b"content-type": b"application/grpc"}
        assert answer.messages == [b"hello"]
        assert answer.trailers == {b"grpc-status": b"0"}
        assert answer.closed
        assert answer.reset_code is None
        assert p.calls == []
        assert sink.call_count == 1


def test_sink_is_told_the_end_of_each_batch_once(echo: ModuleType) -> None:
    sink = echo.Echo()
    with peer(sink) as p:
        p.exchange()
        for _ in range(20):
            p.send(frame(b"hello"), ECHO)
        p.exchange()
        assert (sink.call_count, sink.batch_count) == (20, 1)
        p.ask(frame(b"hello"))
        assert sink.batch_count == 1


def test_sink_answers_an_empty_message(echo: ModuleType) -> None:
    with peer(echo.Echo()) as p:
        assert p.ask(frame(b""), ECHO).messages == [b""]


def test_sink_answers_an_error_without_a_message(echo: ModuleType) -> None:
    with peer(echo.Echo()) as p:
        answer = p.ask(frame(b"!error"), ECHO)
        assert (answer.status, answer.message) == (5, b"100%25 gone")
        assert answer.body == b""
        assert answer.trailers == {}


def test_sink_that_raises_costs_one_call(echo: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    reported: list[object] = []
    monkeypatch.setattr("sys.unraisablehook", reported.append)
    with peer(echo.Echo()) as p:
        broken, whole = p.send(frame(b"!raise"), ECHO), p.send(frame(b"hello"), ECHO)
        p.exchange()
        assert (p.answers[broken].status, p.answers[broken].message) == (13, b"internal error")
        assert p.answers[whole].messages == [b"hello"]
    assert len(reported) == 1


def test_declined_call_reaches_python_complete(echo: ModuleType) -> None:
    with peer(echo.Echo()) as p:
        stream = p.send(frame(b"!decline"), ECHO)
        p.exchange()
        (call,) = p.calls
        assert call.ended
        assert call.next_message() == b"!decline"
        call.finish(12, "not here")
        p.exchange()
        assert p.answers[stream].status == 12


@pytest.mark.parametrize("body", [b"", frame(b"one") + frame(b"two")], ids=["none", "two"])
def test_sink_is_not_asked_without_exactly_one_message(echo: ModuleType, body: bytes) -> None:
    sink = echo.Echo()
    with peer(sink) as p:
        p.send(body, ECHO)
        p.exchange()
        (call,) = p.calls
        assert call.ended
        assert call.next_message() == (b"one" if body else None)
        assert call.next_message() == (b"two" if body else None)
        assert sink.call_count == 0
        call.finish(13)
        p.exchange()


def test_call_that_the_sink_does_not_want_begins_with_its_headers(echo: ModuleType) -> None:
    with peer(echo.Echo()) as p:
        p.send(end=False)
        p.send(end=False, headers=ECHO)
        p.exchange()
        assert [call.path for call in p.calls] == [b"/test/Call"]


def test_unary_call_in_python() -> None:
    with peer() as p:
        more = ((b"client-api-version", b"1"), (b"grpc-timeout", b"250m"))
        stream = p.send(frame(b"hello"), request_headers(b"/test/Call", *more))
        p.exchange()
        (call,) = p.calls
        assert (call.path, call.method, call.is_grpc) == (b"/test/Call", b"POST", True)
        assert (b"client-api-version", b"1") in call.headers
        assert not [name for name, _ in call.headers if name.startswith(b":")]
        assert call.timeout_ns == 250_000_000
        assert call.ended
        assert call.next_message() == b"hello"
        assert call.next_message() is None
        call.send_message(b"world")
        call.finish()
        p.exchange()
        answer = p.answers[stream]
        assert answer.headers == {b":status": b"200", b"content-type": b"application/grpc"}
        assert answer.messages == [b"world"]
        assert answer.trailers == {b"grpc-status": b"0"}
        assert answer.reset_code is None
        assert not call.cancelled


def test_server_stream_ends_with_status_text_and_trailers() -> None:
    with peer() as p:
        stream = p.send(frame(b"go"))
        p.exchange()
        (call,) = p.calls
        for number in range(3):
            call.send_message(b"piece %d" % number)
            p.exchange()
        assert p.answers[stream].messages == [b"piece 0", b"piece 1", b"piece 2"]
        call.finish(9, "50 % done\nzwölf", [(b"x-more", b"yes")])
        p.exchange()
        answer = p.answers[stream]
        assert answer.status == 9
        assert answer.message == b"50 %25 done%0Azw%C3%B6lf"
        assert answer.trailers[b"x-more"] == b"yes"
        assert answer.closed


def test_stream_without_messages_is_trailers_only() -> None:
    with peer() as p:
        stream = p.send(frame(b"go"))
        p.exchange()
        p.calls[0].finish(trailers=[(b"x-more", b"yes")])
        p.exchange()
        answer = p.answers[stream]
        assert (answer.status, answer.message) == (0, b"")
        assert answer.headers[b"x-more"] == b"yes"
        assert (answer.body, answer.trailers) == (b"", {})


def test_client_stream_is_read_message_by_message() -> None:
    heard: list[bytes | None] = []
    with peer() as p:
        stream = p.send(frame(b"one") + frame(b"two")[:4], end=False)
        p.exchange()
        (call,) = p.calls
        call.listener = lambda: heard.append(call.next_message())
        assert (call.next_message(), call.next_message()) == (b"one", None)
        assert not call.ended
        p.client.send_data(stream, frame(b"two")[4:])
        p.exchange()
        assert heard == [b"two"]
        p.client.end_stream(stream)
        p.exchange()
        assert heard == [b"two", None]
        assert call.ended
        call.send_message(b"done")
        call.finish()
        p.exchange()
        assert p.answers[stream].messages == [b"done"]


def test_bidirectional_stream_answers_before_the_request_ends() -> None:
    with peer() as p:
        stream = p.send(frame(b"ping 0"), end=False)
        for number in range(1, 4):
            p.exchange()
            message = p.calls[0].next_message()
            assert message is not None
            p.calls[0].send_message(message)
            p.client.send_data(stream, frame(b"ping %d" % number))
        p.exchange()
        assert p.answers[stream].messages == [b"ping 0", b"ping 1", b"ping 2"]
        p.client.end_stream(stream)
        p.exchange()
        p.calls[0].finish()
        p.exchange()
        assert p.answers[stream].status == 0


def test_call_finished_early_stops_the_client() -> None:
    with peer() as p:
        stream = p.send(frame(b"first"), end=False)
        p.exchange()
        p.calls[0].finish(12, "unknown method")
        p.exchange()
        answer = p.answers[stream]
        assert answer.status == 12
        assert answer.reset_code == ngh2.ErrorCode.NO_ERROR
        assert answer.closed
        assert p.session.call_count == 0


def test_cancelled_call_hears_of_it_and_answers_nothing() -> None:
    heard: list[bool] = []
    with peer() as p:
        stream = p.send(frame(b"go"))
        p.exchange()
        (call,) = p.calls
        call.listener = lambda: heard.append(call.cancelled)
        call.send_message(b"one")
        p.client.reset_stream(stream)
        p.exchange()
        assert heard[-1] is True
        call.send_message(b"two")
        call.finish()
        call.respond(200, [], b"")
        p.exchange()
        assert call.next_message() is None
        assert call.take_body() == b""
        assert not call.writable
        assert p.session.call_count == 0


def test_peer_that_vanishes_cancels_all_calls() -> None:
    p = Peer()
    heard: list[Call] = []
    p.send(frame(b"go"), end=False)
    p.send(frame(b"go"))
    p.exchange()
    for call in p.calls:
        call.listener = lambda call=call: heard.append(call)
        call.send_message(b"never seen")
    p.session.close()
    assert heard == p.calls
    assert all(call.cancelled for call in p.calls)
    assert p.session.finished
    assert p.session.output(1000) == b""
    p.session.receive(b"late")
    p.session.close()


def test_session_may_be_closed_by_a_call_that_it_shows() -> None:
    def vanish(call: Call) -> None:
        p.session.close()

    p = Peer(on_call=vanish)
    p.send(frame(b"a"))
    p.send(frame(b"b"))
    p.session.receive(p.client.data_to_send())
    assert p.session.finished


def test_handler_that_raises_costs_one_call(caplog: pytest.LogCaptureFixture) -> None:
    def on_call(call: Call) -> None:
        if call.path == b"/test/Call":
            raise RuntimeError("a fault")
        call.respond(204, [], b"")

    with peer(on_call=on_call) as p, caplog.at_level(logging.CRITICAL, "server"):
        grpc = p.send(frame(b"go"))
        plain = p.send(headers=http_headers(b"GET", b"/"))
        p.exchange()
        assert (p.answers[grpc].status, p.answers[grpc].message) == (13, b"internal error")
        assert p.answers[plain].headers == {b":status": b"204"}


def test_output_is_announced_once_until_it_is_asked_for() -> None:
    with peer() as p:
        p.send(frame(b"go"))
        p.exchange()
        assert p.output_asks == 0
        p.calls[0].send_message(b"one")
        p.calls[0].send_message(b"two")
        assert p.output_asks == 1
        p.exchange()
        p.calls[0].finish()
        assert p.output_asks == 2


def test_plain_request_is_answered_whole() -> None:
    with peer() as p:
        stream = p.send(b'{"a":', http_headers(b"POST", b"/v1/kv/range?x=1"), end=False)
        p.exchange()
        (call,) = p.calls
        assert (call.is_grpc, call.ended, call.path) == (False, False, b"/v1/kv/range?x=1")
        p.client.send_data(stream, b"1}", end_stream=True)
        p.exchange()
        assert call.ended
        assert call.take_body() == b'{"a":1}'
        call.respond(404, [(b"content-type", b"application/json")], b"{}")
        p.exchange()
        answer = p.answers[stream]
        assert answer.headers == {b":status": b"404", b"content-type": b"application/json"}
        assert (bytes(answer.body), answer.trailers) == (b"{}", {})
        assert not call.cancelled


def test_hundreds_of_calls_finish_in_any_order(echo: ModuleType) -> None:
    with peer(echo.Echo()) as p:
        p.exchange()
        streams = [p.send(frame(b"%d" % n), (ECHO, None)[n % 2]) for n in range(900)]
        p.exchange()
        assert len(p.calls) == 450
        for call in reversed(p.calls):
            message = call.next_message()
            assert message is not None
            call.send_message(message)
            call.finish()
        p.exchange()
        for n, stream in enumerate(streams):
            assert p.answers[stream].messages == [b"%d" % n]
            assert p.answers[stream].status == 0


def test_too_many_trailers_are_refused() -> None:
    with peer() as p:
        stream = p.send(frame(b"go"))
        p.exchange()
        with pytest.raises(ValueError, match="more than 60"):
            p.calls[0].finish(0, "", [(b"x", b"y")] * 61)
        p.calls[0].finish(0, "", [(b"x", b"y")] * 60)
        p.exchange()
        assert p.answers[stream].status == 0
