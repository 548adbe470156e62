"""Random operations on a daemon answer what a model in memory answers, restarts in between.

`make model` runs many more of them than `make test` does.
"""

import http.client
import itertools
import json
import os
import random
import re
import ssl
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import grpc
import pytest
from google.protobuf import json_format
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from regatta.pb.mvcc_pb2 import Compare
from regatta.pb.mvcc_pb2 import KeyValue
from regatta.pb.mvcc_pb2 import RequestOp
from regatta.pb.regatta_pb2 import DeleteRangeRequest
from regatta.pb.regatta_pb2 import PutRequest
from regatta.pb.regatta_pb2 import RangeRequest
from regatta.pb.regatta_pb2 import TxnRequest
from tests.cluster.harness import KV
from tests.cluster.harness import Certificate
from tests.cluster.harness import Daemon
from tests.cluster.model import MIB
from tests.cluster.model import ZERO
from tests.cluster.model import Model
from tests.cluster.model import Refusal
from tests.cluster.model import Request
from tests.cluster.model import Table
from tests.cluster.model import check_size

EXAMPLE_COUNT = int(os.environ.get("REGATTA_MODEL_EXAMPLES", "5"))
TABLE_COUNT = 3  # in each example
CALL_TIMEOUT_S = 30.0

METHODS: dict[type, str] = {
    RangeRequest: "range",
    PutRequest: "put",
    DeleteRangeRequest: "delete_range",
    TxnRequest: "txn",
}
PATHS = {"range": "range", "put": "put", "delete_range": "deleterange"}
HTTP_CODES = {"NOT_FOUND": (404, 5), "INVALID_ARGUMENT": (400, 3), "FAILED_PRECONDITION": (400, 9)}
HTTP_CODES |= {"RESOURCE_EXHAUSTED": (429, 8)}
REST_HEADER_NAMES = {"shard_id": "cluster_id", "replica_id": "member_id"}


# What is asked.


@dataclass(frozen=True)
class Step:
    """One call on one of the example's tables."""

    table: int
    way: str  # grpc, stream (IterateRange in place of Range) or rest
    request: Request


@dataclass(frozen=True)
class Interruption:
    """How a daemon comes to its end. Writes to each table may be under way at that moment."""

    kind: str  # none, stop, kill
    in_flight: list[Request]
    delay_s: float  # from sending them to the end


FILLING = TxnRequest(
    success=[
        RequestOp(request_put=RequestOp.Put(key=key, value=key))
        for key in (b"\0", b"a", b"ab", b"a\xff", b"b", b"\xff", b"p" * 500 + b"a", b"\xff" * 1024)
    ]
)


def evenly(*several: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Draw from each as often; one_of() would count the parts of those that are one_of() again."""
    return st.integers(0, len(several) - 1).flatmap(several.__getitem__)


class Draws:
    """Strategies. Many keys meet, or share long prefixes; ranges treat some bytes specially."""

    prefixes = st.sampled_from(
        [b"", b"", b"", b"a", b"\0", b"\xff", b"p" * 500, b"\0" * 1000, b"\xff" * 1022]
    )
    endings = st.lists(st.sampled_from([b"\0", b"a", b"b", b"\xff"]), min_size=1, max_size=2)
    keys = st.builds(lambda prefix, parts: prefix + b"".join(parts), prefixes, endings)
    ends = st.one_of(st.just(b""), st.just(ZERO), keys, keys.map(lambda key: key[:-1] + b"\xff"))
    # Values of one or two pages' size less a little meet the bound of a page on either side.
    sizes = st.one_of(
        st.sampled_from([5000, 66_000, MIB, 2 * MIB]),
        st.integers(0, 48).map(lambda less: 2 * MIB - 1024 - less),
    )
    small_values = st.sampled_from([b"", b"\0", b"a", b"b", b"\xff"])
    large_values = st.builds(
        lambda *spelled: b"%d bytes of seed %d" % spelled, sizes, st.integers(0, 9)
    )
    values = st.one_of(small_values, small_values, small_values, large_values)

    selections = st.fixed_dictionaries({"key": keys, "range_end": ends})
    shapes = st.sampled_from([{}, {}, {"keys_only": True}, {"count_only": True}])
    reads = st.builds(
        lambda selection, limit, shape: {**selection, "limit": limit, **shape},
        selections,
        st.integers(0, 4),
        shapes,
    )
    filters = st.dictionaries(
        st.sampled_from(
            ["min_mod_revision", "max_mod_revision", "min_create_revision", "max_create_revision"]
        ),
        st.integers(0, 20),
        max_size=2,
    )
    puts = st.fixed_dictionaries({"key": keys, "value": values, "prev_kv": st.booleans()})
    deletes = st.builds(
        lambda selection, prev_kv, count: {**selection, "prev_kv": prev_kv, "count": count},
        selections,
        st.booleans(),
        st.booleans(),
    )
    comparisons = st.builds(
        lambda selection, result, value: Compare(**selection, result=result, **value),
        selections,
        st.sampled_from(Compare.CompareResult.keys()),
        st.one_of(st.just({}), st.fixed_dictionaries({"value": values})),
    )
    operations = st.one_of(
        reads.map(lambda fields: RequestOp(request_range=RequestOp.Range(**fields))),
        puts.map(lambda fields: RequestOp(request_put=RequestOp.Put(**fields))),
        puts.map(lambda fields: RequestOp(request_put=RequestOp.Put(**fields))),
        deletes.map(lambda fields: RequestOp(request_delete_range=RequestOp.DeleteRange(**fields))),
        st.just(RequestOp()),
    )
    put_requests = puts.map(lambda fields: PutRequest(**fields))
    range_requests = st.builds(
        lambda fields, options: RangeRequest(**fields, **options), reads, filters
    )
    any_txns = st.builds(
        lambda compare, success, failure: TxnRequest(
            compare=compare, success=success, failure=failure
        ),
        st.lists(comparisons, max_size=2),
        st.lists(operations, max_size=5),
        st.lists(operations, max_size=3),
    )
    # Two pairs that only just fit into a page, or only just don't. The latter can't be answered as
    # what a delete has removed, and all is undone.
    full_pages = st.builds(
        lambda less, last: TxnRequest(
            success=[
                RequestOp(request_put=RequestOp.Put(key=key, value=b"%d bytes of seed 1" % size))
                for key, size in ((b"a", 2 * MIB), (b"b", 2 * MIB - 1024 - less))
            ]
            + [last]
        ),
        st.integers(20, 27),
        st.sampled_from(
            [
                RequestOp(request_range=RequestOp.Range(key=b"a", range_end=b"b\0")),
                RequestOp(
                    request_delete_range=RequestOp.DeleteRange(
                        key=b"a", range_end=b"b\0", prev_kv=True
                    )
                ),
            ]
        ),
    )
    txn_requests = evenly(any_txns, any_txns, any_txns, full_pages)
    faulty_keys = st.sampled_from([b"", b"k" * 1025, b"\0" * 5000])
    faulty_requests = st.one_of(
        st.builds(RangeRequest, key=faulty_keys, range_end=ends),
        st.builds(RangeRequest, key=keys, limit=st.integers(-(2**63), -1)),
        st.builds(RangeRequest, key=keys, min_mod_revision=st.just(-1)),
        st.builds(RangeRequest, key=keys, keys_only=st.just(True), count_only=st.just(True)),
        st.builds(PutRequest, key=faulty_keys),
        st.builds(PutRequest, key=keys, value=st.just(b"%d bytes of seed 0" % (2 * MIB + 1))),
        st.builds(DeleteRangeRequest, key=faulty_keys),
        st.builds(
            lambda key: TxnRequest(success=[RequestOp(request_put=RequestOp.Put(key=key))]),
            faulty_keys,
        ),
        st.builds(lambda key: TxnRequest(compare=[Compare(key=key)]), faulty_keys),
    )
    requests = evenly(
        put_requests,
        put_requests,
        put_requests,
        range_requests,
        range_requests,
        deletes.map(lambda fields: DeleteRangeRequest(**fields)),
        txn_requests,
        txn_requests,
        faulty_requests,
    )
    steps = st.builds(
        Step,
        st.integers(0, TABLE_COUNT - 1),
        st.sampled_from(["grpc", "grpc", "stream", "rest"]),
        requests,
    )
    # Writes of which a look at the table afterwards tells for certain whether they happened.
    certain_writes = st.one_of(
        put_requests,
        st.builds(
            lambda deleted, put: TxnRequest(
                success=[
                    RequestOp(request_delete_range=RequestOp.DeleteRange(**deleted)),
                    RequestOp(request_put=RequestOp.Put(**put)),
                ]
            ),
            selections,
            puts,
        ),
    )
    interruptions = st.builds(
        Interruption,
        st.sampled_from(["stop", "kill", "kill"]),
        st.lists(certain_writes, max_size=TABLE_COUNT),
        st.floats(0, 0.02),
    )


SPELLED = re.compile(rb"([0-9]+) bytes of seed ([0-9])")


def complete(template: Request, table: bytes) -> Request:
    """Return a request on *table*, large values written out: strategies only spell them."""
    request: Any = type(template)()
    request.CopyFrom(template)
    request.table = table
    holders: list[Any] = [request] if isinstance(request, PutRequest) else []
    if isinstance(request, TxnRequest):
        holders += [compare for compare in request.compare if compare.HasField("value")]
        operations = [*request.success, *request.failure]
        holders += [one.request_put for one in operations if one.HasField("request_put")]
    for holder in holders:
        if match := SPELLED.fullmatch(holder.value):
            holder.value = random.Random(int(match[2])).randbytes(int(match[1]))
    completed: Request = request
    return completed


# How it is asked.


class Subject:
    """A daemon, and the model that tells what it must answer."""

    def __init__(self, daemon: Daemon) -> None:
        self.daemon = daemon
        self.model = Model()
        self.names = (b"table_%d" % number for number in itertools.count())
        self.shards: dict[bytes, int] = {}
        self.unknown: list[bytes] = []  # tables whose last revision and term nobody was told
        self.totals: Counter[str] = Counter()
        self.channel: grpc.Channel | None = None

    def start(self) -> None:
        """Start the daemon, if it does not run, and connect."""
        if self.channel is not None:
            return
        self.daemon.start()
        self.channel = self.daemon.channel()
        self.calls = KV(self.channel)
        trust = ssl.create_default_context(cafile=str(self.daemon.certificate.certificate_path))
        self.rest = http.client.HTTPSConnection(
            "localhost", self.daemon.port, timeout=CALL_TIMEOUT_S, context=trust
        )

    def end(self, kind: str) -> None:
        """End the daemon."""
        if kind == "stop":
            assert self.daemon.stop() == 0
        else:
            self.daemon.kill_9()
        self.totals[kind] += 1

    def disconnect(self) -> None:
        """Give the connections up."""
        if self.channel is not None:
            self.channel.close()
            self.rest.close()
        self.channel = None

    def run(self, step: Step, name: bytes) -> None:
        """Make one call on table *name*, and hold its answer to the model's."""
        request = complete(step.request, name)
        method = METHODS[type(request)]
        way = step.way
        if way == "rest" and method in PATHS:
            self.run_rest(method, request)
        elif way == "stream" and method == "range":
            method = "iterate_range"
            self.run_grpc(method, request)
        else:
            way = "grpc"
            self.run_grpc(method, request)
        self.totals[f"{method} by {'REST' if way == 'rest' else 'gRPC'}"] += 1

    def run_grpc(self, method: str, request: Request) -> None:
        """Make a call over gRPC."""
        answer: Any
        try:
            answer = getattr(self.calls, method)(request, timeout=CALL_TIMEOUT_S)
            if method == "iterate_range":
                answer = list(answer)
        except grpc.RpcError as error:
            answer = (error.code().name, error.details())
        self.check(request, answer, self.expected(method, request))

    def expected(self, method: str, request: Request) -> Any:
        """Return the model's answer or answers, or the code and text of its refusal."""
        try:
            check_size(request)
            return getattr(self.model, method)(request)
        except Refusal as refusal:
            return refusal.args

    def check(self, request: Request, answer: Any, expected: Any) -> None:
        """Compare an answer with what was expected, headers included."""
        if isinstance(expected, tuple) or isinstance(answer, tuple):
            self.totals["refusals"] += 1
            assert answer == expected
            return
        if not isinstance(expected, list):
            answer, expected = [answer], [expected]
        assert len(answer) == len(expected)
        for message, wanted in zip(answer, expected, strict=True):
            self.complete_header(request.table, message.header.shard_id, wanted)
            assert message == wanted

    def complete_header(self, table: bytes, shard: int, wanted: Any) -> None:
        """Put into a header what the model does not foretell; *shard* is what was answered."""
        if table not in self.shards:
            assert shard > 10_000
            assert shard not in self.shards.values()
            self.shards[table] = shard
        header = wanted.header
        header.shard_id, header.replica_id = self.shards[table], 1
        header.raft_term, header.raft_leader_id = self.model.tables[table].term, 1

    def run_rest(self, method: str, request: Any) -> None:
        """Make a call over HTTP/1.1."""
        fields = json_format.MessageToDict(request, preserving_proto_field_name=True)
        self.rest.request("POST", f"/v1/kv/{PATHS[method]}", json.dumps(fields))
        response = self.rest.getresponse()
        status, body = response.status, response.read()
        if method == "delete_range" and not request.range_end:
            request.count = True
        expected = self.expected(method, request)
        if method == "range" and not request.range_end and not isinstance(expected, tuple):
            # A read of one key answers with the key or not at all.
            expected = expected if expected.count else ("NOT_FOUND", "key not found")
        if isinstance(expected, tuple):
            self.totals["refusals"] += 1
            wanted_status, code = HTTP_CODES[expected[0]]
            wanted = {"error": expected[1], "code": code, "message": expected[1]}
            assert (status, json.loads(body)) == (wanted_status, wanted)
            return
        found = json.loads(body)
        assert status == 200, found
        self.complete_header(request.table, int(found["header"]["cluster_id"]), expected)
        wanted = json_format.MessageToDict(expected, preserving_proto_field_name=True)
        wanted["header"] = {
            REST_HEADER_NAMES.get(name, name): value for name, value in wanted["header"].items()
        }
        assert body == json.dumps(wanted, separators=(",", ":")).encode()

    def interrupt(self, interruption: Interruption, names: list[bytes]) -> None:
        """End the daemon while writes are under way, start it, and see what became of them."""
        futures = []
        for name, template in zip(names, interruption.in_flight, strict=False):
            request = complete(template, name)
            send = getattr(self.calls, METHODS[type(request)])
            futures.append((request, send.future(request, timeout=CALL_TIMEOUT_S)))
        time.sleep(interruption.delay_s)
        self.end(interruption.kind)
        # Before the channel closes, which would hide answers that have come.
        outcomes = [(request, outcome_of(future)) for request, future in futures]
        self.disconnect()
        self.start()
        for request, answer in outcomes:
            self.settle(request, answer)
        self.model.restart()
        for name in self.unknown:
            self.learn(name)
        self.unknown.clear()
        for name in names:
            self.check_whole(name)

    def settle(self, request: Request, answer: Any) -> None:
        """Let the model take part in a write that was under way, if it happened."""
        self.totals["writes under way"] += 1
        name = request.table
        before = self.model.tables.get(name, Table()).copy()
        expected = self.expected(METHODS[type(request)], request)
        if answer is not None:
            self.totals["of them acknowledged"] += 1
            self.check(request, answer, expected)
            return
        # It happened whole or not at all; perhaps the table was made, and that was all.
        pairs = self.pairs(name)
        if pairs == self.model.tables[name].in_order():
            self.totals["of them done without an answer"] += 1
        elif pairs is None:
            del self.model.tables[name]
        else:
            self.model.tables[name] = before
            if name not in self.shards:
                self.unknown.append(name)

    def learn(self, name: bytes) -> None:
        """Ask a table, made when the daemon was ended, how far its log came before that."""
        put = self.calls.put(PutRequest(table=name, key=b"asked"), timeout=CALL_TIMEOUT_S)
        delete = DeleteRangeRequest(table=name, key=b"asked")
        header = self.calls.delete_range(delete, timeout=CALL_TIMEOUT_S).header
        assert header.revision == put.header.revision + 1 <= 4
        assert 1 <= header.raft_term <= 2
        table = self.model.tables[name]
        table.revision, table.term = header.revision, header.raft_term

    def pairs(self, name: bytes) -> list[KeyValue] | None:
        """Return all that a table of the daemon holds; None if there is no such table."""
        request = RangeRequest(table=name, key=ZERO, range_end=ZERO)
        try:
            pages = list(self.calls.iterate_range(request, timeout=CALL_TIMEOUT_S))
        except grpc.RpcError as error:
            if error.details() != "table not found":
                raise
            return None
        return [pair for page in pages for pair in page.kvs]

    def check_whole(self, name: bytes) -> None:
        """Compare all that a table holds, revisions included."""
        table = self.model.tables.get(name)
        assert self.pairs(name) == (None if table is None else table.in_order())


def outcome_of(future: Any) -> Any:
    """Return the answer of a call whose server may be gone, or None if there is none."""
    try:
        return future.result()
    except grpc.RpcError as error:
        if error.code() != grpc.StatusCode.UNAVAILABLE:
            raise
        return None


@pytest.fixture(scope="module")
def subject(
    tmp_path_factory: pytest.TempPathFactory, certificate: Certificate
) -> Iterator[Subject]:
    """A daemon of this module's own, for it is killed often."""
    tested = Subject(Daemon(tmp_path_factory.mktemp("model"), certificate))
    yield tested
    tested.disconnect()
    tested.daemon.kill_9()
    by_kind = ", ".join(f"{count} {kind}" for kind, count in sorted(tested.totals.items()))
    print(f"\nThe model was asked: {by_kind}")
    assert "Traceback" not in tested.daemon.stderr


@settings(
    max_examples=EXAMPLE_COUNT,
    deadline=None,
    database=None,
    print_blob=True,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.generate, Phase.shrink],
)
@given(
    st.lists(Draws.steps, min_size=20, max_size=40),
    Draws.interruptions,
    st.lists(Draws.steps, min_size=5, max_size=20),
)
def test_a_daemon_behaves_as_its_model(
    subject: Subject, before: list[Step], interruption: Interruption, after: list[Step]
) -> None:
    subject.start()
    names = [next(subject.names) for _ in range(TABLE_COUNT)]
    # All but the last table are there from the start, with something to find in them.
    for name in names[:-1]:
        subject.run(Step(0, "grpc", FILLING), name)
    for step in before:
        subject.run(step, names[step.table])
    subject.interrupt(interruption, names)
    for step in after:
        subject.run(step, names[step.table])
    for name in names:
        subject.check_whole(name)
        # The disk is not for ever.
        everything = DeleteRangeRequest(key=ZERO, range_end=ZERO, count=True)
        subject.run(Step(0, "grpc", everything), name)
