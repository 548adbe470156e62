"""Frames on streams that the peer has ended, and priorities: what libnghttp2 would let pass."""

from types import ModuleType

import ngh2
import pytest
from h2peer import Peer
from h2peer import frame
from h2peer import http_headers
from h2peer import peer
from h2peer import request_headers

ECHO = request_headers(b"/test/Echo")
DATA, HEADERS, PRIORITY, RST_STREAM, WINDOW_UPDATE, CONTINUATION = 0, 1, 2, 3, 8, 9
END_STREAM, END_HEADERS = 1, 4
headers_block = b"\x82\x87\x84\x41\x01x"  # GET https://x/, with no entry for the table


def raw(kind: int, stream: int, payload: bytes = b"", flags: int = 0) -> bytes:
    """Return one frame."""
    head = bytes([kind, flags]) + stream.to_bytes(4, "big")
    return len(payload).to_bytes(3, "big") + head + payload


def reset(stream: int) -> bytes:
    return raw(RST_STREAM, stream, bytes(3) + b"\x08")


def sent_back(p: Peer, data: bytes, piece_bytes: int = 1 << 20) -> bytes:
    """Give *data* to the session in pieces; return all that it answers."""
    for offset in range(0, len(data), piece_bytes):
        p.session.receive(data[offset : offset + piece_bytes])
    output = b""
    while more := p.session.output(1 << 20):
        output += more
    return output


def goaway(error: ngh2.ErrorCode) -> bytes:
    """Return the end of a GOAWAY's payload without text."""
    return int(error).to_bytes(4, "big")


late_frames = [
    pytest.param(raw(DATA, 1, b"late"), id="data"),
    pytest.param(raw(DATA, 1), id="empty-data"),
    pytest.param(raw(HEADERS, 1, headers_block, END_HEADERS | END_STREAM), id="headers"),
]


@pytest.mark.parametrize("late", late_frames)
@pytest.mark.parametrize("piece_bytes", [1, 7, 1 << 20])
def test_frame_on_a_stream_that_was_complete_ends_the_connection(
    echo: ModuleType, late: bytes, piece_bytes: int
) -> None:
    with peer(echo.Echo()) as p:
        assert p.ask(frame(b"hello"), ECHO).messages == [b"hello"]
        output = sent_back(p, late, piece_bytes)
        assert output.endswith(goaway(ngh2.ErrorCode.STREAM_CLOSED))
        assert p.session.finished


@pytest.mark.parametrize("late", late_frames)
@pytest.mark.parametrize("piece_bytes", [1, 7, 1 << 20])
def test_frame_on_a_stream_that_the_peer_reset_ends_the_connection(
    late: bytes, piece_bytes: int
) -> None:
    with peer() as p:
        p.send(end=False)
        p.exchange()
        output = sent_back(p, reset(1) + late, piece_bytes)
        assert output.endswith(goaway(ngh2.ErrorCode.STREAM_CLOSED))
        assert p.session.finished


def test_what_came_before_the_faulty_frame_counts() -> None:
    with peer() as p:
        stream = p.send(frame(b"x"))
        data = p.client.data_to_send() + raw(DATA, stream, b"late")
        output = sent_back(p, data)
        assert [call.path for call in p.calls] == [b"/test/Call"]
        assert stream.to_bytes(4, "big") + goaway(ngh2.ErrorCode.STREAM_CLOSED) in output


def test_frames_on_a_stream_that_we_reset_are_ignored(echo: ModuleType) -> None:
    with peer(echo.Echo()) as p:
        stream = p.send(b"\2\0\0\0\0", ECHO, end=False)  # unknown flags
        p.session.receive(p.client.data_to_send())
        late = raw(DATA, stream, b"late") + raw(HEADERS, stream, b"", END_HEADERS | END_STREAM)
        p.client.receive_data(sent_back(p, late))
        p.note_events()
        assert p.answers[stream].status == 13
        assert p.ask(frame(b"hello"), ECHO).messages == [b"hello"]


@pytest.mark.parametrize("kind", [RST_STREAM, WINDOW_UPDATE, PRIORITY])
def test_frames_that_may_come_late_are_ignored(echo: ModuleType, kind: int) -> None:
    payload = bytes(3) + b"\7" + (b"\x10" if kind == PRIORITY else b"")
    with peer(echo.Echo()) as p:
        p.ask(frame(b"hello"), ECHO)
        assert sent_back(p, raw(kind, 1, payload) * 3) == b""
        assert p.ask(frame(b"hello"), ECHO).messages == [b"hello"]


def test_trailers_of_a_request_are_no_fault() -> None:
    with peer() as p:
        stream = p.send(b"body", http_headers(b"POST", b"/x"), end=False)
        p.exchange()
        trailers = b"\x00\x01a\x01b"
        assert sent_back(p, raw(HEADERS, stream, trailers, END_HEADERS | END_STREAM)) == b""
        assert p.calls[0].ended
        assert p.calls[0].take_body() == b"body"
        p.calls[0].respond(204, [], b"")
        p.exchange()


def test_many_streams_ended_out_of_order_are_no_fault(echo: ModuleType) -> None:
    with peer(echo.Echo()) as p:
        streams = [p.send(frame(b"%d" % n)[:3], ECHO, end=False) for n in range(300)]
        p.exchange()
        for n, stream in reversed(list(enumerate(streams))):
            p.client.send_data(stream, frame(b"%d" % n)[3:], end_stream=True)
            p.exchange()
        for n, stream in enumerate(streams):
            assert p.answers[stream].messages == [b"%d" % n]


@pytest.mark.parametrize("stream", [0, 1, 5])
@pytest.mark.parametrize("piece_bytes", [1, 7, 1 << 20])
def test_priority_without_a_stream_or_on_itself_ends_the_connection(
    stream: int, piece_bytes: int
) -> None:
    with peer() as p:
        p.exchange()
        payload = b"\x80" + stream.to_bytes(4, "big")[1:] + b"\x10"  # exclusive
        output = sent_back(p, raw(PRIORITY, stream, payload), piece_bytes)
        assert output.endswith(goaway(ngh2.ErrorCode.PROTOCOL_ERROR))
        assert p.session.finished


def test_priority_of_a_wrong_size_is_a_frame_size_error() -> None:
    with peer() as p:
        p.exchange()
        assert goaway(ngh2.ErrorCode.FRAME_SIZE_ERROR) in sent_back(
            p, raw(PRIORITY, 1, b"\0\0\0\1")
        )


def test_window_over_its_limit_is_told_for_the_stream_and_ends_the_connection() -> None:
    with peer() as p:
        waiting, greedy, last = (p.send(frame(b"x")) for _ in range(3))
        p.exchange()
        output = sent_back(p, raw(WINDOW_UPDATE, greedy, b"\x7f\xff\xff\xff") * 2)
        error = goaway(ngh2.ErrorCode.FLOW_CONTROL_ERROR)
        assert output.startswith(raw(RST_STREAM, greedy, error))
        assert output.endswith(last.to_bytes(4, "big") + error)
        # Whatever comes then is not even looked at.
        assert sent_back(p, reset(waiting)) == b""
        assert p.session.finished


def test_headers_in_pieces_do_not_end_their_stream_too_early() -> None:
    with peer() as p:
        p.exchange()
        begin = raw(HEADERS, 1, headers_block[:3], END_STREAM)
        assert sent_back(p, begin + raw(CONTINUATION, 1, headers_block[3:], END_HEADERS)) == b""
        assert [call.ended for call in p.calls] == [True]
        # libnghttp2's to judge: DATA where a CONTINUATION should be.
        output = sent_back(p, begin.replace(b"\0\0\0\1", b"\0\0\0\3") + raw(DATA, 3, b"x"))
        assert goaway(ngh2.ErrorCode.PROTOCOL_ERROR) in output
