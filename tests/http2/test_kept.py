"""Calls that a sink has kept and answers later."""

import pytest
from h2peer import Peer
from h2peer import frame
from h2peer import peer
from h2peer import request_headers

from regatta.http2 import CallSink

KEEP = frame(b"!keep")
ECHO = request_headers(b"/test/Echo")


@pytest.fixture
def sink(echo) -> CallSink:
    return echo.Echo()


def keep(made: Peer, sink, *headers):
    """Send a call that is kept; return its stream's id and what was kept."""
    stream_id = made.send(KEEP, request_headers(b"/test/Echo", *headers))
    made.exchange()
    return stream_id, sink.kept[-1]


def test_a_kept_call_is_answered_later(sink):
    with peer(sink) as made:
        stream_id, kept = keep(made, sink)
        assert not made.answers[stream_id].headers
        assert made.session.call_count == 1
        assert not made.calls
        kept.answer(b"at last")
        assert kept.gone
        assert made.output_asks == 1
        made.exchange()
        answer = made.answers[stream_id]
        assert (answer.messages, answer.status, answer.closed) == ([b"at last"], 0, True)
        assert made.session.call_count == 0


def test_others_are_answered_meanwhile(sink):
    with peer(sink) as made:
        _, kept = keep(made, sink)
        assert made.ask(frame(b"quick"), ECHO).messages == [b"quick"]
        kept.answer(b"slow")
        made.exchange()
        assert made.answers[1].messages == [b"slow"]


def test_several_answers_ask_for_output_once(sink):
    with peer(sink) as made:
        for _ in range(5):
            made.send(KEEP, ECHO)
        made.exchange()
        for kept in reversed(sink.kept):
            kept.answer(b"now")
        assert made.output_asks == 1
        made.exchange()
        assert [answer.messages for answer in made.answers.values()] == [[b"now"]] * 5


def test_a_kept_call_may_end_in_an_error(sink):
    with peer(sink) as made:
        stream_id, kept = keep(made, sink)
        kept.answer(code=14, text=b"100% gone")
        made.exchange()
        answer = made.answers[stream_id]
        assert (answer.status, answer.message, answer.messages) == (14, b"100%25 gone", [])


def test_the_sink_learns_the_timeout(sink):
    with peer(sink) as made:
        assert keep(made, sink, (b"grpc-timeout", b"2S"))[1].timeout_ns == 2_000_000_000
        assert keep(made, sink)[1].timeout_ns == -1


def test_a_reset_stream_is_gone_for_the_sink(sink):
    with peer(sink) as made:
        stream_id, kept = keep(made, sink)
        _, other = keep(made, sink)
        made.client.reset_stream(stream_id, 8)
        made.exchange()
        assert kept.gone
        assert not other.gone
        assert made.session.call_count == 1
        other.answer(b"still here")
        made.exchange()
        assert made.answers[3].messages == [b"still here"]


def test_streams_are_gone_with_their_session(sink):
    with peer(sink) as made:
        _, kept = keep(made, sink)
        made.session.close()
        assert kept.gone


def test_a_sink_may_forget_what_it_has_kept(sink):
    with peer(sink) as made:
        keep(made, sink)
        sink.kept.clear()
        assert made.session.call_count == 1
        assert made.ask(frame(b"quick"), ECHO).messages == [b"quick"]


def test_a_drain_waits_for_kept_calls(sink):
    with peer(sink) as made:
        stream_id, kept = keep(made, sink)
        made.session.start_drain()
        made.exchange()
        made.session.end_drain()
        made.exchange()
        assert not made.session.finished
        kept.answer(b"the last")
        made.exchange()
        assert made.answers[stream_id].messages == [b"the last"]
        assert made.session.finished


def test_a_large_answer_waits_for_the_peer_as_others_do(sink):
    with peer(sink) as made:
        stream_id, kept = keep(made, sink)
        kept.answer(b"x" * 9_000_000)
        assert made.session.reading_paused
        made.exchange()
        assert made.answers[stream_id].messages == [b"x" * 9_000_000]
        assert not made.session.reading_paused


def test_a_compressed_call_can_be_kept(sink):
    import cramjam

    with peer(sink) as made:
        packed = bytes(cramjam.snappy.compress(b"!keep"))
        headers = request_headers(b"/test/Echo", (b"grpc-encoding", b"snappy"))
        stream_id = made.send(frame(packed, 1), headers)
        made.exchange()
        sink.kept[-1].answer(b"plain")
        made.exchange()
        assert made.answers[stream_id].messages == [b"plain"]
