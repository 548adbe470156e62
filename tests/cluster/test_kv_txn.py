"""Transactions: comparisons, branches, operations, answers, and what is refused."""

import pytest

from regatta.limits import MIB
from regatta.pb.mvcc_pb2 import Compare
from regatta.pb.mvcc_pb2 import RequestOp
from tests.cluster.harness import KV
from tests.cluster.tables import EQUAL
from tests.cluster.tables import GREATER
from tests.cluster.tables import LESS
from tests.cluster.tables import NOT_EQUAL
from tests.cluster.tables import ZERO
from tests.cluster.tables import Table
from tests.cluster.tables import compares
from tests.cluster.tables import exists
from tests.cluster.tables import keys_of
from tests.cluster.tables import op_delete
from tests.cluster.tables import op_put
from tests.cluster.tables import op_range
from tests.cluster.tables import refusal

# Comparisons.

RESULTS = (EQUAL, GREATER, LESS, NOT_EQUAL)
IDS = [Compare.CompareResult.Name(result) for result in RESULTS]


@pytest.fixture(scope="module")
def compared(calls: KV) -> Table:
    """A table to compare with: key holds m, k1 to k3 hold 1 to 3, empty holds nothing."""
    table = Table(calls, b"compared")
    table.put(b"key", b"m")
    table.put(b"empty", b"")
    for number in (b"1", b"2", b"3"):
        table.put(b"k" + number, number)
    return table


# The stored value is m.
ORDER = {
    b"m": {EQUAL},
    b"a": {GREATER, NOT_EQUAL},
    b"z": {LESS, NOT_EQUAL},
    b"": {GREATER, NOT_EQUAL},
    b"m\0": {LESS, NOT_EQUAL},
    b"\xff": {LESS, NOT_EQUAL},
    b"\x7f": {LESS, NOT_EQUAL},
    b"lz": {GREATER, NOT_EQUAL},
}


@pytest.mark.parametrize("result", RESULTS, ids=IDS)
@pytest.mark.parametrize("value", ORDER)
def test_a_comparison_has_the_stored_value_on_its_left(
    compared: Table, value: bytes, result: int
) -> None:
    assert compared.holds(compares(b"key", result, value)) is (result in ORDER[value])


@pytest.mark.parametrize("result", RESULTS, ids=IDS)
def test_an_empty_value_is_compared_as_a_value(compared: Table, result: int) -> None:
    assert compared.holds(compares(b"empty", result, b"")) is (result == EQUAL)
    assert compared.holds(compares(b"empty", result, b"a")) is (result in (LESS, NOT_EQUAL))


@pytest.mark.parametrize("result", RESULTS, ids=IDS)
def test_a_missing_key_makes_every_comparison_false(compared: Table, result: int) -> None:
    assert not compared.holds(compares(b"missing", result, b"m"))
    assert not compared.holds(compares(b"missing", result, b""))
    assert not compared.holds(exists(b"missing", result=result))


@pytest.mark.parametrize("result", RESULTS, ids=IDS)
def test_without_a_value_a_comparison_asks_for_existence_alone(
    compared: Table, result: int
) -> None:
    assert compared.holds(exists(b"key", result=result))
    assert compared.holds(exists(b"empty", result=result))


@pytest.mark.parametrize("result", RESULTS, ids=IDS)
def test_an_empty_range_makes_every_comparison_false(compared: Table, result: int) -> None:
    for key, range_end in [(b"x", b"y"), (b"k2", b"k2"), (b"k3", b"k1"), (b"x", ZERO)]:
        assert not compared.holds(compares(key, result, b"2", range_end))
        assert not compared.holds(exists(key, range_end, result))


def test_every_pair_of_a_range_must_satisfy_a_comparison(compared: Table) -> None:
    assert compared.holds(compares(b"k1", GREATER, b"0", b"k4"))
    assert compared.holds(compares(b"k1", LESS, b"4", b"k4"))
    assert compared.holds(compares(b"k1", NOT_EQUAL, b"4", b"k4"))
    assert compared.holds(compares(b"k1", EQUAL, b"1", b"k2"))
    # The first, one in the middle and the last pair of the range are the ones that fail.
    assert not compared.holds(compares(b"k1", GREATER, b"1", b"k4"))
    assert not compared.holds(compares(b"k1", NOT_EQUAL, b"2", b"k4"))
    assert not compared.holds(compares(b"k1", LESS, b"3", b"k4"))
    assert not compared.holds(compares(b"k1", EQUAL, b"1", b"k4"))


def test_a_range_exists_when_it_has_any_pair(compared: Table) -> None:
    assert compared.holds(exists(b"k", b"k2"))
    assert compared.holds(exists(b"k3", ZERO))
    assert compared.holds(exists(ZERO, ZERO))
    assert not compared.holds(exists(b"k0", b"k1"))


def test_comparisons_are_a_conjunction(compared: Table) -> None:
    true, false = compares(b"k1", EQUAL, b"1"), compares(b"k2", EQUAL, b"1")
    assert compared.holds()
    assert compared.holds(true, true)
    for combination in [(false,), (true, false), (false, true), (false, false)]:
        assert not compared.holds(*combination)


def test_comparisons_see_the_state_before_the_transaction(table: Table) -> None:
    table.put(b"key", b"before")
    answer = table.txn(
        compare=[compares(b"key", EQUAL, b"before")], success=[op_put(b"key", b"after")]
    )
    assert answer.succeeded
    assert table.pairs() == {b"key": b"after"}


# Branches and answers.


@pytest.mark.parametrize("holds", [True, False])
def test_one_branch_runs_and_the_answer_tells_which(table: Table, holds: bool) -> None:
    table.put(b"key", b"value")
    compare = exists(b"key" if holds else b"missing")
    answer = table.txn(
        [compare], success=[op_put(b"yes", b"1")], failure=[op_put(b"no", b"1"), op_delete(b"key")]
    )
    assert answer.succeeded is holds
    assert len(answer.responses) == (1 if holds else 2)
    assert list(table.pairs()) == ([b"key", b"yes"] if holds else [b"no"])


@pytest.mark.parametrize("holds", [True, False])
def test_the_branch_that_runs_may_be_empty(table: Table, holds: bool) -> None:
    first = table.put(b"key", b"value").header.revision
    compare, operations = exists(b"key" if holds else b"missing"), [op_put(b"other")]
    success, failure = ([], operations) if holds else (operations, [])
    answer = table.txn([compare], success, failure)
    assert answer.succeeded is holds
    assert not answer.responses
    assert answer.header.revision == first + 1  # it could have written, so it is in the log
    assert list(table.pairs()) == [b"key"]


def test_responses_have_the_positions_and_kinds_of_the_operations(table: Table) -> None:
    table.put_all(b"a", b"b", b"c")
    operations = [
        op_delete(b"a", count=True),
        op_range(b"b"),
        op_put(b"b", b"new"),
        op_put(b"c", b"new", prev_kv=True),
        op_range(b"missing"),
        op_delete(b"missing"),
        op_delete(b"b", b"d", prev_kv=True),
        op_range(ZERO, ZERO),
    ]
    responses = table.txn(success=operations).responses
    assert [response.WhichOneof("response") for response in responses] == [
        operation.WhichOneof("request").replace("request", "response") for operation in operations
    ]
    assert responses[0].response_delete_range.deleted == 1
    assert keys_of(responses[1].response_range.kvs) == [b"b"]
    assert not responses[2].response_put.HasField("prev_kv")
    assert responses[3].response_put.prev_kv.value == b"c"
    assert responses[4].response_range.count == 0
    assert responses[5].response_delete_range.deleted == 0
    assert [pair.value for pair in responses[6].response_delete_range.prev_kvs] == [b"new"] * 2
    assert responses[6].response_delete_range.deleted == 2
    assert responses[7].response_range.count == 0


def test_operations_see_the_effects_of_those_before_them(table: Table) -> None:
    table.put(b"a", b"old")
    responses = table.txn(
        success=[
            op_put(b"b", b"1"),
            op_range(ZERO, ZERO),
            op_put(b"b", b"2", prev_kv=True),
            op_delete(b"a", prev_kv=True),
            op_range(ZERO, ZERO),
            op_delete(ZERO, ZERO, count=True),
            op_range(ZERO, ZERO),
            op_put(b"c", b"3"),
            op_range(b"c"),
        ]
    ).responses

    def pairs(position: int) -> dict[bytes, bytes]:
        return {pair.key: pair.value for pair in responses[position].response_range.kvs}

    assert pairs(1) == {b"a": b"old", b"b": b"1"}
    assert responses[2].response_put.prev_kv.value == b"1"
    assert responses[3].response_delete_range.prev_kvs[0].value == b"old"
    assert pairs(4) == {b"b": b"2"}
    assert responses[5].response_delete_range.deleted == 1
    assert pairs(6) == {}
    assert pairs(8) == {b"c": b"3"}
    assert table.pairs() == {b"c": b"3"}


def test_the_last_of_several_puts_of_a_key_wins(table: Table) -> None:
    table.txn(success=[op_put(b"key", b"%d" % number) for number in range(10)])
    assert table.pairs() == {b"key": b"9"}


def test_ranges_in_a_transaction_have_limit_keys_and_count(table: Table) -> None:
    table.put_all(b"a", b"b", b"c")
    for success in (
        [op_range(b"a", b"d", limit=2)],
        [op_range(b"a", b"d", limit=2, keys_only=True)],
        [op_range(b"a", b"d", limit=2, count_only=True)],
        [op_range(b"a", b"d", limit=3)],
    ):
        read_only = table.txn(success=success).responses[0].response_range
        writing = table.txn(success=[*success, op_put(b"d")]).responses[0].response_range
        options = success[0].request_range
        assert read_only.count == writing.count == options.limit
        assert read_only.more is writing.more is (options.limit < 3)
        assert keys_of(read_only.kvs) == (
            [] if options.count_only else [b"a", b"b", b"c"][: options.limit]
        )
        assert all(bool(pair.value) is not options.keys_only for pair in read_only.kvs)
        assert list(read_only.kvs) == list(writing.kvs)


def test_deleted_is_filled_only_when_asked_for(table: Table) -> None:
    for options, deleted in [({}, 0), ({"count": True}, 2), ({"prev_kv": True}, 2)]:
        table.put_all(b"a", b"b")
        (response,) = table.txn(success=[op_delete(b"a", b"c", **options)]).responses
        assert response.response_delete_range.deleted == deleted
        assert len(response.response_delete_range.prev_kvs) == (2 if "prev_kv" in options else 0)


# What is written to the log.


def test_a_writing_transaction_has_one_revision(table: Table) -> None:
    first = table.put(b"key").header.revision
    answer = table.txn(success=[op_put(b"a"), op_put(b"b"), op_delete(b"key")])
    assert answer.header.revision == first + 1
    assert answer.header.shard_id == table.range(b"a").header.shard_id
    assert table.put(b"key").header.revision == first + 2


@pytest.mark.parametrize("operations", [[], [op_range(b"key")], [op_range(b"key")] * 2])
def test_a_read_only_transaction_is_not_in_the_log(
    table: Table, operations: list[RequestOp]
) -> None:
    written = table.put(b"key").header
    for compare in ([], [exists(b"key")], [exists(b"missing")]):
        answer = table.txn(compare, operations, operations)
        assert answer.succeeded is (compare != [exists(b"missing")])
        assert len(answer.responses) == len(operations)
        assert answer.header.revision == 0
        assert answer.header.shard_id == written.shard_id
    assert table.put(b"key").header.revision == written.revision + 1


def test_a_write_in_the_other_branch_makes_a_transaction_a_writing_one(table: Table) -> None:
    first = table.put(b"key").header.revision
    answer = table.txn([exists(b"key")], success=[op_range(b"key")], failure=[op_put(b"key")])
    assert answer.header.revision == first + 1
    assert keys_of(answer.responses[0].response_range.kvs) == [b"key"]


def test_an_operation_without_a_request_is_skipped_and_counts_as_a_write(table: Table) -> None:
    first = table.put(b"key").header.revision
    answer = table.txn(success=[RequestOp()])
    assert answer.header.revision == first + 1
    assert not answer.responses
    answer = table.txn(success=[RequestOp(), op_range(b"key"), RequestOp(), op_put(b"a")])
    assert [response.WhichOneof("response") for response in answer.responses] == [
        "response_range",
        "response_put",
    ]


# Refused.

PUT_A = op_put(b"a", b"never stored")
KEY_TOO_LONG = ("FAILED_PRECONDITION", "key length exceeded max allowed value")


def unknown(field: str) -> Compare:
    """Return a comparison with a number that *field*, an enumeration, does not have yet."""
    compare = exists(b"key")
    setattr(compare, field, 9)
    return compare


@pytest.mark.parametrize(
    ("operation", "code", "text"),
    [
        (op_put(b""), "INVALID_ARGUMENT", "key must be set"),
        (op_range(b""), "INVALID_ARGUMENT", "key must be set"),
        (op_delete(b""), "INVALID_ARGUMENT", "key must be set"),
        (op_range(b"", b"z"), "INVALID_ARGUMENT", "key must be set"),
        (op_delete(b"", ZERO), "INVALID_ARGUMENT", "key must be set"),
        (op_range(b"k", limit=-1), "INVALID_ARGUMENT", "limit must be a positive number"),
        (
            op_range(b"k", keys_only=True, count_only=True),
            "INVALID_ARGUMENT",
            "keys_only and count_only must not be set at the same time",
        ),
        (op_put(bytes(1025)), *KEY_TOO_LONG),
        (op_range(bytes(1025)), *KEY_TOO_LONG),
        (op_range(b"k", bytes(1025)), *KEY_TOO_LONG),
        (op_delete(bytes(1025)), *KEY_TOO_LONG),
        (
            op_put(b"k", bytes(2 * MIB + 1)),
            "FAILED_PRECONDITION",
            "value length exceeded max allowed value",
        ),
    ],
)
@pytest.mark.parametrize("branch", ["success", "failure"])
def test_a_bad_operation_in_either_branch_refuses_the_whole_transaction(
    table: Table, operation: RequestOp, code: str, text: str, branch: str
) -> None:
    first = table.put(b"key").header.revision
    operations = {"success": [PUT_A], "failure": [PUT_A]}
    operations[branch] = [PUT_A, operation]
    assert refusal(table.txn, **operations) == (code, text)
    assert table.put(b"key").header.revision == first + 1
    assert list(table.pairs()) == [b"key"]


@pytest.mark.parametrize(
    ("compare", "code", "text"),
    [
        (exists(b""), "INVALID_ARGUMENT", "key must be set"),
        (exists(b"", ZERO), "INVALID_ARGUMENT", "key must be set"),
        (exists(bytes(1025)), *KEY_TOO_LONG),
        (exists(b"key", bytes(1025)), *KEY_TOO_LONG),
        (unknown("result"), "INVALID_ARGUMENT", "compare.result 9 is not known"),
        (unknown("target"), "INVALID_ARGUMENT", "compare.target 9 is not known"),
    ],
)
def test_a_bad_comparison_refuses_the_transaction(
    table: Table, compare: Compare, code: str, text: str
) -> None:
    table.put(b"key")
    assert refusal(table.txn, [compare]) == (code, text)
    assert refusal(table.txn, [compare], [PUT_A], [PUT_A]) == (code, text)
    assert list(table.pairs()) == [b"key"]


@pytest.mark.parametrize("size", [1, 1024])
def test_keys_up_to_the_longest_are_taken(table: Table, size: int) -> None:
    key = b"k" * size
    answer = table.txn(success=[op_put(key, b"value"), op_range(key)])
    assert keys_of(answer.responses[1].response_range.kvs) == [key]
    assert table.holds(compares(key, EQUAL, b"value"))


def test_a_delete_with_too_large_previous_pairs_changes_nothing(table: Table) -> None:
    for key in (b"a", b"b", b"c"):
        table.put(key, bytes(2 * MIB))
    before = table.range(ZERO, ZERO, keys_only=True)
    changes = [op_put(b"new"), op_delete(b"c"), op_put(b"b", b"changed"), op_put(b"b", bytes(MIB))]
    operations = [*changes, op_put(b"d", bytes(2 * MIB)), op_delete(b"a", ZERO, prev_kv=True)]
    assert refusal(table.txn, success=operations) == (
        "RESOURCE_EXHAUSTED",
        "the previous pairs exceed 4 MiB; nothing was changed",
    )
    assert table.range(ZERO, ZERO, keys_only=True) == before
    # The count that is kept beside the pairs went back as well.
    assert table.delete(ZERO, ZERO, count=True).deleted == 3


def test_an_answer_over_sixteen_mebibytes_changes_nothing(table: Table) -> None:
    table.put(b"large", bytes(2 * MIB))
    before = table.range(ZERO, ZERO, keys_only=True)
    reads = [op_range(b"large")] * 8
    expected = (
        "RESOURCE_EXHAUSTED",
        "the transaction's answer exceeds 16 MiB; nothing was changed",
    )
    assert refusal(table.txn, success=[op_put(b"new"), *reads]) == expected
    assert refusal(table.txn, success=reads) == expected
    assert table.range(ZERO, ZERO, keys_only=True) == before
    assert len(table.txn(success=[op_put(b"new"), *reads[:7]]).responses) == 8


def test_the_next_write_after_a_refused_one_has_the_next_revision(table: Table) -> None:
    # What is refused while it is applied is in the log, and so takes a revision.
    first = table.put(b"large", bytes(2 * MIB)).header.revision
    refusal(table.txn, success=[op_put(b"new"), *[op_range(b"large")] * 8])
    assert table.put(b"key").header.revision == first + 2
