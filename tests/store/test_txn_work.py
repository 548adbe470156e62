"""What a transaction may look at, and that one which nobody waits for ends."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from regatta import limits
from regatta.errors import Code
from regatta.pb.mvcc_pb2 import Command
from regatta.pb.mvcc_pb2 import CommandResult
from regatta.pb.mvcc_pb2 import Compare
from regatta.pb.mvcc_pb2 import KeyValue
from regatta.pb.mvcc_pb2 import RequestOp
from regatta.pb.mvcc_pb2 import Txn
from regatta.store import Machine
from regatta.store import Snapshot
from tests.store.storage import Applier
from tests.store.storage import put
from tests.store.storage import running

PAIR_COUNT = 1000
LOOKS = limits.txn_pairs_max // PAIR_COUNT  # at the whole table
TOO_MUCH = (
    Code.RESOURCE_EXHAUSTED,
    False,
    b"the transaction looks at more than 1,000,000 pairs or 256 MiB; nothing was changed",
)

ALL: dict[str, Any] = {"key": b"\0", "range_end": b"\0"}
COUNT = RequestOp(request_range=RequestOp.Range(**ALL, count_only=True))
KEYS = RequestOp(request_range=RequestOp.Range(**ALL, keys_only=True))
PUT = RequestOp(request_put=RequestOp.Put(key=b"0", value=b"changed"))
DELETE = RequestOp(request_delete_range=RequestOp.DeleteRange(**ALL))
COMPARE = Compare(**ALL, value=b"v")


@pytest.fixture
def applier(tmp_path: Path) -> Iterator[Applier]:
    """A table of 1,000 pairs."""
    with running(Machine, tmp_path / "data") as machine:
        made = Applier(machine)
        pairs = [KeyValue(key=b"%d" % number, value=b"v") for number in range(PAIR_COUNT)]
        made.apply(Command(type=Command.PUT_BATCH, batch=pairs))
        yield made


def run(applier: Applier, txn: Txn) -> tuple[int, bool, bytes]:
    """Apply a transaction."""
    (answer,) = applier.apply(Command(type=Command.TXN, txn=txn))
    return answer


def test_the_texts_say_what_the_limits_are() -> None:
    assert (limits.txn_pairs_max, limits.txn_read_bytes_max) == (1_000_000, 256 << 20)


def test_a_transaction_may_look_at_a_million_pairs_and_not_at_one_more(applier: Applier) -> None:
    assert run(applier, Txn(success=[PUT] + [COUNT] * LOOKS))[0] == 0
    applier.apply(put(b"one more"), put(b"0", b"v"))
    before = applier.key_values()
    assert run(applier, Txn(success=[PUT] + [COUNT] * LOOKS)) == TOO_MUCH
    assert applier.key_values() == before


@pytest.mark.parametrize("last", [COUNT, KEYS, DELETE], ids=["count", "keys", "delete"])
def test_a_transaction_that_looks_at_too_much_changes_nothing(
    applier: Applier, last: RequestOp
) -> None:
    before = applier.key_values(), applier.state()._replace(applied_index=0)
    assert run(applier, Txn(success=[PUT, *[COUNT] * LOOKS, last])) == TOO_MUCH
    assert (applier.key_values(), applier.state()._replace(applied_index=0)) == before
    # Its entry is applied all the same, and what comes next is not held up.
    assert run(applier, Txn(success=[PUT])) == (0, False, b"\x0a\x02\x12\x00")


def test_deletes_without_previous_pairs_are_looks_too(applier: Applier) -> None:
    refill = [RequestOp(request_put=RequestOp.Put(key=b"%d" % n)) for n in range(PAIR_COUNT)]
    assert run(applier, Txn(success=[DELETE, *refill] * 3))[0] == 0
    applier.apply(put(b"one more"))
    before = applier.key_values()
    assert (
        run(
            applier, Txn(success=[*[COUNT] * (LOOKS - 3), DELETE, *refill, DELETE, *refill, DELETE])
        )
        == TOO_MUCH
    )
    assert applier.key_values() == before


def test_comparisons_are_looks_too(applier: Applier) -> None:
    assert run(applier, Txn(compare=[COMPARE] * LOOKS))[:2] == (0, False)
    assert run(applier, Txn(compare=[COMPARE] * LOOKS, success=[COUNT])) == TOO_MUCH
    assert run(applier, Txn(compare=[COMPARE] * (LOOKS + 1))) == TOO_MUCH


def test_what_is_read_to_show_or_compare_keys_alone_is_bounded_in_bytes(applier: Applier) -> None:
    applier.apply(put(b"large", bytes(limits.value_bytes_max)))
    one = RequestOp(request_range=RequestOp.Range(key=b"large", keys_only=True))
    fitting = limits.txn_read_bytes_max // limits.value_bytes_max - 1
    assert run(applier, Txn(success=[one] * fitting))[0] == 0
    assert run(applier, Txn(success=[one] * (fitting + 1))) == TOO_MUCH
    not_equal = Compare(key=b"large", value=b"", result=Compare.NOT_EQUAL)
    assert run(applier, Txn(compare=[not_equal] * fitting))[:2] == (0, False)
    assert run(applier, Txn(compare=[not_equal] * (fitting + 1)))[0] == Code.RESOURCE_EXHAUSTED
    # Counting reads no values.
    counted = RequestOp(request_range=RequestOp.Range(key=b"large", count_only=True))
    assert run(applier, Txn(success=[counted] * 1000))[0] == 0


def test_reading_alone_is_bounded_alike(applier: Applier) -> None:
    snapshot = Snapshot(applier.machine.environment)
    table = applier.state().table_id
    code, _, result = snapshot.transact(table, Txn(success=[COUNT] * LOOKS).SerializeToString())
    assert code == 0
    counts = [one.response_range.count for one in CommandResult.FromString(result).responses]
    assert counts == [PAIR_COUNT] * LOOKS
    txn = Txn(success=[COUNT] * (LOOKS + 1)).SerializeToString()
    assert snapshot.transact(table, txn) == TOO_MUCH


def test_a_cancelled_transaction_ends(applier: Applier) -> None:
    snapshot = Snapshot(applier.machine.environment)
    snapshot.cancel()
    txn = Txn(success=[COUNT] * LOOKS).SerializeToString()
    assert snapshot.transact(applier.state().table_id, txn)[0] == Code.CANCELLED
