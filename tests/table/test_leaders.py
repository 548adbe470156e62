"""The table of terms and leaders."""

from hypothesis import given
from hypothesis import strategies as st

from regatta.table._leaders import Leaders


def test_of_an_unknown_group_nothing_is_told() -> None:
    leaders = Leaders()
    assert leaders.get(10001) == (0, 0)
    leaders.set(10002, 3, 1)
    assert leaders.get(10001) == (0, 0)


@given(st.lists(st.tuples(st.integers(1, 60), st.integers(0, 9), st.integers(0, 3)), max_size=200))
def test_the_last_one_set_is_told(steps: list[tuple[int, int, int]]) -> None:
    leaders, expected = Leaders(), {}
    for group, term, node in steps:
        # Ids that share their last bits meet in one place.
        leaders.set(group << 8, term, node)
        expected[group] = (term, node)
    for group in range(61):
        assert leaders.get(group << 8) == expected.get(group, (0, 0))
