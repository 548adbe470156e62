"""Put and DeleteRange."""

import pytest

from regatta import limits
from regatta.pb.mvcc_pb2 import KeyValue
from tests.cluster.harness import KV
from tests.cluster.harness import Daemon
from tests.cluster.tables import ZERO
from tests.cluster.tables import Table
from tests.cluster.tables import keys_of
from tests.cluster.tables import op_delete
from tests.cluster.tables import op_put
from tests.cluster.tables import refusal

TOO_LARGE = "the previous pairs exceed 4 MiB; nothing was changed"

# Put.


def test_a_put_answers_a_header_with_its_revision(table: Table) -> None:
    first = table.put(b"key", b"1")
    assert [field.name for field, _ in first.ListFields()] == ["header"]
    header = first.header
    assert header.shard_id >= 10001
    assert header.replica_id == header.raft_leader_id == 1
    assert header.raft_term > 0
    assert header.revision > 0
    second = table.put(b"key", b"2").header
    assert second.revision == header.revision + 1
    assert (second.shard_id, second.replica_id) == (header.shard_id, header.replica_id)


def test_a_read_has_the_header_of_the_table_without_a_revision(table: Table) -> None:
    written = table.put(b"key").header
    reads = [
        table.range(b"key"),
        table.range(b"missing"),
        table.range(ZERO, ZERO),
        table.range(b"key", linearizable=True),
        *table.pages(ZERO, ZERO),
    ]
    written.ClearField("revision")
    assert [answer.header for answer in reads] == [written] * len(reads)


def test_tables_have_shards_of_their_own(calls: KV, table: Table) -> None:
    other = Table(calls, table.name + b" beside")
    assert other.put(b"key").header.shard_id != table.put(b"key").header.shard_id


def test_a_put_replaces_the_value(table: Table) -> None:
    for value in (b"long " * 1000, b"", b"short"):
        table.put(b"key", value)
        assert table.pairs() == {b"key": value}


def test_an_empty_value_is_a_value(table: Table) -> None:
    table.put(b"key", b"")
    answer = table.range(b"key")
    assert keys_of(answer.kvs) == [b"key"]
    assert answer.count == 1
    assert table.put(b"key", b"1", prev_kv=True).HasField("prev_kv")


def test_prev_kv_is_the_pair_before(table: Table) -> None:
    assert not table.put(b"key", b"1", prev_kv=True).HasField("prev_kv")
    (stored,) = table.range(b"key").kvs
    assert table.put(b"key", b"2", prev_kv=True).prev_kv == stored
    table.delete(b"key")
    assert not table.put(b"key", b"3", prev_kv=True).HasField("prev_kv")


def test_prev_kv_may_be_the_largest_value(table: Table) -> None:
    value = b"v" * (2 * limits.MIB)
    table.put(b"key", value)
    assert table.put(b"key", value, prev_kv=True).prev_kv.value == value


# DeleteRange.


@pytest.mark.parametrize(("key", "range_end"), [(b"a", b""), (b"a", b"c"), (ZERO, ZERO)])
def test_deleted_is_filled_only_when_asked_for(table: Table, key: bytes, range_end: bytes) -> None:
    selected = {b"": 1, b"c": 2, ZERO: 3}[range_end]
    for options, deleted in [
        ({}, 0),
        ({"count": True}, selected),
        ({"prev_kv": True}, selected),
        ({"count": True, "prev_kv": True}, selected),
    ]:
        table.put_all(b"a", b"b", b"c")
        answer = table.delete(key, range_end, **options)
        assert answer.deleted == deleted, options
        assert len(answer.prev_kvs) == (selected if "prev_kv" in options else 0), options
        assert answer.header.revision > 0


def test_prev_kvs_are_the_pairs_before(table: Table) -> None:
    table.put_all(b"a", b"b", b"c")
    table.put(b"b", b"again")
    before: list[KeyValue] = list(table.range(b"a", b"c").kvs)
    assert list(table.delete(b"a", b"c", prev_kv=True).prev_kvs) == before
    assert list(table.pairs()) == [b"c"]


def test_a_delete_that_finds_nothing_is_a_write(table: Table) -> None:
    first = table.put(b"key").header.revision
    answer = table.delete(b"missing", count=True, prev_kv=True)
    assert answer.header.revision == first + 1
    assert answer.deleted == 0
    assert not answer.prev_kvs


def test_previous_pairs_up_to_a_page_are_answered(table: Table) -> None:
    for key in (b"a", b"b"):
        table.put(key, key * (2 * limits.MIB - limits.KIB))
    answer = table.delete(ZERO, ZERO, prev_kv=True)
    assert answer.deleted == 2
    assert [len(pair.value) for pair in answer.prev_kvs] == [2 * limits.MIB - limits.KIB] * 2
    assert not table.pairs()


@pytest.mark.parametrize(("key", "range_end"), [(b"a", b"d"), (b"a", ZERO), (ZERO, ZERO)])
def test_previous_pairs_over_a_page_are_refused_and_nothing_is_deleted(
    table: Table, key: bytes, range_end: bytes
) -> None:
    for stored in (b"a", b"b", b"c"):
        table.put(stored, bytes(2 * limits.MIB))
    before = table.range(ZERO, ZERO, keys_only=True)
    expected = ("RESOURCE_EXHAUSTED", TOO_LARGE)
    assert refusal(table.delete, key, range_end, prev_kv=True) == expected
    assert refusal(table.delete, key, range_end, prev_kv=True, count=True) == expected
    assert table.range(ZERO, ZERO, keys_only=True) == before
    assert table.delete(key, range_end, count=True).deleted == 3


def test_a_large_range_is_deleted_and_counted_whole(table: Table) -> None:
    keys = [b"%05d" % number for number in range(5_000)]
    table.txn(success=[op_put(key) for key in keys])
    assert table.delete(keys[1], keys[-1], count=True).deleted == len(keys) - 2
    assert list(table.pairs()) == [keys[0], keys[-1]]


# Everything deleted.


def test_a_table_emptied_whole_takes_new_writes(table: Table) -> None:
    for number in range(3):
        table.put_all(b"a", b"b", b"%d" % number)
        shard = table.range(b"a").header.shard_id
        assert table.delete(ZERO, ZERO, count=True).deleted == 3
        assert table.pairs() == {}
        assert not table.range(b"a").kvs  # one key is read in another way than a range
        assert table.range(ZERO, ZERO, count_only=True).count == 0
        written = table.put(b"new", b"value")
        assert written.header.shard_id == shard
        (pair,) = table.range(ZERO, ZERO).kvs
        assert (pair.key, pair.value) == (b"new", b"value")
        assert pair.create_revision == pair.mod_revision == written.header.revision
        assert list(table.range(b"new").kvs) == [pair]
        table.delete(b"new")


def test_a_table_emptied_whole_twice_counts_nothing_the_second_time(table: Table) -> None:
    table.put_all(b"a", b"b")
    assert table.delete(ZERO, ZERO, count=True).deleted == 2
    assert table.delete(ZERO, ZERO, count=True).deleted == 0


def test_emptying_one_table_leaves_the_others(calls: KV, table: Table) -> None:
    others = [Table(calls, table.name + suffix) for suffix in (b"\xff", b" beside")]
    for other in others:
        other.put(b"key", b"value")
    table.put(b"key")
    table.delete(ZERO, ZERO)
    assert [other.pairs() for other in others] == [{b"key": b"value"}] * 2


def test_counts_stay_right_over_every_kind_of_write(table: Table) -> None:
    # The count of a whole table's delete is kept beside the pairs, not found by counting them.
    table.put_all(b"a", b"b", b"c", b"d")
    table.put(b"a", b"again")
    table.delete(b"missing")
    table.delete(b"b")
    table.txn(success=[op_put(b"e"), op_put(b"e"), op_delete(b"c", b"e"), op_put(b"f")])
    assert list(table.pairs()) == [b"a", b"e", b"f"]
    assert table.delete(ZERO, ZERO, count=True).deleted == 3


# A restart.


def test_a_restart_changes_nothing_that_a_client_sees_but_the_term(stopped_daemon: Daemon) -> None:
    stopped_daemon.start()
    with stopped_daemon.channel() as channel:
        table, emptied = Table(KV(channel), b"kept"), Table(KV(channel), b"emptied")
        table.put(b"a", b"1")
        table.put(b"a", b"2")
        emptied.put(b"a")
        emptied.delete(ZERO, ZERO)
        before = [table.range(b"a"), table.range(ZERO, ZERO), emptied.range(ZERO, ZERO)]
        last = table.put(b"b").header
        table.delete(b"b")
    assert stopped_daemon.restart() == 0
    with stopped_daemon.channel() as channel:
        table, emptied = Table(KV(channel), b"kept"), Table(KV(channel), b"emptied")
        after = [table.range(b"a"), table.range(ZERO, ZERO), emptied.range(ZERO, ZERO)]
        for answer in before:
            answer.header.raft_term += 1
        assert after == before
        # Between the two there are the delete and the first entry of the new term.
        again = table.put(b"b").header
        assert (again.shard_id, again.revision) == (last.shard_id, last.revision + 3)
        shards = {last.shard_id, emptied.put(b"a").header.shard_id}
        assert Table(KV(channel), b"new").put(b"a").header.shard_id not in shards
        assert table.delete(ZERO, ZERO, count=True).deleted == 2
        assert emptied.delete(ZERO, ZERO, count=True).deleted == 1
