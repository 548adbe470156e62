"""The memory that libnghttp2 gets: blocks don't overlap, and keep what is in them."""

from types import ModuleType

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

sizes = st.one_of(
    st.integers(0, 600),
    st.sampled_from([0, 1, 31, 32, 33, 511, 512, 513, 5000, 100_000]),
)
steps = st.lists(
    st.tuples(st.sampled_from(["take", "zeroed", "resize", "give back"]), sizes, st.integers(0)),
    max_size=60,
)


@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(steps=steps)
def test_blocks_keep_what_is_in_them(echo: ModuleType, steps: list[tuple[str, int, int]]) -> None:
    blocks, numbers = echo.Blocks(), list[int]()
    for what, size, choice in steps:
        if what in ("take", "zeroed") or not numbers:
            numbers.append(blocks.take(size, what == "zeroed"))
        elif what == "resize":
            assert blocks.resize(numbers[choice % len(numbers)], max(size, 1))
        else:
            blocks.give_back(numbers.pop(choice % len(numbers)))
        assert all(map(blocks.is_whole, numbers))
    for number in numbers:
        blocks.give_back(number)


def test_more_blocks_than_are_kept_can_be_taken_and_given_back(echo: ModuleType) -> None:
    blocks = echo.Blocks()
    for _ in range(3):
        numbers = [blocks.take(200) for _ in range(3000)]
        assert all(map(blocks.is_whole, numbers))
        for number in numbers:
            blocks.give_back(number)


@pytest.mark.parametrize("size", [2**64 - 1, 2**64 - 16, 2**64 - 40])
def test_what_nobody_has_is_refused(echo: ModuleType, size: int) -> None:
    assert echo.Blocks().refuses(size)
