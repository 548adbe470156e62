"""The pages of IterateRange."""

from collections.abc import Iterator

import pytest

from regatta import limits
from regatta.pb.regatta_pb2 import RangeRequest
from regatta.pb.regatta_pb2 import RangeResponse
from tests.cluster.harness import KV
from tests.cluster.harness import Daemon
from tests.cluster.tables import CALL_TIMEOUT_S
from tests.cluster.tables import ZERO
from tests.cluster.tables import Table
from tests.cluster.tables import keys_of
from tests.cluster.tables import op_put

PAIR_COUNT = 24
VALUE_BYTES = limits.MIB  # three pairs fit on a page
KEYS = [b"%02d" % number for number in range(PAIR_COUNT)]


@pytest.fixture(scope="module")
def large(calls: KV) -> Table:
    """A table of eight pages; no test changes it."""
    table = Table(calls, b"large")
    for key in KEYS:
        table.put(key, key * (VALUE_BYTES // 2))
    return table


def check_order(pages: list[RangeResponse], keys: list[bytes]) -> None:
    """Hold pages to the rules: pairs once and in order, counts, more on all but the last."""
    assert [key for page in pages for key in keys_of(page.kvs)] == keys
    assert [page.count for page in pages] == [len(page.kvs) for page in pages]
    assert [page.more for page in pages] == [True] * (len(pages) - 1) + [False]


def test_all_pages_together_are_the_range(large: Table) -> None:
    pages = large.pages(ZERO, ZERO)
    check_order(pages, KEYS)
    assert [page.count for page in pages] == [3] * 8
    for page in pages:
        for pair in page.kvs:
            assert pair.value == pair.key * (VALUE_BYTES // 2)


def test_every_page_has_a_header_without_a_revision(large: Table) -> None:
    shard = large.range(b"00").header.shard_id
    for page in large.pages(ZERO, ZERO):
        assert page.header.shard_id == shard >= 10001
        assert page.header.replica_id == page.header.raft_leader_id == 1
        assert page.header.raft_term > 0
        assert page.header.revision == 0


def test_the_first_page_is_the_answer_of_range(large: Table) -> None:
    assert large.pages(ZERO, ZERO)[0] == large.range(ZERO, ZERO)


@pytest.mark.parametrize("limit", [1, 2, 3, 4, 6, 7, PAIR_COUNT - 1, PAIR_COUNT, PAIR_COUNT + 1])
def test_the_limit_runs_over_the_whole_stream(large: Table, limit: int) -> None:
    pages = large.pages(ZERO, ZERO, limit=limit)
    check_order(pages, KEYS[:limit])
    assert len(pages) == -(-min(limit, PAIR_COUNT) // 3)


def test_a_count_is_one_message(large: Table) -> None:
    (page,) = large.pages(ZERO, ZERO, count_only=True)
    assert page.count == PAIR_COUNT
    assert not page.kvs
    (page,) = large.pages(ZERO, ZERO, count_only=True, limit=5)
    assert page.count == 5
    assert not page.more


def test_keys_alone_are_one_message(large: Table) -> None:
    (page,) = large.pages(ZERO, ZERO, keys_only=True)
    check_order([page], KEYS)


def test_one_key_is_one_message(large: Table) -> None:
    check_order(large.pages(b"07"), [b"07"])


def test_nothing_found_is_one_message_with_a_header_alone(large: Table) -> None:
    for key, range_end in [(b"x", b""), (b"x", b"y"), (b"5", b"1"), (b"x", ZERO)]:
        (page,) = large.pages(key, range_end)
        assert [field.name for field, _ in page.ListFields()] == ["header"]


def test_a_last_page_of_one_pair_is_sent(large: Table) -> None:
    pages = large.pages(ZERO, b"04")
    check_order(pages, KEYS[:4])
    assert [page.count for page in pages] == [3, 1]


def test_filters_apply_over_all_pages(large: Table) -> None:
    fifth = large.range(KEYS[4]).kvs[0].mod_revision
    pages = large.pages(ZERO, ZERO, min_mod_revision=fifth, max_mod_revision=fifth + 10)
    check_order(pages, KEYS[4:15])


def test_a_filter_that_passes_nothing_more_ends_the_last_page(large: Table) -> None:
    third = large.range(KEYS[2]).kvs[0].mod_revision
    (page,) = large.pages(ZERO, ZERO, max_mod_revision=third)
    check_order([page], KEYS[:3])


def pages_of(calls: KV, table: Table) -> Iterator[RangeResponse]:
    """Begin a stream over the whole table."""
    request = RangeRequest(table=table.name, key=ZERO, range_end=ZERO)
    pages: Iterator[RangeResponse] = calls.iterate_range(request, timeout=CALL_TIMEOUT_S)
    return pages


def test_all_pages_are_of_one_moment(calls: KV, table: Table) -> None:
    for key in KEYS:
        table.put(key, bytes(VALUE_BYTES))
    before = {pair.key: pair.mod_revision for pair in table.range(ZERO, ZERO, keys_only=True).kvs}
    pages = pages_of(calls, table)
    seen = list(next(pages).kvs)
    # A change ahead of the stream, of every kind, while most of it is still to be made.
    table.txn(success=[op_put(key, b"changed") for key in KEYS[12:]])
    table.put(b"05 between", b"new")
    table.put(b"new", b"new")
    table.delete(KEYS[20])
    seen += [pair for page in pages for pair in page.kvs]
    assert {pair.key: pair.mod_revision for pair in seen} == before
    assert {len(pair.value) for pair in seen} == {VALUE_BYTES}


def test_a_stream_outlives_the_deletion_of_its_table(calls: KV, table: Table) -> None:
    for key in KEYS:
        table.put(key, bytes(VALUE_BYTES))
    pages = pages_of(calls, table)
    seen = keys_of(next(pages).kvs)
    table.delete(ZERO, ZERO)
    assert not table.pairs()
    seen += [key for page in pages for key in keys_of(page.kvs)]
    assert seen == KEYS


def test_a_client_that_goes_away_leaves_the_daemon_serving(
    shared_daemon: Daemon, large: Table
) -> None:
    for _ in range(5):
        with shared_daemon.channel() as channel:
            next(pages_of(KV(channel), large))
    check_order(large.pages(ZERO, ZERO), KEYS)
    assert "Traceback" not in shared_daemon.stderr
