"""Compressed messages: into and out of every encoding, the bounds, and what is refused."""

import gzip
import time
from types import ModuleType

import cramjam
import pytest
from h2peer import Peer
from h2peer import frame
from h2peer import peer
from h2peer import request_headers
from hypothesis import given, settings
from hypothesis import strategies as st

from regatta.errors import Internal
from regatta.errors import RegattaError
from regatta.errors import ResourceExhausted
from regatta.http2 import Call
from regatta.http2 import compress
from regatta.limits import request_bytes_max

MIB = 1 << 20
PATHS = [b"/test/Echo", b"/test/Call"]
CODINGS = ["gzip", "snappy", "zstd"]
KNOWN = b"identity,gzip,snappy,zstd"
PACKED_BYTES_MIN = 4096
PACKED_BYTES_MAX = 512 << 10  # in a turn
WIDE = {"settings": {4: 16 * MIB}}  # the client's windows


def pack(coding: str, message: bytes) -> bytes:
    match coding:
        case "gzip":
            return gzip.compress(message)
        case "snappy":
            return bytes(cramjam.snappy.compress(message))
        case "zstd":
            return bytes(cramjam.zstd.compress(message))
    return message


def unpack(coding: str, message: bytes) -> bytes:
    match coding:
        case "gzip":
            return gzip.decompress(message)
        case "snappy":
            return bytes(cramjam.snappy.decompress(message))
        case "zstd":
            return bytes(cramjam.zstd.decompress(message))
    return message


def encoded_by(coding: str | bytes, path: bytes = b"/test/Echo") -> list[tuple[bytes, bytes]]:
    name = coding if isinstance(coding, bytes) else coding.encode()
    return request_headers(path, (b"grpc-encoding", name))


def reflect(call: Call) -> None:
    """Answer each message of a call with itself, in the manner of a handler in Python."""

    def go_on() -> None:
        try:
            while (message := call.next_message()) is not None:
                call.send_message(message)
        except RegattaError as error:
            call.finish(error.code, str(error))
            return
        if call.ended:
            call.finish(0)

    call.listener = go_on
    go_on()


def wide_peer(echo: ModuleType) -> Peer:
    made = Peer(echo.Echo(), reflect, settings={4: 16 * MIB})
    made.client.set_local_window_size(16 * MIB)
    return made


@pytest.fixture
def both(echo: ModuleType) -> Peer:
    """A session that answers /test/Echo natively and everything else in Python."""
    made = wide_peer(echo)
    yield made
    made.session.close()


def settle(both: Peer) -> None:
    """Give the session turns, as the event loop does, until it asks for no more."""
    asked = -1
    while both.output_asks != asked:
        asked = both.output_asks
        both.exchange()


messages = st.one_of(
    st.binary(max_size=100),
    st.builds(bytes.__mul__, st.binary(min_size=1, max_size=50), st.integers(1, 3000)),
)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(CODINGS), st.sampled_from(PATHS), messages)
def test_a_message_in_any_encoding_is_what_it_was_before(
    echo: ModuleType, coding: str, path: bytes, message: bytes
) -> None:
    with peer(echo.Echo(), reflect, **WIDE) as p:
        p.client.set_local_window_size(16 * MIB)
        answer = p.ask(frame(pack(coding, message), flags=1), encoded_by(coding, path))
        assert answer.status == 0
        ((flag, body),) = answer.flagged_messages
        assert (unpack(coding, body) if flag else body) == message
        if flag:
            assert answer.headers[b"grpc-encoding"] == coding.encode()
            assert len(body) < len(message)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("coding", CODINGS)
def test_an_answer_is_packed_if_that_pays(both: Peer, path: bytes, coding: str) -> None:
    noise = bytes(cramjam.zstd.compress(bytes(range(256)) * 99)) * 30  # to no encoding's liking
    for message, is_packed in (
        (b"a" * (PACKED_BYTES_MIN - 1), False),
        (b"a" * PACKED_BYTES_MIN, True),
        (b"a" * PACKED_BYTES_MAX, True),
        (b"a" * (PACKED_BYTES_MAX + 1), False),
        (noise[: PACKED_BYTES_MIN - 1], False),
    ):
        # A client that could compress need not have.
        for body in (frame(message), frame(pack(coding, message), flags=1)):
            answer = both.ask(body, encoded_by(coding, path))
            ((flag, answered),) = answer.flagged_messages
            assert flag == is_packed
            assert (unpack(coding, answered) if flag else answered) == message


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("headers", [[], [(b"grpc-encoding", b"identity")]])
def test_who_does_not_compress_gets_nothing_compressed(
    both: Peer, path: bytes, headers: list[tuple[bytes, bytes]]
) -> None:
    headers = [*headers, (b"grpc-accept-encoding", KNOWN)]
    answer = both.ask(frame(b"a" * 50_000), request_headers(path, *headers))
    assert answer.messages == [b"a" * 50_000]
    assert answer.headers.get(b"grpc-encoding", b"identity") == b"identity"


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("headers", [[], [(b"grpc-encoding", b"identity")]])
def test_a_compressed_message_without_an_encoding_is_internal(
    both: Peer, path: bytes, headers: list[tuple[bytes, bytes]]
) -> None:
    answer = both.ask(frame(b"x", flags=1), request_headers(path, *headers))
    text = b"a message is marked as compressed, but there is no grpc-encoding"
    assert (answer.status, answer.message) == (13, text)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("name", [b"deflate", b"Snappy", b"snapp", b"snappyy", b"gzip, snappy"])
def test_an_unknown_encoding_is_unimplemented_and_the_known_are_named(
    both: Peer, path: bytes, name: bytes
) -> None:
    for body in (frame(b"x"), frame(b"x", flags=1)):
        answer = both.ask(body, encoded_by(name, path))
        text = b'grpc: Decompressor is not installed for grpc-encoding "%s"' % name
        assert (answer.status, answer.message) == (12, text)
        assert answer.headers[b"grpc-accept-encoding"] == KNOWN


def test_a_long_unknown_encoding_is_shown_in_part(both: Peer) -> None:
    answer = both.ask(frame(b"x"), encoded_by(b"a" * 5000))
    assert answer.status == 12
    assert answer.message.endswith(b'"' + b"a" * 60 + b'"')


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("coding", CODINGS)
def test_a_message_of_the_largest_size_arrives(both: Peer, path: bytes, coding: str) -> None:
    message = bytes(range(256)) * (request_bytes_max // 256)
    stream = both.send(frame(pack(coding, message), flags=1), encoded_by(coding, path))
    settle(both)
    answer = both.answers[stream]
    assert answer.status == 0
    assert answer.messages == [message]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize("size", [request_bytes_max + 1, 64 * MIB])
def test_a_bomb_is_refused(both: Peer, path: bytes, coding: str, size: int) -> None:
    packed = pack(coding, bytes(size))
    assert len(packed) <= request_bytes_max
    begun_s = time.process_time()
    stream = both.send(frame(packed, flags=1), encoded_by(coding, path))
    settle(both)
    answer = both.answers[stream]
    assert answer.status == 8
    assert answer.message.startswith(b"grpc: received message after decompression larger than max")
    assert answer.message.endswith(b" vs. 4194304)")
    assert time.process_time() - begun_s < 1


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize("fault", ["cut", "changed", "not it", "more"])
def test_a_malformed_message_is_internal(both: Peer, path: bytes, coding: str, fault: str) -> None:
    packed = bytearray(pack(coding, bytes(range(256)) * 20))
    match fault:
        case "cut":
            del packed[-3:]
        case "changed":
            packed[2] ^= 0xFF
        case "not it":
            packed[:] = b"plainly not compressed"
        case "more":
            packed += b"trailing"
    answer = both.ask(frame(bytes(packed), flags=1), encoded_by(coding, path))
    assert answer.status == 13
    assert answer.message == (
        b"grpc: failed to decompress the received message: it is not well-formed " + coding.encode()
    )


@pytest.mark.parametrize("coding", CODINGS)
def test_a_stream_of_messages_may_mix_what_is_compressed(both: Peer, coding: str) -> None:
    sent = [b"", b"a", b"b" * 100_000, b"c" * 10_000, b"d" * 2_000_000]
    body = b"".join(
        frame(pack(coding, message), flags=1) if number % 2 else frame(message)
        for number, message in enumerate(sent)
    )
    stream = both.send(body, encoded_by(coding, b"/test/Call"))
    settle(both)
    answer = both.answers[stream]
    found = [unpack(coding, body) if flag else body for flag, body in answer.flagged_messages]
    assert found == sent
    assert answer.status == 0


@pytest.mark.parametrize("path", PATHS)
def test_a_turn_unpacks_so_much_and_the_rest_is_for_the_next_ones(both: Peer, path: bytes) -> None:
    message = bytes(request_bytes_max)
    body = frame(pack("zstd", message), flags=1)
    streams = [both.send(body, encoded_by("zstd", path)) for _ in range(20)]
    both.session.receive(both.client.data_to_send())
    begun_s = time.process_time()
    while output := both.session.output(1 << 20):
        both.client.receive_data(output)
    first_s = time.process_time() - begun_s
    both.note_events()
    assert sum(both.answers[stream].closed for stream in streams) <= 3
    # It asks for the next turn by itself, and every call is served in the end.
    assert both.output_asks > 0
    settle(both)
    for stream in streams:
        assert both.answers[stream].messages == [message]
    assert first_s < 0.2


@pytest.mark.parametrize("path", PATHS)
def test_calls_that_wait_for_a_turn_may_be_reset(both: Peer, path: bytes) -> None:
    body = frame(pack("snappy", bytes(request_bytes_max)), flags=1)
    streams = [both.send(body, encoded_by("snappy", path)) for _ in range(12)]
    both.session.receive(both.client.data_to_send())
    for stream in streams[::2]:
        both.client.reset_stream(stream)
    settle(both)
    for stream in streams[1::2]:
        assert both.answers[stream].status == 0
    settle(both)
    assert both.ask(frame(b"x"), request_headers(path)).messages == [b"x"]


def test_a_session_may_be_closed_while_calls_wait_for_a_turn(echo: ModuleType) -> None:
    for path in PATHS:
        made = wide_peer(echo)
        body = frame(pack("snappy", bytes(request_bytes_max)), flags=1)
        for _ in range(12):
            made.send(body, encoded_by("snappy", path))
        made.session.receive(made.client.data_to_send())
        made.session.close()


def test_a_declined_call_is_unpacked_for_python(both: Peer) -> None:
    packed = frame(pack("snappy", b"!decline"), flags=1)
    assert both.ask(packed, encoded_by("snappy")).messages == [b"!decline"]


def test_the_call_tells_its_encoding(echo: ModuleType) -> None:
    with peer(echo.Echo()) as p:
        for coding in (*CODINGS, "identity"):
            p.ask(frame(b"x"), encoded_by(coding, b"/test/Call"))
        p.ask(frame(b"x"), request_headers(b"/test/Call"))
        assert [call.encoding for call in p.calls] == [*CODINGS, "identity", "identity"]


@pytest.mark.parametrize("coding", CODINGS)
def test_a_handler_may_pack_a_large_answer_itself(echo: ModuleType, coding: str) -> None:
    message = b"a page of pairs " * 50_000
    packed = compress(coding, message)
    assert packed is not None
    with peer(echo.Echo()) as p:
        p.ask(frame(b"x"), encoded_by(coding, b"/test/Call"))
        (call,) = p.calls
        call.send_message(packed, compressed=True)
        call.finish(0)
        p.exchange()
        (answer,) = p.answers.values()
        assert [(flag, unpack(coding, body)) for flag, body in answer.flagged_messages] == [
            (1, message)
        ]
        assert answer.headers[b"grpc-encoding"] == coding.encode()


def test_nothing_is_packed_for_a_call_that_has_no_encoding(echo: ModuleType) -> None:
    with peer(echo.Echo()) as p:
        p.ask(frame(b"x"), request_headers(b"/test/Call"))
        with pytest.raises(ValueError, match="the call has no encoding"):
            p.calls[0].send_message(b"packed", compressed=True)


def test_compress_leaves_alone_what_does_not_pay() -> None:
    assert compress("identity", b"a" * 100_000) is None
    for coding in CODINGS:
        assert compress(coding, b"a" * (PACKED_BYTES_MIN - 1)) is None
        assert compress(coding, pack("zstd", bytes(range(256)) * 4096)) is None


@pytest.mark.parametrize(
    ("packed", "error"),
    [(b"not gzip", Internal), (gzip.compress(bytes(8 * MIB)), ResourceExhausted)],
)
def test_what_a_handler_in_python_is_told_is_an_error_with_a_code(
    echo: ModuleType, packed: bytes, error: type[RegattaError]
) -> None:
    with peer(echo.Echo()) as p:
        p.ask(frame(packed, flags=1), encoded_by("gzip", b"/test/Call"))
        with pytest.raises(error):
            p.calls[0].next_message()
