"""Every error of KV: its code, its text, and which of two comes first."""

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from regatta.limits import MIB
from regatta.pb.regatta_pb2 import PutRequest
from regatta.pb.regatta_pb2 import PutResponse
from tests.cluster.harness import KV
from tests.cluster.harness import Daemon
from tests.cluster.tables import CALL_TIMEOUT_S
from tests.cluster.tables import ZERO
from tests.cluster.tables import Table
from tests.cluster.tables import exists
from tests.cluster.tables import op_put
from tests.cluster.tables import op_range
from tests.cluster.tables import refusal

LIMIT_NEGATIVE = ("INVALID_ARGUMENT", "limit must be a positive number")
KEYS_AND_COUNT = (
    "INVALID_ARGUMENT",
    "keys_only and count_only must not be set at the same time",
)
FILTER_NEGATIVE = ("INVALID_ARGUMENT", "min_mod_revision must not be negative")
NO_TABLE_NAME = ("INVALID_ARGUMENT", "table must be set")
NO_KEY = ("INVALID_ARGUMENT", "key must be set")
NO_TABLE = ("NOT_FOUND", "table not found")
KEY_TOO_LONG = ("FAILED_PRECONDITION", "key length exceeded max allowed value")
VALUE_TOO_LONG = ("FAILED_PRECONDITION", "value length exceeded max allowed value")

TOO_LONG = bytes(1025)


@pytest.fixture
def present(table: Table) -> Table:
    """A table that is there, with one pair."""
    table.put(b"key", b"value")
    return table


@pytest.fixture(params=["range", "pages"])
def read(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """Range, then IterateRange, as a function of the table."""
    method: Callable[..., Any] = getattr(Table, request.param)
    return method


# Reads.

# What is wrong with a read: the options to be wrong with, and the error. In the order of checks.
READ_FAULTS: list[tuple[dict[str, Any], tuple[str, str]]] = [
    ({"limit": -1}, LIMIT_NEGATIVE),
    ({"keys_only": True, "count_only": True}, KEYS_AND_COUNT),
    ({"min_mod_revision": -1}, FILTER_NEGATIVE),
    ({"name": b""}, NO_TABLE_NAME),
    ({"key": b""}, NO_KEY),
    ({"name": b"unknown"}, NO_TABLE),
    ({"key": TOO_LONG}, KEY_TOO_LONG),
]
FAULT_PAIRS = [
    pair
    for pair in itertools.combinations(READ_FAULTS, 2)
    if not pair[0][0].keys() & pair[1][0].keys()
]


def call_read(read: Callable[..., Any], calls: KV, name: bytes, options: dict[str, Any]) -> Any:
    """Call a read of one key with what is wrong about it."""
    chosen = {"key": b"key", "name": name, **options}
    return read(Table(calls, chosen.pop("name")), **chosen)


@pytest.mark.parametrize("range_end", [b"", b"z"])
@pytest.mark.parametrize(("options", "error"), READ_FAULTS, ids=str)
def test_a_faulty_read_is_refused(
    read: Callable[..., Any],
    calls: KV,
    present: Table,
    range_end: bytes,
    options: dict[str, Any],
    error: tuple[str, str],
) -> None:
    wrong = {"range_end": range_end, **options}
    assert refusal(call_read, read, calls, present.name, wrong) == error


@pytest.mark.parametrize(("first", "second"), FAULT_PAIRS, ids=str)
def test_of_two_faults_of_a_read_the_first_answers(
    read: Callable[..., Any],
    calls: KV,
    present: Table,
    first: tuple[dict[str, Any], tuple[str, str]],
    second: tuple[dict[str, Any], tuple[str, str]],
) -> None:
    both = {**first[0], **second[0]}
    assert refusal(call_read, read, calls, present.name, both) == first[1]


def test_a_range_end_that_is_too_long_is_refused(read: Callable[..., Any], present: Table) -> None:
    assert refusal(read, present, b"key", TOO_LONG) == KEY_TOO_LONG
    assert refusal(read, present, b"key", b"z" * 1025) == KEY_TOO_LONG
    assert refusal(read, present, b"", TOO_LONG) == NO_KEY
    read(present, b"key", b"z" * 1024)


def test_an_unknown_table_comes_before_a_range_end_that_is_too_long(
    read: Callable[..., Any], table: Table
) -> None:
    assert refusal(read, table, b"key", TOO_LONG) == NO_TABLE


# Writes.


def test_a_put_without_table_or_key_is_refused(calls: KV, table: Table) -> None:
    nameless = Table(calls, b"")
    assert refusal(nameless.put, b"key", b"value") == NO_TABLE_NAME
    assert refusal(nameless.put, b"", b"value") == NO_TABLE_NAME
    assert refusal(table.put, b"", b"value") == NO_KEY
    assert refusal(table.put, b"", bytes(2 * MIB + 1)) == NO_KEY


def test_a_put_of_too_much_is_refused(present: Table) -> None:
    too_large = bytes(2 * MIB + 1)
    assert refusal(present.put, TOO_LONG, b"value") == KEY_TOO_LONG
    assert refusal(present.put, b"key", too_large) == VALUE_TOO_LONG
    assert refusal(present.put, TOO_LONG, too_large) == KEY_TOO_LONG
    assert present.pairs() == {b"key": b"value"}


def test_a_delete_without_table_or_key_is_refused(calls: KV, present: Table) -> None:
    nameless = Table(calls, b"")
    assert refusal(nameless.delete, b"key") == NO_TABLE_NAME
    assert refusal(nameless.delete, b"") == NO_TABLE_NAME
    assert refusal(present.delete, b"") == NO_KEY
    assert refusal(present.delete, b"", ZERO) == NO_KEY
    assert present.pairs() == {b"key": b"value"}


def test_a_delete_of_a_key_that_is_too_long_is_refused(present: Table) -> None:
    assert refusal(present.delete, TOO_LONG) == KEY_TOO_LONG
    assert refusal(present.delete, TOO_LONG, ZERO) == KEY_TOO_LONG
    assert present.pairs() == {b"key": b"value"}


def test_a_delete_may_end_at_a_range_end_of_any_length(present: Table) -> None:
    assert present.delete(b"a", b"z" * 2000, count=True).deleted == 1


def test_a_transaction_without_table_is_refused(calls: KV) -> None:
    nameless = Table(calls, b"")
    assert refusal(nameless.txn) == NO_TABLE_NAME
    assert refusal(nameless.txn, [exists(b"")], [op_put(b"")]) == NO_TABLE_NAME


# Unknown tables.


def test_reads_do_not_make_a_table(table: Table) -> None:
    for _ in range(2):
        assert refusal(table.range, b"key") == NO_TABLE
        assert refusal(table.range, ZERO, ZERO) == NO_TABLE
        assert refusal(table.pages, ZERO, ZERO) == NO_TABLE
        assert refusal(table.txn) == NO_TABLE
        assert refusal(table.txn, [exists(b"key")], [op_range(b"key")]) == NO_TABLE


def test_refused_writes_do_not_make_a_table(table: Table) -> None:
    refusal(table.put, b"", b"value")
    refusal(table.put, TOO_LONG, b"value")
    refusal(table.put, b"key", bytes(2 * MIB + 1))
    refusal(table.delete, TOO_LONG)
    refusal(table.txn, success=[op_put(b"key"), op_put(b"")])
    assert refusal(table.range, b"key") == NO_TABLE


def test_the_first_write_makes_a_table(calls: KV, table: Table) -> None:
    by_delete, by_txn = Table(calls, table.name + b" delete"), Table(calls, table.name + b" txn")
    assert table.put(b"key").header.shard_id >= 10001
    assert by_delete.delete(b"key", count=True, prev_kv=True).deleted == 0
    assert not by_txn.txn([exists(b"key")], [], [op_put(b"key")]).succeeded
    assert table.pairs() == by_txn.pairs() == {b"key": b""}
    assert by_delete.pairs() == {}


def test_a_table_that_many_make_at_once_is_one(calls: KV, table: Table) -> None:
    requests = [PutRequest(table=table.name, key=b"%d" % number) for number in range(32)]
    futures = [calls.put.future(request, timeout=CALL_TIMEOUT_S) for request in requests]
    headers = [future.result().header for future in futures]
    assert len({header.shard_id for header in headers}) == 1
    assert sorted(header.revision for header in headers) == list(range(2, 34))
    assert table.range(ZERO, ZERO, count_only=True).count == 32


# Names of tables.


@pytest.mark.parametrize(
    "suffix", [b"", b" ", b".", b"\\", b"%2F", b"\xff\xfe", "größe".encode()], ids=repr
)
def test_a_name_may_have_any_other_byte(calls: KV, table: Table, suffix: bytes) -> None:
    named = Table(calls, table.name + suffix)
    named.put(b"key", suffix)
    assert named.pairs() == {b"key": suffix}


@pytest.mark.parametrize("size", [1, 255])
def test_a_name_may_have_1_to_255_bytes(calls: KV, size: int) -> None:
    named = Table(calls, b"n" * size)
    named.put(b"key", b"value")
    assert named.pairs() == {b"key": b"value"}


@pytest.mark.parametrize("byte", [b"/", b"\0", b"\n", b"\x1f", b"\x7f"], ids=repr)
@pytest.mark.parametrize("place", [b"%b", b"%bname", b"na%bme", b"name%b"], ids=repr)
def test_a_name_with_a_slash_or_a_control_character_is_refused(
    calls: KV, byte: bytes, place: bytes
) -> None:
    named = Table(calls, place % byte)
    expected = ("INVALID_ARGUMENT", "table must not contain '/' or control characters")
    assert refusal(named.put, b"key") == expected
    assert refusal(named.delete, b"key") == expected
    assert refusal(named.txn, success=[op_put(b"key")]) == expected
    assert refusal(named.range, b"key") == NO_TABLE
    assert refusal(named.pages, b"key") == NO_TABLE


@pytest.mark.parametrize("size", [256, 300, 5000])
def test_a_name_over_255_bytes_is_refused(calls: KV, size: int) -> None:
    named = Table(calls, b"n" * size)
    expected = ("INVALID_ARGUMENT", f"table must be at most 255 bytes, got {size}")
    assert refusal(named.put, b"key") == expected
    assert refusal(named.delete, b"key") == expected
    assert refusal(named.txn, success=[op_put(b"key")]) == expected
    assert refusal(named.range, b"key") == NO_TABLE
    assert refusal(named.range, b"key", ZERO) == NO_TABLE


# Sizes and shapes of whole requests.


@pytest.fixture(scope="module")
def raw_put(shared_daemon: Daemon) -> Iterator[Callable[[bytes], PutResponse]]:
    """Put, called with the bytes of a request."""
    with shared_daemon.channel() as channel:
        method: Any = channel.unary_unary(
            "/regatta.v1.KV/Put", response_deserializer=PutResponse.FromString
        )
        yield lambda request: method(request, timeout=CALL_TIMEOUT_S)


def request_of(size: int) -> bytes:
    """Return an encoded Put of *size* bytes in all, some 4 MiB."""
    overhead = len(PutRequest(table=b"t", key=b"k", value=bytes(3 * MIB)).SerializeToString())
    value = bytes(size - (overhead - 3 * MIB))
    request: bytes = PutRequest(table=b"t", key=b"k", value=value).SerializeToString()
    assert len(request) == size
    return request


@pytest.mark.parametrize("size", [4 * MIB + 1, 5 * MIB])
def test_a_request_over_four_mebibytes_is_refused(
    raw_put: Callable[[bytes], PutResponse], size: int
) -> None:
    text = f"grpc: received message larger than max ({size} vs. 4194304)"
    assert refusal(raw_put, request_of(size)) == ("RESOURCE_EXHAUSTED", text)


def test_a_request_of_four_mebibytes_is_read(raw_put: Callable[[bytes], PutResponse]) -> None:
    assert refusal(raw_put, request_of(4 * MIB)) == VALUE_TOO_LONG


def test_unknown_fields_are_skipped(raw_put: Callable[[bytes], PutResponse], table: Table) -> None:
    request = PutRequest(table=table.name, key=b"key", value=b"value").SerializeToString()
    raw_put(request + b"\xa2\x06\x03new" + b"\xa8\x06\x01")
    assert table.pairs() == {b"key": b"value"}


def test_no_error_was_a_fault_of_the_daemon(shared_daemon: Daemon) -> None:
    # The last test of the module: all of the above were answered on purpose.
    assert "Traceback" not in shared_daemon.stderr
