"""HTTP/2 conversations of a client, recorded once, and what fuzzing makes of them."""

import dataclasses
import gzip
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from random import Random

import cramjam
import ngh2

from regatta.pb.mvcc_pb2 import RequestOp
from regatta.pb.regatta_pb2 import DeleteRangeRequest
from regatta.pb.regatta_pb2 import PutRequest
from regatta.pb.regatta_pb2 import RangeRequest
from regatta.pb.regatta_pb2 import TxnRequest
from tests.fuzz.mutation import below
from tests.fuzz.mutation import mutate_bytes
from tests.fuzz.mutation import pick
from tests.fuzz.mutation import shuffle_some

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, CONTINUATION = 0, 1, 9
END_HEADERS = 4

TABLE, KEY, VALUE = b"table", b"key", b"value"
RANGE = RangeRequest(table=TABLE, key=KEY).SerializeToString()
MISSING = RangeRequest(table=TABLE, key=b"no such key").SerializeToString()
RANGED = RangeRequest(table=TABLE, key=KEY, range_end=b"\0").SerializeToString()
PUT = PutRequest(table=TABLE, key=KEY, value=VALUE).SerializeToString()
DELETE = DeleteRangeRequest(table=TABLE, key=KEY, count=True).SerializeToString()
TXN = TxnRequest(
    table=TABLE, success=[RequestOp(request_put=RequestOp.Put(key=KEY, value=VALUE))] * 3
).SerializeToString()


@dataclass
class Frame:
    """One frame; *length* is what its head claims, when that is not the payload's."""

    kind: int
    flags: int
    stream: int
    payload: bytes
    length: int | None = None

    def encode(self) -> bytes:
        """Return the frame as it goes over the wire."""
        length = len(self.payload) if self.length is None else self.length
        head = length.to_bytes(3, "big") + bytes([self.kind & 255, self.flags & 255])
        return head + (self.stream & 0xFFFFFFFF).to_bytes(4, "big") + self.payload


def parse_frames(data: bytes) -> tuple[list[Frame], bytes]:
    """Return the complete frames of *data* and what is left over."""
    found = []
    while len(data) >= 9 and len(data) >= 9 + int.from_bytes(data[:3], "big"):
        size = 9 + int.from_bytes(data[:3], "big")
        found.append(Frame(data[3], data[4], int.from_bytes(data[5:9], "big"), data[9:size]))
        data = data[size:]
    return found, data


def message(body: bytes, flags: int = 0) -> bytes:
    """Return a gRPC message with its prefix."""
    return bytes([flags]) + len(body).to_bytes(4, "big") + body


PACK: dict[bytes, Callable[[bytes], bytes]] = {
    b"gzip": lambda body: gzip.compress(body, mtime=0),
    b"snappy": lambda body: bytes(cramjam.snappy.compress(body)),
    b"zstd": lambda body: bytes(cramjam.zstd.compress(body)),
}


class Recorder:
    """A client that nobody answers; it keeps what it would send."""

    def __init__(self, settings: dict[int, int] | None = None) -> None:
        self.client = ngh2.Connection(
            ngh2.Role.CLIENT, ngh2.Configuration(max_send_header_block_length=1 << 20)
        )
        self.client.initiate_connection(settings or {})

    def grpc(self, path: bytes, body: bytes, *more: tuple[bytes, bytes], end: bool = True) -> int:
        """Send a gRPC request."""
        headers = ((b"content-type", b"application/grpc"), (b"te", b"trailers"), *more)
        return self.http(b"POST", path, body, *headers, end=end)

    def http(
        self, method: bytes, path: bytes, body: bytes, *more: tuple[bytes, bytes], end: bool = True
    ) -> int:
        """Send any request."""
        pseudo = ((b":method", method), (b":scheme", b"https"))
        place = ((b":authority", b"localhost"), (b":path", path))
        stream: int = self.client.send_request([*pseudo, *place, *more])
        self.client.send_data(stream, body, end_stream=end)
        return stream

    def frames(self) -> list[Frame]:
        """Return all that was sent, without the preface."""
        data = b""
        while piece := self.client.data_to_send():
            data += piece
        assert data.startswith(PREFACE)
        frames, rest = parse_frames(data[len(PREFACE) :])
        assert not rest
        return frames


def conversations() -> list[list[Frame]]:
    """Return what clients of every kind send: the seeds of all inputs."""
    kv = b"/regatta.v1.KV/"
    plain, odd, busy, broken = Recorder(), Recorder({1: 0, 4: 100}), Recorder(), Recorder()
    packed = Recorder({4: 1 << 20})
    plain.grpc(kv + b"Range", message(RANGE))
    plain.grpc(kv + b"Range", message(MISSING))
    plain.grpc(kv + b"Range", message(RANGED), (b"grpc-timeout", b"1S"))
    plain.grpc(kv + b"Put", message(PUT), (b"grpc-timeout", b"99999999H"))
    plain.grpc(kv + b"DeleteRange", message(DELETE), (b"grpc-timeout", b"1n"))
    plain.grpc(kv + b"Txn", message(TXN))
    odd.http(b"POST", b"/v1/kv/range", b'{"table":"dA==","key":"aw=="}', (b"content-length", b"29"))
    odd.http(b"GET", b"/v1/kv/put?x=%00", b"", (b"cookie", b"a=b"), (b"x-long", bytes(300)))
    odd.grpc(b"/no.such/Method", message(b""), (b"grpc-encoding", b"gzip"))
    odd.client.send_trailers(odd.grpc(kv + b"Put", message(PUT), end=False), [(b"x-end", b"1")])
    for turn in range(6):
        busy.grpc(kv + b"Range", message(RANGE if turn % 2 else MISSING))
    busy.client.ping(b"12345678")
    busy.client.reset_stream(busy.grpc(kv + b"IterateRange", message(RANGED), end=False))
    busy.client.update_settings({1: 4096, 5: 16384})
    busy.client.set_local_window_size(1 << 20)
    broken.grpc(kv + b"Range", message(RANGE, flags=1))
    broken.grpc(kv + b"Range", message(RANGE) + message(RANGE))
    broken.grpc(kv + b"Range", message(RANGE)[:-3])
    broken.grpc(kv + b"Range", b"\0\xff\xff\xff\xff")
    broken.grpc(kv + b"Put", message(bytes(20_000)), end=False)
    for coding, pack in PACK.items():
        for body in (RANGE, RANGED, bytes(70_000), bytes(5 << 20)):
            packed.grpc(kv + b"Range", message(pack(body), flags=1), (b"grpc-encoding", coding))
        packed.grpc(kv + b"Put", message(pack(PUT), flags=1) * 2, (b"grpc-encoding", coding))
    return [recorder.frames() for recorder in (busy, plain, odd, broken, packed)]


SEEDS = conversations()
READING_SEEDS = SEEDS[:1]  # nothing in them that could make a table
ALL_FRAMES = [frame for frames in SEEDS for frame in frames]
PAYLOADS = (
    b"",
    bytes(4),
    bytes(8),
    b"\xff" * 4,
    b"\0\0\0\1\x7f\xff\xff\xff",
    b"\x82\x87\x84\x41\0",
)


def any_frame(chance: Random) -> Frame:
    """Return a frame of any kind, or one of another conversation."""
    if chance.random() < 0.5:
        return dataclasses.replace(pick(chance, ALL_FRAMES))
    stream = pick(chance, (0, 1, 1, 3, 5, 7, 2, 2**31 - 1, 2**31))
    payload = pick(chance, PAYLOADS) if chance.random() < 0.7 else chance.randbytes(9)
    return Frame(below(chance, 13), below(chance, 256), stream, payload)


def change_frame(chance: Random, frames: list[Frame], at: int) -> None:
    """Change one frame's head or payload, or split it."""
    frame = dataclasses.replace(frames[at])
    frames[at] = frame
    turn = below(chance, 8)
    if turn == 0:
        frame.kind = below(chance, 11)
    elif turn == 1:
        frame.flags ^= 1 << below(chance, 8)
    elif turn == 2:
        frame.stream = pick(chance, (0, 1, 3, 5, 7, 9, 2, 2**31 - 1))
    elif turn == 3:
        frame.length = pick(chance, (0, 1, 4, 5, 8, 255, 16_384, 16_385, 2**24 - 1))
    elif turn == 4 and frame.kind == HEADERS and frame.payload:
        cut = below(chance, len(frame.payload))
        rest = Frame(CONTINUATION, frame.flags & END_HEADERS, frame.stream, frame.payload[cut:])
        frame.flags &= ~END_HEADERS
        frame.payload = frame.payload[:cut]
        frames.insert(at + 1, rest)
    else:
        frame.payload = mutate_bytes(chance, frame.payload)


def changed_conversation(chance: Random, seeds: Sequence[list[Frame]] = SEEDS) -> bytes:
    """Return a client's bytes, with some changes to its frames or to the bytes themselves."""
    frames = list(pick(chance, seeds))
    for _ in range(1 + below(chance, 4)):
        if frames and chance.random() < 0.6:
            change_frame(chance, frames, below(chance, len(frames)))
        else:
            shuffle_some(chance, frames, lambda: any_frame(chance))
    data = encode(frames)
    return mutate_bytes(chance, data) if chance.random() < 0.1 else data


def encode(frames: Iterable[Frame]) -> bytes:
    """Return a whole conversation, preface and all."""
    return PREFACE + b"".join([frame.encode() for frame in frames])
