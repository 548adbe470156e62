"""Calls that a sink postpones to the end of the batch that brought them."""

import cramjam
import pytest
from h2peer import Peer
from h2peer import frame
from h2peer import peer
from h2peer import request_headers

from regatta.http2 import CallSink

ECHO = request_headers(b"/test/Echo")
LARGE = b"!r" + (9_000_000).to_bytes(4, "little")  # over what may be outstanding


@pytest.fixture
def sink(echo) -> CallSink:
    return echo.Echo()


def send(made: Peer, *orders: bytes) -> list[int]:
    """Send a call for each order; return their streams' ids."""
    return [made.send(frame(order), ECHO) for order in orders]


def test_postponed_calls_are_answered_when_the_batch_is_in(sink):
    with peer(sink) as made:
        ids = send(made, b"!laterone", b"!latertwo", b"at once")
        made.session.receive(made.client.data_to_send())
        assert (sink.call_count, sink.batch_count) == (3, 1)
        assert sink.asked_again == [b"one", b"two"]
        made.exchange()
        answers = [made.answers[stream_id] for stream_id in ids]
        assert [answer.messages for answer in answers] == [[b"one"], [b"two"], [b"at once"]]
        assert all(answer.status == 0 and answer.closed for answer in answers)
        assert not made.calls
        assert made.session.call_count == 0


def test_a_postponed_call_may_end_as_any_other(sink, monkeypatch):
    reported = []
    monkeypatch.setattr("sys.unraisablehook", reported.append)
    with peer(sink) as made:
        failed, kept, declined, raised = send(
            made, b"!later!error", b"!later!keep", b"!later!decline", b"!later!raise"
        )
        made.exchange()
        assert [str(report.exc_value) for report in reported] == ["asked to"]
        assert (made.answers[failed].status, made.answers[failed].message) == (5, b"100%25 gone")
        assert made.answers[raised].status == 13
        assert not made.answers[kept].headers
        sink.kept[-1].answer(b"at last")
        [call] = made.calls
        assert call.next_message() == b"!later!decline"
        assert call.ended
        call.send_message(b"from Python")
        call.finish()
        made.exchange()
        assert made.answers[kept].messages == [b"at last"]
        assert made.answers[declined].messages == [b"from Python"]


def test_the_sink_is_not_asked_for_a_stream_that_is_gone(sink):
    with peer(sink) as made:
        gone, there = send(made, b"!latergone", b"!laterthere")
        data = made.client.data_to_send()
        made.client.reset_stream(gone, 8)
        made.session.receive(data + made.client.data_to_send())
        assert sink.asked_again == [b"there"]
        made.exchange()
        assert made.answers[there].messages == [b"there"]
        assert made.session.call_count == 0


def test_what_is_too_much_at_once_is_asked_for_anew(sink):
    with peer(sink) as made:
        large, small = send(made, b"!later" + LARGE, b"!latersmall")
        made.session.receive(made.client.data_to_send())
        assert made.session.reading_paused
        assert sink.asked_again == [LARGE]
        made.exchange()
        assert sink.postponed == [LARGE, b"small", b"small"]
        assert sink.asked_again == [LARGE, b"small"]
        assert made.answers[large].messages == [b"r" * 9_000_000]
        assert made.answers[small].messages == [b"small"]


def test_what_was_too_much_is_answered_in_turn_and_asked_for_once_more(sink):
    orders = [b"!r" + (2_000_000 + number).to_bytes(4, "little") for number in range(12)]
    with peer(sink) as made:
        ids = send(made, *[b"!later" + order for order in orders])
        made.session.receive(made.client.data_to_send())
        answered_at_once = len(sink.asked_again)
        assert 1 < answered_at_once < 12
        made.exchange()
        assert sink.asked_again == orders
        assert sink.postponed == orders + orders[answered_at_once:]
        sizes = [len(made.answers[stream_id].messages[0]) for stream_id in ids]
        assert sizes == [2_000_000 + number for number in range(12)]


def test_a_call_that_was_deferred_can_be_postponed(sink):
    with peer(sink) as made:
        _, later = send(made, LARGE, b"!laterlater")
        made.session.receive(made.client.data_to_send())
        assert not sink.postponed
        made.exchange()
        assert made.answers[later].messages == [b"later"]


def test_a_compressed_call_can_be_postponed(sink):
    with peer(sink) as made:
        answer = b"answer" * 1000
        packed = bytes(cramjam.snappy.compress(b"!later" + answer))
        headers = request_headers(b"/test/Echo", (b"grpc-encoding", b"snappy"))
        stream_id = made.send(frame(packed, 1), headers)
        made.exchange()
        [(flag, message)] = made.answers[stream_id].flagged_messages
        assert flag == 1
        assert bytes(cramjam.snappy.decompress(message)) == answer
