"""Calls of all kinds, answered by the sink and by Python."""

from types import ModuleType

from h2peer import frame
from h2peer import peer
from h2peer import request_headers

ECHO = request_headers(b"/test/Echo")


def test_sink_answers_a_unary_call(echo: ModuleType) -> None:
    sink = echo.Echo()
    with peer(sink) as p:
        answer = p.ask(frame(b"hello"), ECHO)
        assert answer.headers == {b":status": b"200", b"content-type": b"application/grpc"}
        assert answer.messages == [b"hello"]
        assert answer.trailers == {b"grpc-status": b"0"}
        assert answer.closed
        assert p.calls == []
        assert sink.call_count == 1


def test_python_answers_a_unary_call() -> None:
    with peer() as p:
        stream = p.send(frame(b"hello"))
        p.exchange()
        (call,) = p.calls
        assert (call.path, call.method, call.is_grpc) == (b"/test/Call", b"POST", True)
        assert call.ended
        assert call.next_message() == b"hello"
        assert call.next_message() is None
        call.send_message(b"world")
        call.finish()
        p.exchange()
        answer = p.answers[stream]
        assert answer.messages == [b"world"]
        assert answer.trailers == {b"grpc-status": b"0"}
        assert not call.cancelled
