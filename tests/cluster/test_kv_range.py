"""Which pairs a key and a range_end select, and what Range tells of them."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from regatta import limits
from regatta.pb.mvcc_pb2 import KeyValue
from regatta.pb.regatta_pb2 import RangeRequest
from regatta.pb.regatta_pb2 import RangeResponse
from tests.cluster.harness import KV
from tests.cluster.harness import Daemon
from tests.cluster.tables import CALL_TIMEOUT_S
from tests.cluster.tables import ZERO
from tests.cluster.tables import Table
from tests.cluster.tables import exists
from tests.cluster.tables import keys_of
from tests.cluster.tables import op_delete
from tests.cluster.tables import op_put
from tests.cluster.tables import op_range
from tests.cluster.tables import refusal

KEYS = (
    b"\0",
    b"\0\0",
    b"\0\x01",
    b"\x01",
    b"a",
    b"a\0",
    b"ab",
    b"b",
    b"b\xff",
    b"b\xff\xff",
    b"c",
    b"\xfe\xff",
    b"\xff",
    b"\xff\0",
    b"\xff\xff",
)
assert list(KEYS) == sorted(KEYS)

# Name: key, range_end, and what they select of KEYS.
SELECTIONS: dict[str, tuple[bytes, bytes, Sequence[bytes]]] = {
    "one key": (b"a", b"", [b"a"]),
    "a missing key": (b"aa", b"", []),
    "the key of one zero byte": (ZERO, b"", [b"\0"]),
    "half open": (b"a", b"b", [b"a", b"a\0", b"ab"]),
    "from a missing key to a missing key": (b"a\x01", b"bb", [b"ab", b"b"]),
    "end equal to key": (b"b", b"b", []),
    "end before key": (b"c", b"a", []),
    "end a prefix of key": (b"ab", b"a", []),
    "nothing between": (b"d", b"e", []),
    "to the end": (b"c", ZERO, [b"c", b"\xfe\xff", b"\xff", b"\xff\0", b"\xff\xff"]),
    "to the end from the last key": (b"\xff\xff", ZERO, [b"\xff\xff"]),
    "to the end from beyond the last key": (b"\xff\xff\0", ZERO, []),
    "every key": (ZERO, ZERO, KEYS),
    "all below": (ZERO, b"a", [b"\0", b"\0\0", b"\0\x01", b"\x01"]),
    "end of two zero bytes": (ZERO, b"\0\0", [b"\0"]),
    "prefix": (b"b", b"c", [b"b", b"b\xff", b"b\xff\xff"]),
    "prefix that ends in 0xff": (b"b\xff", b"c", [b"b\xff", b"b\xff\xff"]),
    "prefix of 0xff alone": (b"\xff", ZERO, [b"\xff", b"\xff\0", b"\xff\xff"]),
    "prefix of 0xff twice": (b"\xff\xff", ZERO, [b"\xff\xff"]),
}

selections = pytest.mark.parametrize(
    ("key", "range_end", "selected"), SELECTIONS.values(), ids=SELECTIONS.keys()
)


@pytest.fixture(scope="module")
def filled(calls: KV) -> Table:
    """A table that holds KEYS; no test changes it."""
    table = Table(calls, b"filled")
    table.put_all(*KEYS)
    return table


# Selection.


@selections
def test_range_selects(
    filled: Table, key: bytes, range_end: bytes, selected: Sequence[bytes]
) -> None:
    answer = filled.range(key, range_end)
    assert keys_of(answer.kvs) == list(selected)
    assert [pair.value for pair in answer.kvs] == list(selected)
    assert answer.count == len(selected)
    assert not answer.more


@selections
def test_iterate_range_selects(
    filled: Table, key: bytes, range_end: bytes, selected: Sequence[bytes]
) -> None:
    (page,) = filled.pages(key, range_end)
    assert keys_of(page.kvs) == list(selected)
    assert page.count == len(selected)
    assert not page.more


@selections
def test_range_in_a_transaction_selects(
    filled: Table, key: bytes, range_end: bytes, selected: Sequence[bytes]
) -> None:
    (response,) = filled.txn(success=[op_range(key, range_end)]).responses
    assert keys_of(response.response_range.kvs) == list(selected)
    assert response.response_range.count == len(selected)


@selections
def test_comparison_looks_at(
    filled: Table, key: bytes, range_end: bytes, selected: Sequence[bytes]
) -> None:
    assert filled.holds(exists(key, range_end)) is bool(selected)


@selections
def test_delete_range_selects(
    table: Table, key: bytes, range_end: bytes, selected: Sequence[bytes]
) -> None:
    table.put_all(*KEYS)
    assert table.delete(key, range_end, count=True).deleted == len(selected)
    assert list(table.pairs()) == [left for left in KEYS if left not in selected]


@selections
def test_delete_range_with_previous_pairs_selects(
    table: Table, key: bytes, range_end: bytes, selected: Sequence[bytes]
) -> None:
    table.put_all(*KEYS)
    answer = table.delete(key, range_end, prev_kv=True)
    assert keys_of(answer.prev_kvs) == list(selected)
    assert list(table.pairs()) == [left for left in KEYS if left not in selected]


@selections
def test_delete_in_a_transaction_selects(
    table: Table, key: bytes, range_end: bytes, selected: Sequence[bytes]
) -> None:
    table.put_all(*KEYS)
    table.txn(success=[op_delete(key, range_end)])
    assert list(table.pairs()) == [left for left in KEYS if left not in selected]


# Encoders leave an empty field out, so that these bytes are written by hand.
EMPTY_RANGE_END = b"\x1a\x00"


@pytest.fixture(scope="module")
def raw_range(shared_daemon: Daemon) -> Iterator[Callable[[bytes], RangeResponse]]:
    """Range, called with the bytes of a request."""
    with shared_daemon.channel() as channel:
        method: Any = channel.unary_unary(
            "/regatta.v1.KV/Range", response_deserializer=RangeResponse.FromString
        )
        yield lambda request: method(request, timeout=CALL_TIMEOUT_S)


def test_an_empty_range_end_on_the_wire_is_the_same_as_none(
    filled: Table, raw_range: Callable[[bytes], RangeResponse]
) -> None:
    request = RangeRequest(table=filled.name, key=b"a").SerializeToString()
    assert keys_of(raw_range(request + EMPTY_RANGE_END).kvs) == [b"a"]


def test_an_empty_range_end_on_the_wire_hides_nothing_before_it(
    filled: Table, raw_range: Callable[[bytes], RangeResponse]
) -> None:
    negative = RangeRequest(table=filled.name, key=b"a", limit=-1).SerializeToString()
    assert refusal(raw_range, negative + EMPTY_RANGE_END)[0] == "INVALID_ARGUMENT"
    late = RangeRequest(table=filled.name, key=b"a", min_mod_revision=2**40).SerializeToString()
    assert not raw_range(late + EMPTY_RANGE_END).kvs


def test_tables_are_separate_key_spaces(calls: KV) -> None:
    left, right = Table(calls, b"ab"), Table(calls, b"a")
    left.put(b"c", b"left")
    right.put(b"bc", b"right")
    assert left.pairs() == {b"c": b"left"}
    assert right.pairs() == {b"bc": b"right"}
    left.delete(ZERO, ZERO)
    assert right.pairs() == {b"bc": b"right"}


# Limit, more and count.


@pytest.mark.parametrize("limit", [1, 2, len(KEYS) - 2, len(KEYS) - 1])
def test_more_is_set_whenever_a_limit_leaves_any_pair(filled: Table, limit: int) -> None:
    answer = filled.range(ZERO, ZERO, limit=limit)
    assert keys_of(answer.kvs) == list(KEYS[:limit])
    assert answer.count == limit
    assert answer.more


@pytest.mark.parametrize("limit", [0, len(KEYS), len(KEYS) + 1, 2**63 - 1])
def test_more_is_not_set_when_a_limit_leaves_nothing(filled: Table, limit: int) -> None:
    answer = filled.range(ZERO, ZERO, limit=limit)
    assert keys_of(answer.kvs) == list(KEYS)
    assert not answer.more


def test_a_limit_ends_within_the_range_and_not_within_the_table(filled: Table) -> None:
    assert not filled.range(b"a", b"b", limit=3).more
    assert filled.range(b"a", b"b", limit=2).more


def test_a_single_key_never_has_more(filled: Table) -> None:
    answer = filled.range(b"a", limit=1)
    assert keys_of(answer.kvs) == [b"a"]
    assert not answer.more


def test_keys_only_leaves_the_values_out(filled: Table) -> None:
    answer = filled.range(b"a", b"b", keys_only=True)
    assert keys_of(answer.kvs) == [b"a", b"a\0", b"ab"]
    assert [pair.value for pair in answer.kvs] == [b""] * 3
    assert answer.count == 3


@pytest.mark.parametrize(("key", "range_end", "count"), [(b"a", b"", 1), (ZERO, ZERO, len(KEYS))])
def test_count_only_answers_the_number_alone(
    filled: Table, key: bytes, range_end: bytes, count: int
) -> None:
    answer = filled.range(key, range_end, count_only=True)
    assert answer.count == count
    assert not answer.kvs
    assert not answer.more


def test_count_only_is_capped_by_the_limit(filled: Table) -> None:
    answer = filled.range(ZERO, ZERO, count_only=True, limit=4)
    assert answer.count == 4
    assert answer.more


def test_nothing_found_answers_a_header_alone(filled: Table) -> None:
    for answer in (filled.range(b"missing"), filled.range(b"d", b"e"), filled.range(b"x", b"a")):
        assert [field.name for field, _ in answer.ListFields()] == ["header"]


@pytest.mark.parametrize("linearizable", [False, True])
def test_a_read_sees_the_write_acknowledged_before_it(table: Table, linearizable: bool) -> None:
    for number in range(20):
        value = b"%d" % number
        table.put(b"key", value)
        (single,) = table.range(b"key", linearizable=linearizable).kvs
        (ranged,) = table.range(b"key", ZERO, linearizable=linearizable).kvs
        assert single.value == ranged.value == value


# Sizes.


@pytest.mark.parametrize("size", [1, 1023, 1024])
def test_keys_up_to_the_longest_are_stored_and_found(table: Table, size: int) -> None:
    key = b"k" * size
    neighbour = key[:-1] + b"l"
    table.put_all(key, neighbour)
    assert keys_of(table.range(key).kvs) == [key]
    assert keys_of(table.range(key, neighbour).kvs) == [key]
    assert keys_of(table.range(key, ZERO).kvs) == [key, neighbour]
    assert table.delete(key, count=True).deleted == 1
    assert list(table.pairs()) == [neighbour]


@pytest.mark.parametrize("size", [0, 1, 2 * limits.MIB - 1, 2 * limits.MIB])
def test_values_up_to_the_longest_are_stored_and_found(table: Table, size: int) -> None:
    value = bytes(index % 251 for index in range(251)) * (size // 251 + 1)
    value = value[:size]
    table.put(b"key", value)
    (single,) = table.range(b"key").kvs
    (ranged,) = table.range(ZERO, ZERO).kvs
    assert single.value == value
    assert ranged.value == value


PAGE_BYTES_MAX = 4_193_280  # written out: the contract has this number


def encoded_bytes(pairs: Sequence[KeyValue]) -> int:
    """Return the size that pairs take in an answer."""
    size: int = RangeResponse(kvs=pairs).ByteSize()
    return size


def fill_page(table: Table, bytes_left: int) -> None:
    """Store two pairs that leave *bytes_left* of a page."""
    table.put(b"a", bytes(2 * limits.MIB))
    taken_bytes = encoded_bytes(table.range(b"a").kvs)
    # What an encoded pair has beside its value is found by trial.
    table.put(b"b", bytes(limits.MIB))
    taken_bytes += encoded_bytes(table.range(b"b").kvs) - limits.MIB
    table.put(b"b", bytes(PAGE_BYTES_MAX - taken_bytes - bytes_left))
    assert encoded_bytes(table.range(b"a", b"c").kvs) == PAGE_BYTES_MAX - bytes_left


def test_a_page_takes_a_pair_that_stays_one_byte_below_the_cap(table: Table) -> None:
    fill_page(table, bytes_left=100)
    table.put(b"key", bytes(100 - len(b"key") - 1))
    answer = table.range(ZERO, ZERO)
    assert keys_of(answer.kvs) == [b"a", b"b", b"key"]
    assert not answer.more


def test_a_page_is_closed_before_a_pair_that_reaches_the_cap(table: Table) -> None:
    fill_page(table, bytes_left=100)
    table.put(b"key", bytes(100 - len(b"key")))
    answer = table.range(ZERO, ZERO)
    assert keys_of(answer.kvs) == [b"a", b"b"]
    assert answer.count == 2
    assert answer.more


def test_of_two_largest_values_a_page_holds_one(table: Table) -> None:
    for key in (b"a", b"b"):
        table.put(key, bytes(2 * limits.MIB))
    answer = table.range(ZERO, ZERO)
    assert keys_of(answer.kvs) == [b"a"]
    assert answer.more
    assert not table.range(ZERO, ZERO, limit=2, keys_only=True).more
    assert table.range(ZERO, ZERO, count_only=True).count == 2


@pytest.mark.parametrize("read", ["range", "range in a transaction"])
def test_keys_alone_fill_a_page_by_their_lengths(table: Table, read: str) -> None:
    keys = [b"%05d" % number + bytes(1019) for number in range(4_200)]
    for start in range(0, len(keys), 1_000):
        table.txn(success=[op_put(key) for key in keys[start : start + 1_000]])
    reads: dict[str, Callable[[], Any]] = {
        "range": lambda: table.range(ZERO, ZERO, keys_only=True),
        "range in a transaction": lambda: (
            table.txn(success=[op_range(ZERO, ZERO, keys_only=True)]).responses[0].response_range
        ),
    }
    answer = reads[read]()
    assert keys_of(answer.kvs) == keys[: len(answer.kvs)]
    assert answer.count == len(answer.kvs) < len(keys)
    assert answer.more
    before_last_bytes = encoded_bytes(answer.kvs[:-1])
    assert before_last_bytes + 1024 < PAGE_BYTES_MAX <= encoded_bytes(answer.kvs) + 1024
    assert table.range(ZERO, ZERO, count_only=True).count == len(keys)
