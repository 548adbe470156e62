"""Back-pressure in both directions: what a slow or greedy peer may cost."""

from types import ModuleType

import ngh2
import pytest
from h2peer import Peer
from h2peer import frame
from h2peer import http_headers
from h2peer import peer
from h2peer import request_headers

from regatta.http2 import Call
from regatta.limits import MIB
from regatta.limits import request_bytes_max
from regatta.limits import rest_body_bytes_max

ECHO = request_headers(b"/test/Echo")
window_bytes = 65535
outstanding_bytes_max = 8 * MIB
initial_window_size = int(ngh2.Setting.INITIAL_WINDOW_SIZE)


def large_reply(size: int) -> bytes:
    return frame(b"!r" + size.to_bytes(4, "little"))


# -- what comes in --------------------------------------------------------------------------------


def test_message_of_the_largest_size_arrives() -> None:
    message = bytes(range(256)) * (request_bytes_max // 256)
    with peer() as p:
        p.send(frame(message))
        p.exchange()
        assert p.calls[0].ended
        assert p.calls[0].next_message() == message


def test_sink_gets_a_message_of_the_largest_size(echo: ModuleType) -> None:
    message = bytes(range(256)) * (request_bytes_max // 256)
    with peer(echo.Echo(), settings={initial_window_size: 8 * MIB}) as p:
        p.client.set_local_window_size(8 * MIB)
        assert p.ask(frame(message), ECHO).messages == [message]


@pytest.mark.parametrize("size", [65_530, 65_531, 200_000])
def test_second_large_message_of_a_unary_call_shows_itself(echo: ModuleType, size: int) -> None:
    with peer(echo.Echo()) as p:
        p.send(frame(bytes(size)) * 2, ECHO)
        p.exchange()
        (call,) = p.calls
        assert call.next_message() == bytes(size)
        p.exchange()
        assert call.next_message() == bytes(size)


def test_stream_that_nobody_reads_may_send_one_window() -> None:
    with peer() as p:
        stream = p.send(frame(b"x" * 1000) * 200, end=False)
        p.exchange()
        assert p.client.queued_body_size(stream) == 200 * 1005 - window_bytes
        (call,) = p.calls
        for _ in range(200):
            assert call.next_message() == b"x" * 1000
            p.exchange()
        assert p.client.queued_body_size(stream) == 0
        assert call.next_message() is None


def test_messages_that_fill_the_window_unevenly_never_stall() -> None:
    sizes = [40_000, 60_000, 65_530, 65_531, 1, 300_000, 0, 70_000, 5] * 3
    with peer() as p:
        stream = p.send(b"".join(frame(bytes([n % 251]) * n) for n in sizes))
        taken: list[int] = []
        p.exchange()
        while (message := p.calls[0].next_message()) is not None:
            assert message == bytes([len(message) % 251]) * len(message)
            taken.append(len(message))
            p.exchange()
        assert taken == sizes
        assert p.calls[0].ended
        assert p.client.queued_body_size() == 0
        assert stream == 1


def test_padding_uses_no_window_up() -> None:
    # ngh2 can't pad, so the frames are made by hand.
    with peer() as p:
        stream = p.send(end=False)
        p.exchange()
        padded = bytes([255]) + b"\0" + (0).to_bytes(4, "big") + bytes(255)
        header = len(padded).to_bytes(3, "big") + b"\0\x08" + stream.to_bytes(4, "big")
        for _ in range(1000):  # 261 bytes each: four windows in all
            p.session.receive(header + padded)
            assert p.calls[0].next_message() == b""
            while output := p.session.output(1 << 16):
                p.client.receive_data(output)
        p.note_events()
        updates = [event for event in p.events if isinstance(event, ngh2.WindowUpdated)]
        granted = sum(event.increment for event in updates if event.stream_id == stream)
        assert granted >= 261_000 - window_bytes


def test_thousand_large_uploads_cost_bounded_memory_and_all_arrive() -> None:
    message = b"v" * (1 * MIB)
    with peer() as p:
        p.exchange()
        streams = [p.send(frame(message)[:-1], end=False) for _ in range(150)]
        p.exchange()
        # The budget lets 64 MiB in beyond each stream's window.
        received = sum(len(message) + 4 - p.client.queued_body_size(stream) for stream in streams)
        assert 64 * MIB < received <= 64 * MIB + 150 * window_bytes
        done = 0
        while done < len(streams):
            before = done
            for stream, call in zip(streams, p.calls, strict=True):
                if p.client.queued_body_size(stream) == 0 and not call.ended:
                    p.client.send_data(stream, message[-1:], end_stream=True)
                    p.exchange()
                    assert call.next_message() == message
                    call.finish()
                    done += 1
            p.exchange()
            assert done > before
        assert all(p.answers[stream].status == 0 for stream in streams)


def test_cancelled_upload_passes_its_place_on() -> None:
    body = frame(b"v" * (4 * MIB))[:-1]
    with peer() as p:
        streams = [p.send(body, end=False) for _ in range(17)]
        p.exchange()
        waiting = [stream for stream in streams if p.client.queued_body_size(stream)]
        assert len(waiting) == 1
        p.client.reset_stream(streams[0])
        p.exchange()
        assert p.client.queued_body_size() == 0


@pytest.mark.parametrize("announced", [True, False])
def test_plain_body_of_the_largest_size_arrives(announced: bool) -> None:
    body = bytes(range(256)) * (rest_body_bytes_max // 256)
    more = ((b"content-length", b"%d" % len(body)),) if announced else ()
    with peer() as p:
        p.send(body, http_headers(b"POST", b"/put", *more))
        p.exchange()
        assert p.calls[0].ended
        assert p.calls[0].take_body() == body


def test_many_plain_bodies_without_a_length_never_wait_for_each_other_for_ever() -> None:
    with peer() as p:
        streams = [p.send(b"x" * MIB, http_headers(b"POST", b"/put")) for _ in range(40)]
        p.exchange()
        while p.client.queued_body_size():
            ended = [call for call in p.calls if call.ended]
            assert ended
            for call in ended:
                if len(call.take_body()):
                    call.respond(200, [], b"")
            p.exchange()
        for call in p.calls:
            call.respond(200, [], b"")
        p.exchange()
        assert all(p.answers[stream].headers[b":status"] == b"200" for stream in streams)


# -- what goes out --------------------------------------------------------------------------------


def test_output_comes_in_pieces_of_the_size_asked_for(echo: ModuleType) -> None:
    with peer(echo.Echo(), settings={initial_window_size: 8 * MIB}) as p:
        p.client.set_local_window_size(8 * MIB)
        stream = p.send(large_reply(2 * MIB), ECHO)
        p.session.receive(p.client.data_to_send())
        pieces = []
        while output := p.session.output(100_000):
            pieces.append(len(output))
            p.client.receive_data(output)
        p.note_events()
        assert max(pieces) < 100_000 + 17_000
        assert p.answers[stream].messages == [b"r" * (2 * MIB)]


def test_sink_calls_wait_while_too_much_is_outstanding(echo: ModuleType) -> None:
    sink = echo.Echo()
    with peer(sink) as p:
        p.exchange()
        streams = [p.send(large_reply(1 * MIB), ECHO) for _ in range(100)]
        p.session.receive(p.client.data_to_send())
        assert sink.call_count == 8
        assert p.session.reading_paused
        # One window goes out, which makes room for one more answer.
        output = p.session.output(1 * MIB) + p.session.output(1 * MIB)
        assert len(output) < window_bytes + 2000
        assert p.session.output(1 * MIB) == b""
        assert sink.call_count == 9
        # Now the peer's window holds the output back: its window updates must be read.
        assert not p.session.reading_paused
        p.client.receive_data(output)
        p.exchange()
        assert all(p.answers[stream].messages == [b"r" * MIB] for stream in streams)
        assert sink.call_count == 100


def test_cancelled_calls_that_wait_are_forgotten(echo: ModuleType) -> None:
    sink = echo.Echo()
    with peer(sink, reads_by_itself=False) as p:
        p.exchange()
        streams = [p.send(large_reply(4 * MIB), ECHO) for _ in range(10)]
        p.exchange()
        assert sink.call_count == 3
        later = p.send(frame(b"later"))
        p.exchange()
        assert p.calls == []
        for stream in streams[3:]:
            p.client.reset_stream(stream)
        p.exchange()
        assert p.session.call_count == 4
        for stream in streams[:3]:
            p.client.reset_stream(stream)
        p.exchange()
        assert sink.call_count == 3
        # What was outstanding is gone with its streams, so the last one has its turn.
        (call,) = p.calls
        call.finish(0)
        p.exchange()
        assert p.answers[later].status == 0


def test_reading_pauses_while_the_transport_takes_nothing(echo: ModuleType) -> None:
    with peer(echo.Echo(), settings={initial_window_size: 16 * MIB}) as p:
        p.client.set_local_window_size(256 * MIB)
        p.exchange()
        for _ in range(8):
            p.send(large_reply(1 * MIB), ECHO)
        p.session.receive(p.client.data_to_send())
        assert p.session.reading_paused
        p.session.output(1 * MIB)
        assert not p.session.reading_paused
        p.exchange()
        assert not p.session.reading_paused


def stream_lazily(p: Peer, call: Call, piece: bytes, pieces: int) -> list[int]:
    """Answer *pieces* messages, each when the last has gone out; return a counter of them."""
    sent = [0]

    def go_on() -> None:
        while sent[0] < pieces and call.writable:
            call.send_message(piece)
            sent[0] += 1
        if sent[0] == pieces and not call.cancelled:
            call.finish()

    call.listener = go_on
    go_on()
    return sent


def test_reader_with_a_tiny_window_gets_a_huge_stream_piece_by_piece() -> None:
    piece = bytes(range(256)) * 256
    with peer(settings={initial_window_size: 10_000}) as p:
        stream = p.send(frame(b"go"))
        p.exchange()
        sent = stream_lazily(p, p.calls[0], piece, 200)
        assert sent == [1]
        p.exchange()
        assert sent == [200]
        assert p.answers[stream].messages == [piece] * 200
        assert p.answers[stream].status == 0


def test_reader_that_stops_costs_one_piece() -> None:
    piece = b"p" * MIB
    with peer(reads_by_itself=False) as p:
        p.send(frame(b"go"))
        p.exchange()
        sent = stream_lazily(p, p.calls[0], piece, 10_000)
        p.exchange()
        p.exchange()
        assert sent == [1]


def test_call_waits_for_others_that_fill_the_connection() -> None:
    heard: list[bool] = []
    with peer(reads_by_itself=False) as p:
        greedy, patient = p.send(frame(b"a")), p.send(frame(b"b"))
        p.exchange()
        first, second = p.calls
        first.send_message(b"x" * (9 * MIB))
        p.exchange()
        assert not second.writable
        second.listener = lambda: heard.append(second.writable)
        p.client.reset_stream(greedy)
        p.exchange()
        assert heard == [True]
        second.finish()
        p.exchange()
        assert p.answers[patient].status == 0


def test_empty_messages_and_an_empty_end_go_out() -> None:
    with peer() as p:
        stream = p.send(frame(b"go"))
        p.exchange()
        p.calls[0].send_message(b"")
        p.exchange()
        p.calls[0].send_message(b"")
        p.exchange()
        p.calls[0].finish()
        p.exchange()
        assert p.answers[stream].messages == [b"", b""]
        assert p.answers[stream].trailers == {b"grpc-status": b"0"}
