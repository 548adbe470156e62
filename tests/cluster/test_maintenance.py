"""Hash and Reset."""

from collections.abc import Iterator
from typing import Any

import pytest

from regatta.pb.regatta_pb2 import HashRequest
from regatta.pb.regatta_pb2 import HashResponse
from regatta.pb.regatta_pb2 import ResetRequest
from regatta.pb.regatta_pb2 import ResetResponse
from tests.cluster.harness import KV
from tests.cluster.harness import Daemon
from tests.cluster.harness import unary
from tests.cluster.tables import CALL_TIMEOUT_S
from tests.cluster.tables import ZERO
from tests.cluster.tables import Table
from tests.cluster.tables import op_put
from tests.cluster.tables import refusal

Tables = dict[bytes, dict[bytes, bytes]]  # name to key to value

FILLED: Tables = {
    b"b": {b"key": b"value", b"key ": b""},
    b"a": {b"k2": b"v2", b"k1": b"v1", b"\xff": b"", b"\0": b"\0"},
    b"ab": {b"c": b"large" * 10_000},
}


class Maintenance:
    """The calls of regatta.v1.Maintenance on a channel."""

    def __init__(self, channel: Any) -> None:
        service = "regatta.v1.Maintenance"
        self._hash = unary(channel, service, "Hash", HashResponse)
        self._reset = unary(channel, service, "Reset", ResetResponse)

    def hash(self) -> int:
        """Return the hash of everything."""
        value: int = self._hash(HashRequest(), timeout=CALL_TIMEOUT_S).hash
        return value

    def header(self) -> Any:
        """Return the header of a Hash."""
        return self._hash(HashRequest(), timeout=CALL_TIMEOUT_S).header

    def reset(self, **options: Any) -> ResetResponse:
        """Empty all tables."""
        answer: ResetResponse = self._reset(ResetRequest(**options), timeout=CALL_TIMEOUT_S)
        return answer


def fnv1(data: bytes, value: int = 0xCBF29CE484222325) -> int:
    """Return the 64-bit FNV-1 hash of *data*, going on from *value*."""
    for byte in data:
        value = (value * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF) ^ byte
    return value


def hash_of(tables: Tables) -> int:
    """Return what Hash must answer for these tables."""
    value = fnv1(b"")
    for name, pairs in sorted(tables.items()):
        for key in sorted(pairs):
            value = fnv1(name + key + pairs[key], value)
    return value


def fill(calls: KV) -> None:
    """Store FILLED."""
    for name, pairs in FILLED.items():
        Table(calls, name).txn(success=[op_put(key, value) for key, value in pairs.items()])


@pytest.fixture
def maintenance(shared_daemon: Daemon, calls: KV) -> Iterator[Maintenance]:
    """The maintenance calls of a daemon that holds FILLED and nothing else."""
    with shared_daemon.channel() as channel:
        service = Maintenance(channel)
        service.reset()
        fill(calls)
        yield service


def test_fnv1_is_the_published_one() -> None:
    # From the published test vectors: the 64-bit FNV-1 hashes of "", "a" and "foobar".
    assert fnv1(b"") == 0xCBF29CE484222325
    assert fnv1(b"a") == 0xAF63BD4C8601B7BE
    assert fnv1(b"foobar") == 0x340D8765A4DDA9C2


def test_hash_is_fnv1_over_name_key_and_value_in_order(maintenance: Maintenance) -> None:
    assert maintenance.hash() == hash_of(FILLED)


def test_hash_has_a_header_without_a_revision(maintenance: Maintenance) -> None:
    header = maintenance.header()
    assert header.replica_id == header.raft_leader_id == 1
    assert header.shard_id > 0
    assert header.raft_term > 0
    assert header.revision == 0


def test_hash_changes_with_a_value_and_back(maintenance: Maintenance, calls: KV) -> None:
    table, before = Table(calls, b"a"), maintenance.hash()
    table.put(b"k1", b"other")
    changed = {**FILLED, b"a": {**FILLED[b"a"], b"k1": b"other"}}
    assert maintenance.hash() == hash_of(changed) != before
    table.put(b"k1", b"v1")
    assert maintenance.hash() == before


def test_hash_does_not_depend_on_how_the_data_came_about(
    maintenance: Maintenance, calls: KV
) -> None:
    before = maintenance.hash()
    table = Table(calls, b"a")
    table.delete(ZERO, ZERO)
    assert maintenance.hash() == hash_of({**FILLED, b"a": {}}) != before
    for key, value in sorted(FILLED[b"a"].items(), reverse=True):
        table.put(key, value)
    Table(calls, b"0 empty").delete(b"key")  # a table without a pair adds nothing
    assert maintenance.hash() == before


def test_hash_is_the_same_after_a_restart(stopped_daemon: Daemon) -> None:
    stopped_daemon.start()
    for end in (stopped_daemon.stop, stopped_daemon.kill_9):
        with stopped_daemon.channel() as channel:
            fill(KV(channel))
            before = Maintenance(channel).hash()
            assert before == hash_of(FILLED)
        end()
        stopped_daemon.start()
        with stopped_daemon.channel() as channel:
            assert Maintenance(channel).hash() == before


def test_hash_of_a_new_node_is_that_of_nothing(daemon: Daemon) -> None:
    with daemon.channel() as channel:
        assert Maintenance(channel).hash() == fnv1(b"")
        assert Maintenance(channel).reset().HasField("header")
        assert Maintenance(channel).hash() == fnv1(b"")


@pytest.mark.parametrize("operation", [ResetRequest.NODE, ResetRequest.CLUSTER])
@pytest.mark.parametrize("member", [0, 1])
def test_reset_empties_every_table(
    maintenance: Maintenance, calls: KV, operation: int, member: int
) -> None:
    maintenance.reset(operation=operation, member_id=member)
    assert maintenance.hash() == fnv1(b"")
    for name in FILLED:
        assert Table(calls, name).pairs() == {}


def test_tables_take_writes_after_a_reset(maintenance: Maintenance, calls: KV) -> None:
    table = Table(calls, b"a")
    last = table.put(b"k1", b"v1").header
    maintenance.reset()
    again = table.put(b"k1", b"v1").header
    assert again.shard_id == last.shard_id
    assert again.revision == last.revision + 2  # the reset is a write
    assert table.range(b"k1").kvs[0].create_revision == again.revision
    fill(calls)
    assert maintenance.hash() == hash_of(FILLED)


def test_a_reset_outlives_a_kill(daemon: Daemon) -> None:
    with daemon.channel() as channel:
        fill(KV(channel))
        Maintenance(channel).reset()
    daemon.kill_9()
    daemon.start()
    with daemon.channel() as channel:
        assert Maintenance(channel).hash() == fnv1(b"")


def test_a_reset_of_another_member_is_refused_and_empties_nothing(
    maintenance: Maintenance,
) -> None:
    before = maintenance.hash()
    for operation in (ResetRequest.NODE, ResetRequest.CLUSTER):
        code, text = refusal(maintenance.reset, operation=operation, member_id=7)
        assert (code, text) == ("NOT_FOUND", "member_id 7 is not in this cluster")
    assert maintenance.hash() == before


def test_an_unknown_operation_is_refused_and_empties_nothing(maintenance: Maintenance) -> None:
    before = maintenance.hash()
    assert refusal(maintenance.reset, operation=2) == (
        "INVALID_ARGUMENT",
        "operation 2 is not known",
    )
    assert maintenance.hash() == before
