"""Writes that come over HTTP/2: into a group that only keeps them, and answered by chance."""

from collections.abc import Callable
from random import Random
from typing import Any

from google.protobuf.message import DecodeError

from regatta import limits
from regatta.api import kv
from regatta.errors import Code
from regatta.errors import Internal
from regatta.errors import RegattaError
from regatta.http2 import Session
from regatta.pb.mvcc_pb2 import Command
from regatta.pb.mvcc_pb2 import CommandResult
from regatta.pb.mvcc_pb2 import KeyValue
from regatta.pb.mvcc_pb2 import Txn
from regatta.pb.regatta_pb2 import DeleteRangeRequest
from regatta.pb.regatta_pb2 import PutRequest
from regatta.pb.regatta_pb2 import TxnRequest
from regatta.table._leaders import Leaders
from regatta.table._write import KeptWrite
from regatta.table._write import Queue
from regatta.table._write import WriteSink
from regatta.table._write import expire
from tests.fuzz import messages
from tests.fuzz.mutation import below
from tests.fuzz.mutation import pick

GROUP = 10001
Request = PutRequest | DeleteRangeRequest | TxnRequest
REQUESTS: tuple[type[Request], ...] = (PutRequest, DeleteRangeRequest, TxnRequest, TxnRequest)
RESULTS = (
    b"",
    CommandResult(revision=3).SerializeToString(),
    b"\x0a\x02\x12\x00" * 3 + b"\x10\x03",
    b"\x0a\x04\x1a\x02\x08\x07",
    b"\x0a\xff",
)


class Log:
    """Stands where a table's group stands."""

    id = GROUP

    def __init__(self) -> None:
        self.proposed: list[KeptWrite] = []


class Writes:
    """A sink for writes, and what came of them."""

    def __init__(self, leaders: Leaders, table: bytes = messages.TABLE) -> None:
        self.log = Log()
        self.queue = Queue()
        self.queue.is_open = True
        groups: Any = {table: self.log}
        self.sink = WriteSink(
            self.queue, groups, frozenset(), lambda group: None, self.has_room, 1, leaders
        )

    def has_room(self, size: int, count: int) -> bool:
        """Say that there is room on the disk for *count* commands."""
        return size > 0 and count > 0

    def answer_some(self, chance: Random) -> None:
        """Answer writes that wait, some of them, in any order and in every way."""
        waiting = self.log.proposed
        while waiting and chance.random() < 0.9:
            write = waiting.pop(below(chance, len(waiting)))
            turn = chance.random()
            if turn < 0.7:
                write.settle(Code.OK, chance.random() < 0.5, pick(chance, RESULTS))
            elif turn < 0.8:
                write.settle(Code.RESOURCE_EXHAUSTED, False, b"too much \xe2\x82\xac\n")
            elif turn < 0.9:
                write.fail(Internal("gone"))
            else:
                expire([write])
        if chance.random() < 0.1:
            expire(waiting)

    def forget(self) -> None:
        """Drop what was not answered."""
        self.log.proposed.clear()
        self.queue.count = self.queue.bytes = 0


def proper_request(chance: Random, kind: type[Request]) -> Request:
    """Return a request of one kind."""
    key, value = pick(chance, messages.KEYS), pick(chance, messages.VALUES)
    flag = chance.random() < 0.1
    if kind is PutRequest:
        return PutRequest(table=messages.TABLE, key=key, value=value, prev_kv=flag)
    if kind is DeleteRangeRequest:
        end = pick(chance, messages.ENDS)
        return DeleteRangeRequest(
            table=messages.TABLE, key=key, range_end=end, prev_kv=flag, count=not flag
        )
    txn = messages.transaction(chance)
    return TxnRequest(
        table=messages.TABLE, compare=txn.compare, success=txn.success, failure=txn.failure
    )


def expected_command(kind: type[Request], body: bytes) -> Command | None:
    """Return what must be proposed if anything is; None if nothing may be."""
    try:
        request = kind.FromString(body)
        if request.table != messages.TABLE:
            return None
        if isinstance(request, TxnRequest):
            kv.check_txn(request)
            return Command(
                table=request.table,
                type=Command.TXN,
                txn=Txn(compare=request.compare, success=request.success, failure=request.failure),
            )
        kv.check_names(request)
        kv.check_pair_length(request.key, getattr(request, "value", b""))
    except (DecodeError, RegattaError):
        return None
    if isinstance(request, PutRequest):
        pair = KeyValue(key=request.key, value=request.value)
        return Command(table=request.table, kv=pair)
    return Command(
        table=request.table,
        type=Command.DELETE,
        kv=KeyValue(key=request.key),
        range_end=request.range_end,
        count=request.count,
    )


def answers_pairs(kind: type[Request], body: bytes) -> bool:
    """Say whether a request is for the router since its answer may hold pairs."""
    request = kind.FromString(body)
    if not isinstance(request, TxnRequest):
        return request.prev_kv
    all_of_them = [*request.success, *request.failure]
    kinds = {operation.WhichOneof("request") for operation in all_of_them} - {None}
    return (
        not kinds
        or "request_range" in kinds
        or len(body) > limits.stretch_bytes_max
        or any(
            operation.request_put.prev_kv or operation.request_delete_range.prev_kv
            for operation in all_of_them
        )
    )


def check(writes: Writes, ask: Callable[[type[Request], bytes], Session], chance: Random) -> None:
    """Send one request by *ask*, hold what is proposed to the protobuf package, and answer it."""
    kind = pick(chance, REQUESTS)
    proper = proper_request(chance, kind).SerializeToString()
    body = messages.changed(chance, proper)
    session = ask(kind, body)
    proposed = [write.command for write in writes.log.proposed]
    expected = expected_command(kind, body)
    if proposed:
        assert expected is not None, "proposed what it must not"
        assert [Command.FromString(command) for command in proposed] == [expected]
        assert not answers_pairs(kind, body)
    elif body == proper and expected is not None:
        assert answers_pairs(kind, body), "declined for no reason"
    writes.answer_some(chance)
    session.output(65_536)
    session.close()
    writes.forget()
