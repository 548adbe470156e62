"""The group with one voter: what is durable is committed, once and in order."""

from hypothesis import given
from hypothesis import strategies as st

from regatta.raft.solo import Solo


def test_indexes_follow_the_last_durable_entry() -> None:
    core = Solo(1, last=41)
    assert [core.propose(), core.propose()] == [42, 43]


def test_what_was_durable_at_the_start_is_committed() -> None:
    assert Solo(1, last=41).committed == 41


def test_nothing_is_committed_before_it_is_durable() -> None:
    core = Solo(1, last=0)
    core.propose()
    assert core.committed == 0


def test_an_entry_is_not_committed_twice() -> None:
    core = Solo(1, last=0)
    core.propose()
    assert list(core.persisted(1)) == [1]
    assert list(core.persisted(1)) == []


def test_an_entry_that_was_never_proposed_is_not_committed() -> None:
    core = Solo(1, last=3)
    assert list(core.persisted(9)) == []
    assert core.committed == 3


@given(st.integers(0, 2**40), st.integers(0, 30), st.lists(st.integers(0, 40), max_size=20))
def test_each_entry_is_committed_once_and_in_order(
    last: int, count: int, durable: list[int]
) -> None:
    core = Solo(1, last)
    proposed = [core.propose() for _ in range(count)]
    committed = [index for step in durable for index in core.persisted(last + step)]
    assert committed == proposed[: len(committed)]
    assert len(committed) == min(count, max(durable, default=0))
