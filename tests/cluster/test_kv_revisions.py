"""create_revision and mod_revision of pairs, and the four filters on them."""

from typing import Any, NamedTuple

import pytest

from regatta.pb.mvcc_pb2 import KeyValue
from tests.cluster.harness import KV
from tests.cluster.tables import ZERO
from tests.cluster.tables import Table
from tests.cluster.tables import keys_of
from tests.cluster.tables import op_delete
from tests.cluster.tables import op_put
from tests.cluster.tables import op_range
from tests.cluster.tables import refusal


def revisions(pair: KeyValue) -> tuple[int, int]:
    """Return create_revision and mod_revision."""
    return pair.create_revision, pair.mod_revision


def test_a_new_pair_has_the_revision_of_its_write(table: Table) -> None:
    written = table.put(b"key", b"value").header.revision
    (pair,) = table.range(b"key").kvs
    assert revisions(pair) == (written, written)


def test_an_overwritten_pair_keeps_its_create_revision(table: Table) -> None:
    first = table.put(b"key", b"1").header.revision
    last = [table.put(b"key", value).header.revision for value in (b"2", b"3")][-1]
    (pair,) = table.range(b"key").kvs
    assert revisions(pair) == (first, last)
    assert first < last


def test_a_write_of_the_same_value_is_a_write(table: Table) -> None:
    first = table.put(b"key", b"same").header.revision
    second = table.put(b"key", b"same").header.revision
    (pair,) = table.range(b"key").kvs
    assert revisions(pair) == (first, second)


@pytest.mark.parametrize(("key", "range_end"), [(b"key", b""), (b"k", b"l"), (ZERO, ZERO)])
def test_a_pair_deleted_and_made_again_begins_anew(
    table: Table, key: bytes, range_end: bytes
) -> None:
    table.put(b"key", b"1")
    table.put(b"key", b"2")
    table.delete(key, range_end)
    written = table.put(b"key", b"3").header.revision
    (pair,) = table.range(b"key").kvs
    assert revisions(pair) == (written, written)


def test_a_pair_deleted_and_made_again_in_one_transaction_begins_anew(table: Table) -> None:
    table.put(b"key", b"1")
    written = table.txn(success=[op_delete(b"key"), op_put(b"key", b"2")]).header.revision
    (pair,) = table.range(b"key").kvs
    assert revisions(pair) == (written, written)


def test_all_writes_of_a_transaction_have_its_revision(table: Table) -> None:
    first = table.put(b"a").header.revision
    written = table.txn(success=[op_put(b"a"), op_put(b"b"), op_put(b"c")]).header.revision
    assert [revisions(pair) for pair in table.range(ZERO, ZERO).kvs] == [
        (first, written),
        (written, written),
        (written, written),
    ]


def test_revisions_of_a_table_rise_by_one_a_write(table: Table) -> None:
    first = table.put(b"a").header.revision
    assert table.delete(b"a").header.revision == first + 1
    assert table.delete(b"not there").header.revision == first + 2
    assert table.txn(success=[op_put(b"a")]).header.revision == first + 3


def test_revisions_of_one_table_do_not_move_another(calls: KV, table: Table) -> None:
    other = Table(calls, table.name + b" beside")
    first = table.put(b"key").header.revision
    for _ in range(5):
        other.put(b"key")
    assert table.put(b"key").header.revision == first + 1


def test_revisions_are_in_every_answer_that_has_pairs(table: Table) -> None:
    first = table.put(b"key", b"1").header.revision
    second = table.put(b"key", b"2").header.revision
    expected = (first, second)
    answers: dict[str, KeyValue] = {
        "range of a key": table.range(b"key").kvs[0],
        "range": table.range(ZERO, ZERO).kvs[0],
        "keys of a key": table.range(b"key", keys_only=True).kvs[0],
        "keys": table.range(ZERO, ZERO, keys_only=True).kvs[0],
        "iterate": table.pages(ZERO, ZERO)[0].kvs[0],
        "iterate keys": table.pages(ZERO, ZERO, keys_only=True)[0].kvs[0],
    }
    responses = table.txn(
        success=[op_range(b"key"), op_range(ZERO, ZERO, keys_only=True)]
    ).responses
    answers["range in a transaction"] = responses[0].response_range.kvs[0]
    answers["keys in a transaction"] = responses[1].response_range.kvs[0]
    for name, pair in answers.items():
        assert revisions(pair) == expected, name
        assert pair.value == (b"" if "keys" in name else b"2"), name


def test_previous_pairs_have_the_revisions_that_they_had(table: Table) -> None:
    first = table.put(b"key", b"1").header.revision
    second = table.put(b"key", b"2").header.revision
    put = table.put(b"key", b"3", prev_kv=True)
    assert revisions(put.prev_kv) == (first, second)
    third = put.header.revision
    in_txn = table.txn(success=[op_put(b"key", b"4", prev_kv=True)])
    assert revisions(in_txn.responses[0].response_put.prev_kv) == (first, third)
    fourth = in_txn.header.revision
    (deleted,) = table.delete(b"key", prev_kv=True).prev_kvs
    assert revisions(deleted) == (first, fourth)


# Filters.

FILTER_NAMES = (
    "min_mod_revision",
    "max_mod_revision",
    "min_create_revision",
    "max_create_revision",
)


class Written(NamedTuple):
    """A table with keys a to f, and what was written when."""

    table: Table
    first: int  # the create_revision of a; b has first + 1, and so on


@pytest.fixture(scope="module")
def written(calls: KV) -> Written:
    """A table whose keys a, c and e were written again, in the order e, c, a; none changes it."""
    table = Table(calls, b"written")
    first = table.put(b"a").header.revision
    for key in (b"b", b"c", b"d", b"e", b"f"):
        table.put(key)
    for key in (b"e", b"c", b"a"):
        table.put(key, b"again")
    return Written(table, first)


# Created: a 0, b 1, c 2, d 3, e 4, f 5. Modified: a 8, b 1, c 7, d 3, e 6, f 5.
# Filters, as distances from the first revision, and the keys that pass.
FILTERS: list[tuple[dict[str, int], bytes]] = [
    ({"min_create_revision": 2}, b"cdef"),
    ({"max_create_revision": 2}, b"abc"),
    ({"min_create_revision": 2, "max_create_revision": 3}, b"cd"),
    ({"min_mod_revision": 6}, b"ace"),
    ({"max_mod_revision": 5}, b"bdf"),
    ({"min_mod_revision": 3, "max_mod_revision": 7}, b"cdef"),
    ({"min_mod_revision": 9}, b""),
    ({"min_mod_revision": 5, "max_mod_revision": 4}, b""),
    ({"min_mod_revision": 5, "max_create_revision": 2}, b"ac"),
    (
        {
            "min_mod_revision": 5,
            "max_mod_revision": 7,
            "min_create_revision": 4,
            "max_create_revision": 5,
        },
        b"ef",
    ),
]

filters = pytest.mark.parametrize(
    ("distances", "passing"),
    FILTERS,
    ids=[" ".join(f"{name}={value}" for name, value in item[0].items()) for item in FILTERS],
)


def options_of(written: Written, distances: dict[str, int]) -> dict[str, Any]:
    """Return the filters' fields of a request."""
    return {name: written.first + distance for name, distance in distances.items()}


def singles(keys: bytes) -> list[bytes]:
    """Return each byte as a key."""
    return [bytes([key]) for key in keys]


@filters
def test_filters_choose_pairs(written: Written, distances: dict[str, int], passing: bytes) -> None:
    options = options_of(written, distances)
    answer = written.table.range(ZERO, ZERO, **options)
    assert keys_of(answer.kvs) == singles(passing)
    assert answer.count == len(passing)
    assert not answer.more
    (page,) = written.table.pages(ZERO, ZERO, **options)
    assert keys_of(page.kvs) == singles(passing)
    assert not page.more


@filters
def test_filters_apply_to_a_single_key(
    written: Written, distances: dict[str, int], passing: bytes
) -> None:
    options = options_of(written, distances)
    for key in singles(b"abcdef"):
        found = [key] if key in passing else []
        assert keys_of(written.table.range(key, **options).kvs) == found
        assert written.table.range(key, count_only=True, **options).count == len(found)


@filters
def test_filters_apply_before_the_count(
    written: Written, distances: dict[str, int], passing: bytes
) -> None:
    options = options_of(written, distances)
    answer = written.table.range(ZERO, ZERO, count_only=True, **options)
    assert answer.count == len(passing)
    assert not answer.kvs
    keys = written.table.range(ZERO, ZERO, keys_only=True, **options)
    assert keys_of(keys.kvs) == singles(passing)


@filters
def test_filters_apply_before_limit_and_more(
    written: Written, distances: dict[str, int], passing: bytes
) -> None:
    options = options_of(written, distances)
    for limit in range(1, len(passing) + 2):
        for answer in (
            written.table.range(ZERO, ZERO, limit=limit, **options),
            written.table.range(ZERO, ZERO, limit=limit, count_only=True, **options),
        ):
            assert answer.count == min(limit, len(passing))
            assert answer.more is (limit < len(passing))


def test_a_filter_of_zero_is_none(written: Written) -> None:
    for name in FILTER_NAMES:
        assert written.table.range(ZERO, ZERO, **{name: 0}).count == 6


@pytest.mark.parametrize("position", range(len(FILTER_NAMES)))
def test_the_first_negative_filter_is_refused_by_name(written: Written, position: int) -> None:
    negative: dict[str, Any] = {name: -1 for name in FILTER_NAMES[position:]}
    expected = ("INVALID_ARGUMENT", f"{FILTER_NAMES[position]} must not be negative")
    assert refusal(written.table.range, b"a", **negative) == expected
    assert refusal(written.table.range, ZERO, ZERO, **negative) == expected
    assert refusal(written.table.pages, ZERO, ZERO, **negative) == expected
