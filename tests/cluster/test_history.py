"""The checker of the crash test must itself be able to fail."""

import pytest

from tests.cluster.history import DeleteRange, History, HistoryError, Put, Txn, Workload

TXN = Txn(b"c/1", None, [Put(b"c/1", b"new"), Put(b"c/2", b"new"), DeleteRange(b"c/3", b"c/5")])
BEFORE = {b"c/1": b"old", b"c/3": b"old", b"c/4": b"old"}
AFTER = {b"c/1": b"new", b"c/2": b"new"}


def make_history() -> History:
    history = History(b"c/", dict(BEFORE))
    history.begin(TXN)
    return history


def test_operation_under_way_may_be_lost_or_done() -> None:
    lost, done = make_history(), make_history()
    assert lost.settle(dict(BEFORE)) is False
    assert lost.acknowledged == BEFORE
    assert done.settle(dict(AFTER)) is True
    assert done.acknowledged == AFTER


@pytest.mark.parametrize(
    "found",
    [
        {**BEFORE, b"c/1": b"new"},
        {**AFTER, b"c/3": b"old"},
        {b"c/1": b"new"},
        {},
    ],
    ids=["first put only", "half deleted", "one put missing", "all gone"],
)
def test_half_applied_transaction_is_found(found: dict[bytes, bytes]) -> None:
    with pytest.raises(HistoryError):
        make_history().settle(found)


def test_lost_acknowledged_write_is_found() -> None:
    history = make_history()
    history.acknowledge(7)
    with pytest.raises(HistoryError, match=r"missing \[b'c/2'\]"):
        history.settle(dict(BEFORE))


def test_returned_deleted_key_is_found() -> None:
    history = make_history()
    history.acknowledge(7)
    with pytest.raises(HistoryError, match=r"surplus \[b'c/4'\]"):
        history.settle({**AFTER, b"c/4": b"old"})


def test_write_that_nobody_sent_is_found() -> None:
    with pytest.raises(HistoryError, match=r"other value \[b'c/1'\]"):
        History(b"c/", {b"c/1": b"old"}).settle({b"c/1": b"older"})


def test_revision_that_does_not_grow_is_found() -> None:
    history = make_history()
    history.acknowledge(7)
    history.begin(TXN)
    with pytest.raises(HistoryError, match="revision 7 was given after 7"):
        history.acknowledge(7)


def test_any_tampering_with_a_long_history_is_found() -> None:
    history = History(b"c/")
    workload = Workload(history, "seed")
    for revision in range(1, 301):
        history.begin(workload.next_operation())
        history.acknowledge(revision)
    truth = dict(history.acknowledged)
    assert len(truth) > 20
    for key in truth:
        without = {other: value for other, value in truth.items() if other != key}
        with pytest.raises(HistoryError):
            history.settle(without)
        with pytest.raises(HistoryError):
            history.settle({**truth, key: truth[key] + b"!"})
    assert history.settle(truth) is False


def test_workload_changes_ten_keys_at_once_and_never_uses_a_value_twice() -> None:
    history = History(b"c/")
    workload = Workload(history, "seed")
    values: list[bytes] = []
    for revision in range(1, 1001):
        operation = workload.next_operation()
        if isinstance(operation, Txn):
            puts = [step for step in operation.steps if isinstance(step, Put)]
            assert len(puts) == 10
            values += [put.value for put in puts]
        elif isinstance(operation, Put):
            values.append(operation.value)
        history.begin(operation)
        history.acknowledge(revision)
    assert len(set(values)) == len(values)
