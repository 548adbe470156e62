"""The table of terms and leaders."""

import mmap
import os
import signal
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regatta.table._leaders import Leaders
from regatta.table._leaders import SharedLeaders


def page(size: int) -> memoryview:
    """Return shared memory of *size* bytes, all zeroes."""
    return memoryview(mmap.mmap(-1, size)).cast("Q")


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


@given(
    st.lists(st.tuples(st.integers(1, 60), st.integers(0, 9), st.integers(0, 3)), max_size=200),
    st.integers(0, 200),
)
def test_what_is_shared_is_what_is_known(steps: list[tuple[int, int, int]], begin: int) -> None:
    memory = page(16 + 128 * 24)
    leaders = Leaders()
    for number, (group, term, node) in enumerate(steps):
        if number == begin:
            leaders.share(memory)
        leaders.set(group << 8, term, node)
    if begin >= len(steps):
        leaders.share(memory)
    shared = SharedLeaders(memory)
    for group in range(61):
        assert shared.get(group << 8) == leaders.get(group << 8)


def test_of_groups_without_room_nothing_is_shared() -> None:
    memory = page(16 + 8 * 24)
    leaders = Leaders()
    leaders.share(memory)
    for group in range(1, 10):
        leaders.set(group, group, 1)
    shared = SharedLeaders(memory)
    assert [shared.get(group) for group in range(1, 10)] == [
        *[(group, 1) for group in range(1, 5)],
        *[(0, 0)] * 5,
    ]
    leaders.set(2, 7, 1)
    assert shared.get(2) == (7, 1)


def test_a_reader_sets_nothing() -> None:
    memory = page(4096)
    Leaders().share(memory)
    with pytest.raises(TypeError, match="another process"):
        SharedLeaders(memory).set(1, 1, 1)


def test_what_another_process_writes_is_never_half_seen() -> None:
    memory = page(4096)
    leaders = Leaders()
    leaders.share(memory)
    leaders.set(10001, 0, 0)
    writer = os.fork()
    if writer == 0:
        number = 0
        while True:
            number += 1
            leaders.set(10001, number, number)
    try:
        shared, seen = SharedLeaders(memory), set()
        begun_s = time.monotonic()
        # On a busy machine the two may seldom run at the same time.
        while time.monotonic() < begun_s + (0.5 if len(seen) > 100 else 20):
            term, node = shared.get(10001)
            assert term == node
            seen.add(term)
        assert len(seen) > 100
    finally:
        os.kill(writer, signal.SIGKILL)
        os.waitpid(writer, 0)
