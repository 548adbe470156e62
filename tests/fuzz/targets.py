"""What is fuzzed. Each target takes a Random, makes one input of it and checks what comes back."""

import asyncio
import json
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any

import cramjam
from google.protobuf.message import DecodeError

from bench import dataset
from regatta.api import json_codec
from regatta.api.deadlines import Wheel
from regatta.api.kv import KV
from regatta.api.maintenance import Maintenance
from regatta.api.rest import ROUTES
from regatta.api.rest import Rest
from regatta.api.service import methods_of
from regatta.engine import Engine
from regatta.errors import Code
from regatta.errors import InvalidArgument
from regatta.errors import RegattaError
from regatta.http2 import Call
from regatta.http2 import Session
from regatta.http2 import live_streams
from regatta.pb.mvcc_pb2 import Command
from regatta.pb.mvcc_pb2 import CommandResult
from regatta.pb.mvcc_pb2 import KeyValue
from regatta.pb.mvcc_pb2 import Txn
from regatta.pb.regatta_pb2 import DeleteRangeRequest
from regatta.pb.regatta_pb2 import PutRequest
from regatta.pb.regatta_pb2 import RangeRequest
from regatta.pb.regatta_pb2 import RangeResponse
from regatta.pb.regatta_pb2 import ResetRequest
from regatta.pb.regatta_pb2 import TxnRequest
from regatta.raft import Entry
from regatta.store import Machine
from regatta.store import Snapshot
from regatta.store import View
from regatta.store._env import Environment
from regatta.store.node import open_stores
from regatta.table._leaders import Leaders
from regatta.table._node_sink import NodeSink
from regatta.table._range import RangeSink
from regatta.wire._snappy import unframe
from tests.fuzz import documents
from tests.fuzz import hostile
from tests.fuzz import kafka
from tests.fuzz import messages
from tests.fuzz import raft
from tests.fuzz import writes
from tests.fuzz.frames import DATA
from tests.fuzz.frames import HEADERS
from tests.fuzz.frames import Frame
from tests.fuzz.frames import changed_conversation
from tests.fuzz.frames import encode
from tests.fuzz.frames import message
from tests.fuzz.frames import parse_frames
from tests.fuzz.mutation import below
from tests.fuzz.mutation import mutate_bytes
from tests.fuzz.mutation import pick
from tests.store import pages

Run = Callable[[Random], None]

SETTINGS, END_STREAM, END_HEADERS = 4, 1, 4
FRAME_BYTES_MAX = 16_384
VALUE = b"value" * 20
META_GROUP, GROUP = 1000, 10001


def nothing() -> None:
    """Take the notice that there is output; we ask anyway."""


@contextmanager
def range_sink(directory: Path) -> Iterator[RangeSink]:
    """Provide the sink of a daemon whose one table holds all the messages' keys but the last."""
    keys = list(messages.KEYS[:-1])
    environment = dataset.make(directory, messages.TABLE.decode(), keys, VALUE)
    leaders = Leaders()
    leaders.set(GROUP, 1, 1)
    yield RangeSink(View(environment), 1, leaders)
    environment.close()


# HTTP/2: whatever a client sends, frames come back and nothing is left over.


def answer(call: Call) -> None:
    """Answer a call in the manner that its path's length says."""

    def go_on() -> None:
        if not call.is_grpc:
            if call.ended and not call.cancelled:
                call.respond(200, [(b"content-type", b"text/plain")], call.take_body())
            return
        try:
            while (body := call.next_message()) is not None:
                call.send_message(body)
        except RegattaError as error:
            call.finish(error.code, str(error))
            return
        if call.ended:
            call.finish(len(call.path) % 17, "text \u20ac\n", [(b"x-more", b"yes")])

    call.listener = go_on
    go_on()


def drain(session: Session, bytes_max: int) -> bytes:
    """Return all output there is now."""
    pieces = []
    while piece := session.output(bytes_max):
        pieces.append(piece)
    return b"".join(pieces)


def check_output(output: bytes) -> None:
    """See that a server's bytes are whole frames, none too large, settings first."""
    frames, rest = parse_frames(output)
    assert not rest, f"{len(rest)} bytes of an unfinished frame"
    assert all(len(frame.payload) <= FRAME_BYTES_MAX for frame in frames)
    assert not frames or frames[0].kind == SETTINGS


@contextmanager
def http2(directory: Path) -> Iterator[Run]:
    """Conversations with faults in a session, with the native paths behind it."""
    with range_sink(directory) as reads:
        kept = writes.Writes(Leaders())
        sink = NodeSink(reads, kept.sink)

        def run(chance: Random) -> None:
            data = changed_conversation(chance)
            session = Session(sink, answer, nothing)
            step = pick(chance, (1 << 20, 1 << 20, 1 + below(chance, 300), 9))
            bytes_max = pick(chance, (1, 100, 65_536))
            output = []
            step = max(step, len(data) // 100)
            for offset in range(0, len(data), step):
                session.receive(data[offset : offset + step])
                if chance.random() < 0.5:
                    kept.answer_some(chance)
                if chance.random() < 0.7:
                    output.append(drain(session, bytes_max))
            if chance.random() < 0.8:
                check_output(b"".join(output) + drain(session, bytes_max))
            session.close()
            kept.answer_some(chance)
            kept.forget()
            assert live_streams() == 0

        yield run


# Protobuf, the read path: held to the protobuf package.


def literal(name: bytes, value: bytes) -> bytes:
    """Return a header in HPACK's plainest form."""
    return bytes([0, len(name)]) + name + bytes([len(value)]) + value


def call(method: bytes, body: bytes) -> bytes:
    """Return a client's bytes that call one method of regatta.v1.KV."""
    headers = b"".join(
        literal(*pair)
        for pair in (
            (b":method", b"POST"),
            (b":scheme", b"https"),
            (b":authority", b"localhost"),
            (b":path", b"/regatta.v1.KV/" + method),
            (b"content-type", b"application/grpc"),
            (b"te", b"trailers"),
        )
    )
    data = message(body)
    pieces = [data[at : at + FRAME_BYTES_MAX] for at in range(0, len(data), FRAME_BYTES_MAX)]
    return encode(
        [
            Frame(SETTINGS, 0, 0, b""),
            Frame(HEADERS, END_HEADERS, 1, headers),
            *[Frame(DATA, 0, 1, piece) for piece in pieces[:-1]],
            Frame(DATA, END_STREAM, 1, pieces[-1]),
        ]
    )


def is_native(body: bytes) -> bool:
    """Tell whether the read path should answer a request, as the protobuf package reads it."""
    try:
        request = RangeRequest.FromString(body)
    except DecodeError:
        return False
    numbers = (
        *(request.limit, request.min_mod_revision, request.max_mod_revision),
        *(request.min_create_revision, request.max_create_revision),
    )
    return (
        min(numbers) >= 0
        and len(request.table) > 0
        and 1 <= len(request.key) <= 1024
        and len(request.range_end) <= 1024
        and not (request.keys_only and request.count_only)
    )


def is_plain(body: bytes) -> bool:
    """Tell whether a message has no field twice and no groups; others may always be declined."""
    return messages.looks_whole(body) and len(
        {number for number, _, _ in messages.split(body)}
    ) == len(messages.split(body))


def expected_answer(body: bytes, revision: int) -> RangeResponse | None:
    """Return what a native request is answered; None for a table that is not there."""
    request = RangeRequest.FromString(body)
    if request.table != messages.TABLE:
        return None
    response = RangeResponse()
    header = response.header
    header.shard_id, header.replica_id, header.raft_term, header.raft_leader_id = GROUP, 1, 1, 1
    end = request.range_end or request.key + b"\0"
    lowest = max(request.min_mod_revision, request.min_create_revision)
    highest = min(request.max_mod_revision or revision, request.max_create_revision or revision)
    found = [
        key
        for key in sorted(messages.KEYS[:-1])
        if request.key <= key and (key < end or end == b"\0") and lowest <= revision <= highest
    ]
    taken = found[: request.limit or None]
    response.count, response.more = len(taken), len(taken) < len(found)
    for key in [] if request.count_only else taken:
        pair = response.kvs.add(key=key)
        pair.create_revision = pair.mod_revision = revision
        pair.value = b"" if request.keys_only else VALUE
    return response


@contextmanager
def ranges(directory: Path) -> Iterator[Run]:
    """RangeRequests in a session; the answers are those that the protobuf package makes."""
    with range_sink(directory) as sink:

        def run(chance: Random) -> None:
            body = messages.changed(chance, messages.range_request(chance))
            declined: list[Call] = []
            session = Session(sink, declined.append, nothing)
            session.receive(call(b"Range", body))
            frames, _ = parse_frames(drain(session, 65_536))
            session.close()
            answered = [frame.payload for frame in frames if frame.kind == DATA]
            if declined:
                assert not (is_plain(body) and is_native(body)), "declined for no reason"
                return
            assert is_native(body), "answered what it must not"
            expected = expected_answer(body, revision=1)
            if expected is None:
                assert answered == []
            else:
                assert RangeResponse.FromString(b"".join(answered)[5:]) == expected

        yield run


# Protobuf, the write path: held to the protobuf package and to what the handlers propose.


METHODS = {PutRequest: b"Put", DeleteRangeRequest: b"DeleteRange", TxnRequest: b"Txn"}


@contextmanager
def native_writes(directory: Path) -> Iterator[Run]:
    """Requests that write, in a session."""
    kept = writes.Writes(Leaders())

    def ask(kind: type[writes.Request], body: bytes) -> Session:
        session = Session(kept.sink, lambda call: None, nothing)
        session.receive(call(METHODS[kind], body))
        return session

    def run(chance: Random) -> None:
        writes.check(kept, ask, chance)
        assert live_streams() == 0

    yield run


# Protobuf, the state machine: a log of anything does no harm, and the counts stay right.

CODES = (Code.OK, Code.RESOURCE_EXHAUSTED, Code.ABORTED, Code.INTERNAL)


class Applier:
    """A state machine with its thread; each command is applied by itself."""

    def __init__(self, directory: Path) -> None:
        self.environment = Environment(directory, checkpointed=True)
        self._turns = os.eventfd(0)
        self.machine = Machine(self.environment, self._turns)
        self._thread = threading.Thread(target=self.machine.run, daemon=True)
        self._thread.start()
        self._index = 0
        create = Command(kv=KeyValue(key=messages.TABLE)).SerializeToString()
        self._apply(META_GROUP, 1, create)

    def apply(self, payload: bytes) -> tuple[int, bool, bytes]:
        """Apply one command and return its result."""
        self._index += 1
        return self._apply(GROUP, self._index, payload)

    def _apply(self, group: int, index: int, payload: bytes) -> tuple[int, bool, bytes]:
        self.machine.apply(group, [Entry(1, index, data=payload)])
        self.machine.flush()
        while self.machine.committed < self.machine.queued:
            os.eventfd_read(self._turns)
            assert self.machine.failure is None
        (result,) = self.machine.take_results()
        return result

    def check_counts(self) -> None:
        """See that the catalogue's counts are those of the stored pairs, and all is readable."""
        snapshot = Snapshot(self.environment)
        state = snapshot.find(messages.TABLE)
        assert state is not None
        scan = snapshot.scan(state.table_id, RangeRequest(key=b"\0", range_end=b"\0"))
        kvs: list[KeyValue] = []
        while not scan.exhausted:
            scan.finish_page()
            kvs += RangeResponse.FromString(scan.take_page()[0]).kvs
        assert state.applied_index == self._index
        assert state.key_count == len(kvs)
        assert [pair.key for pair in kvs] == sorted({pair.key for pair in kvs})
        snapshot.hash()
        for position in snapshot.positions(state.group):
            assert min(position.partition, position.next, position.skipped) >= 0
            assert 1 <= len(position.topic) <= 249

    def close(self) -> None:
        """End the thread."""
        self.machine.close()
        self._thread.join()
        self.environment.close()
        os.close(self._turns)


@contextmanager
def commands(directory: Path) -> Iterator[Run]:
    """Commands in the log, and transactions that only read."""
    applier = Applier(directory)

    def run(chance: Random) -> None:
        proper = messages.command(chance).SerializeToString()
        payload = messages.changed(chance, proper)
        code, _, result = applier.apply(payload)
        assert code in CODES
        if code == Code.OK:
            CommandResult.FromString(result)
        else:
            assert result.decode()
            assert payload != proper or code != Code.INTERNAL
        if chance.random() < 0.3:
            read(chance, applier.environment)
        if chance.random() < 0.002:
            applier.check_counts()

    yield run
    applier.check_counts()
    applier.close()


def read(chance: Random, environment: Environment) -> None:
    """Run a transaction whose operations are all ranges; changed bytes may not make it write."""
    transaction = messages.transaction(chance)
    for operations in (transaction.success, transaction.failure):
        for operation in list(operations):
            if not operation.HasField("request_range"):
                operations.remove(operation)
    payload = messages.changed(chance, transaction.SerializeToString())
    try:
        reads = Txn.FromString(payload)
    except DecodeError:
        return
    if all(
        one.WhichOneof("request") == "request_range" for one in (*reads.success, *reads.failure)
    ):
        snapshot = Snapshot(environment)
        table = snapshot.find(messages.TABLE)
        assert table is not None
        code, _, result = snapshot.transact(table.table_id, payload)
        assert code in CODES
        assert code or CommandResult.FromString(result) is not None


# JSON: the codec by itself, and the routes with a whole engine behind them.

REQUESTS = (RangeRequest, PutRequest, DeleteRangeRequest, TxnRequest, ResetRequest)
PATHS = (*ROUTES, "/v1/kv/range?x=%00", "/", "/v1/kv")
GOOD_STATUSES = {200, 400, 404, 405, 429}


def check_codec(chance: Random, body: bytes) -> None:
    """See that a body is refused or read, and that what was read survives a round trip."""
    request_class = pick(chance, REQUESTS)
    request = request_class()
    try:
        json_codec.decode(request, body)
    except InvalidArgument:
        return
    again = request_class()
    json_codec.decode(again, json_codec.encode(request))
    assert again == request


@contextmanager
def json_bodies(directory: Path) -> Iterator[Run]:
    """Bodies for the codec and for the routes."""
    loop = asyncio.new_event_loop()
    stores = open_stores(directory / "log", directory / "data")
    failures: list[str] = []
    engine = Engine(stores, 1, failures.append)
    engine.attach(loop)
    methods, wheel = methods_of([KV(engine), Maintenance(engine)]), Wheel()
    rest = Rest(methods, wheel)

    async def ask(chance: Random, body: bytes) -> None:
        method = "POST" if chance.random() < 0.95 else pick(chance, ("GET", "HEAD", "", "\0"))
        headers: dict[str, str] = {}
        if chance.random() < 0.1:
            headers["Grpc-Timeout"] = pick(chance, ("1S", "x", "", "99999999H", "-1S", "1s"))
        status, _, answer = await rest.handle(method, pick(chance, PATHS), headers, body)
        assert status in GOOD_STATUSES, f"status {status}: {answer!r}"
        if status == 400:
            error: dict[str, Any] = json.loads(answer)
            assert error["message"]
            assert error["code"] in (Code.INVALID_ARGUMENT, Code.FAILED_PRECONDITION)
        elif status == 200:
            json.loads(answer)

    def run(chance: Random) -> None:
        body = documents.document(chance)
        if chance.random() < 0.6:
            check_codec(chance, body)
        else:
            loop.run_until_complete(ask(chance, body))
        assert not failures

    yield run
    loop.run_until_complete(engine.close())
    stores.close()
    loop.close()


# Raft: what a peer sends.


@contextmanager
def raft_messages(directory: Path) -> Iterator[Run]:
    """Messages, held to the protobuf package; some are sent to a group."""

    def run(chance: Random) -> None:
        if chance.random() < 0.9:
            raft.check_decoders(chance)
        else:
            hostile.check_group(chance)

    yield run


# Snappy: held to the library's decoder.


def snappy_input(chance: Random) -> bytes:
    """Return what the library's encoder makes, and what changes make of that."""
    pieces = [
        mutate_bytes(chance, b"value") * below(chance, 1 + pick(chance, (3, 30, 3000)))
        for _ in range(below(chance, 6))
    ]
    packed = bytes(cramjam.snappy.compress(b"".join(pieces)))
    if chance.random() < 0.2:
        return packed
    if chance.random() < 0.5:  # behind the heads, where the elements are
        at = min(len(packed), 18)
        return packed[:at] + mutate_bytes(chance, packed[at:])
    return mutate_bytes(chance, packed)


@contextmanager
def snappy(directory: Path) -> Iterator[Run]:
    """Framed snappy, whole and damaged; what is decoded is what the library decodes."""

    def run(chance: Random) -> None:
        data = snappy_input(chance)
        bytes_max = pick(chance, (1 << 20, 1 << 20, 100))
        found = unframe(data, bytes_max)
        if isinstance(found, int):
            assert found > bytes_max
        elif found is not None:
            assert len(found) <= bytes_max
            assert not data or found == bytes(cramjam.snappy.decompress(data))

    yield run


# Kafka: what a topic holds.


@contextmanager
def kafka_batches(directory: Path) -> Iterator[Run]:
    """Polls of records, held to a model."""
    yield kafka.check_batches


# Pages of the store: those that are whole are searched rightly, and no others are read outside of.


@contextmanager
def pages_of_keys(directory: Path) -> Iterator[Run]:
    """Trees of pages, some of them with damage, in which keys are looked for."""
    find = pages.lookups().find

    def run(chance: Random) -> None:
        names = {chance.randbytes(1 + below(chance, 3)) for _ in range(1 + below(chance, 60))}
        pairs = sorted((bytes(7) + b"\x01" + name * 5, name) for name in names)
        data, root, depth = pages.tree(pairs, 1 + below(chance, 20), 2 + below(chance, 6))
        keys = [key for key, _ in pairs] + [chance.randbytes(9) for _ in range(3)]
        found = find(data, pages.PAGE_BYTES, root, depth, keys)
        assert found == [dict(pairs).get(key) for key in keys]
        damaged = bytearray(data)
        for _ in range(1 + below(chance, 8)):
            # A page's head and its list of nodes most of the time, else anything.
            start = pages.PAGE_BYTES * (2 + below(chance, len(data) // pages.PAGE_BYTES - 2))
            at = start + below(chance, pick(chance, (60, 60, pages.PAGE_BYTES)))
            damaged[at : at + 2] = chance.randbytes(2)
        for value in find(bytes(damaged[: len(data)]), pages.PAGE_BYTES, root, depth, keys):
            assert value is None or value in damaged

    yield run


TARGETS = {
    "http2": http2,
    "range": ranges,
    "write": native_writes,
    "command": commands,
    "json": json_bodies,
    "raft": raft_messages,
    "snappy": snappy,
    "kafka-batch": kafka_batches,
    "lookup": pages_of_keys,
}
