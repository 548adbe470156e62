"""The durable log of all groups: what goes in comes out, and nothing damaged does."""

import struct
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regatta.errors import StartError
from regatta.store import GroupState
from regatta.store import RaftLog
from regatta.wire import checksum
from tests.store.storage import damage
from tests.store.storage import dump
from tests.store.storage import running
from tests.store.storage import settle


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log"


def append(log: RaftLog, group: int, *payloads: bytes, first: int = 1) -> None:
    for index, payload in enumerate(payloads, first):
        log.append(group, index, 7, payload)
    settle(log)
    assert log.failure is None


def write(path: Path, group: int, *payloads: bytes) -> None:
    with running(RaftLog, path) as log:
        append(log, group, *payloads)


def test_entries_come_out_as_they_went_in(path: Path) -> None:
    write(path, 5, b"one", b"", b"three" * 100_000)
    with running(RaftLog, path) as log:
        assert [tuple(entry) for entry in log.entries(5, 1, 1 << 30)] == [
            (1, 7, 0, b"one"),
            (2, 7, 0, b""),
            (3, 7, 0, b"three" * 100_000),
        ]


def test_the_kind_of_an_entry_is_kept(path: Path) -> None:
    with running(RaftLog, path) as log:
        log.append(5, 1, 9, b"membership", kind=2)
        settle(log)
        assert log.entries(5, 1, 1) == [(1, 9, 2, b"membership")]


def test_an_entry_is_stored_as_documented(path: Path) -> None:
    write(path, 5, b"payload")
    data, _ = dump(path)
    key = struct.pack(">QQ", 5, 1)
    rest = struct.pack("<IQ", 0, 7) + b"payload"
    assert data == {key: struct.pack("<I", checksum(key + rest)) + rest}


def test_one_entry_comes_out_however_large_it_is(path: Path) -> None:
    with running(RaftLog, path) as log:
        append(log, 5, b"x" * 5000, b"y")
        assert [entry.index for entry in log.entries(5, 1, 1)] == [1]


def test_reading_stops_at_the_bound(path: Path) -> None:
    with running(RaftLog, path) as log:
        append(log, 5, *[b"x" * 1000] * 10)
        assert 3 <= len(log.entries(5, 1, 3000)) <= 4
        assert len(log.entries(5, 4, 1 << 20)) == 7


@settings(max_examples=25, deadline=None)
@given(st.dictionaries(st.sampled_from([1, 2, 255, 256, 2**63]), st.integers(1, 30)))
def test_groups_do_not_see_each_other(
    tmp_path_factory: pytest.TempPathFactory, counts: dict[int, int]
) -> None:
    with running(RaftLog, tmp_path_factory.mktemp("groups")) as log:
        for group, count in counts.items():
            append(log, group, *[b"%d" % group] * count)
        for group in (1, 2, 3, 255, 256, 2**63):
            count = counts.get(group, 0)
            assert log.last_index(group) == count
            entries = log.entries(group, 1, 1 << 20)
            assert [entry.index for entry in entries] == list(range(1, count + 1))
            assert {entry.payload for entry in entries} <= {b"%d" % group}


def test_an_entry_is_overwritten_by_a_later_one_of_its_index(path: Path) -> None:
    with running(RaftLog, path) as log:
        append(log, 5, b"old")
        append(log, 5, b"new")
        assert [entry.payload for entry in log.entries(5, 1, 100)] == [b"new"]


def test_many_appends_before_a_flush_are_one_turn(path: Path) -> None:
    with running(RaftLog, path) as log:
        append(log, 5, *[b"x"] * 5000)
        assert log.queued == log.committed == 5000
        assert log.turns == 1


def test_nothing_is_written_before_a_flush(path: Path) -> None:
    with running(RaftLog, path) as log:
        log.append(5, 1, 1, b"x")
        assert log.committed == 0
        settle(log)
        assert log.committed == 1


def test_a_turn_has_a_bound(path: Path) -> None:
    with running(RaftLog, path) as log:
        append(log, 5, *[bytes(1 << 20)] * 70)
        assert log.turns == 2
        assert len(log.entries(5, 1, 1 << 30)) == 70


def test_close_finishes_what_was_put_in(path: Path) -> None:
    with running(RaftLog, path) as log:
        for index in range(1, 101):
            log.append(5, index, 1, b"x")
    assert len(dump(path)[0]) == 100


def test_states_outlive_a_restart(path: Path) -> None:
    states = {1: GroupState(3, 2, 1), 2**60: GroupState(1)}
    with running(RaftLog, path) as log:
        for group, state in states.items():
            log.set_state(group, GroupState(9, 9, 9))
            log.set_state(group, state)
        settle(log)
    with running(RaftLog, path) as log:
        assert log.states() == states


def test_compaction_removes_the_entries_of_one_group(path: Path) -> None:
    with running(RaftLog, path) as log:
        log.set_state(5, GroupState(7, 1))
        append(log, 5, *[b"x"] * 20)
        append(log, 4, *[b"y"] * 20)
        append(log, 6, *[b"z"] * 20)
        log.compact(5, 12)
        settle(log)
        assert log.states() == {5: GroupState(7, 1, 0, 12, 7)}
        assert [entry.index for entry in log.entries(5, 13, 1 << 20)] == list(range(13, 21))
        assert log.last_index(5) == 20
        assert len(log.entries(4, 1, 1 << 20)) == len(log.entries(6, 1, 1 << 20)) == 20


def test_compaction_does_not_go_back(path: Path) -> None:
    with running(RaftLog, path) as log:
        log.set_state(5, GroupState(7, 1))
        append(log, 5, *[b"x"] * 20)
        log.compact(5, 12)
        log.compact(5, 3)
        settle(log)
        assert log.failure is None
        assert log.states()[5].compacted_index == 12


def test_reading_what_was_compacted_names_the_missing_entry(path: Path) -> None:
    with running(RaftLog, path) as log:
        log.set_state(5, GroupState(7, 1))
        append(log, 5, *[b"x"] * 20)
        log.compact(5, 12)
        settle(log)
        with pytest.raises(StartError, match="entry 12 of group 5 is missing"):
            log.entries(5, 12, 1 << 20)


def test_a_gap_names_the_missing_entry(path: Path) -> None:
    with running(RaftLog, path) as log:
        append(log, 5, b"x", b"x")
        append(log, 5, b"x", first=4)
        with pytest.raises(StartError, match="entry 3 of group 5 is missing"):
            log.entries(5, 1, 1 << 20)


def test_a_damaged_entry_is_named_and_not_returned(path: Path) -> None:
    write(path, 5, b"first", b"MARKER-2", b"third")
    damage(path, b"MARKER-2")
    with running(RaftLog, path) as log:
        assert len(log.entries(5, 3, 100)) == 1
        with pytest.raises(StartError, match="damaged: entry 2 of group 5") as caught:
            log.entries(5, 1, 100)
        assert "from a copy" in caught.value.remedy


def test_a_damaged_state_is_named(path: Path) -> None:
    with running(RaftLog, path) as log:
        log.set_state(5, GroupState(1, 0xABCDEF0123456789))
        settle(log)
    damage(path, struct.pack("<Q", 0xABCDEF0123456789))
    with running(RaftLog, path) as log, pytest.raises(StartError, match="the state of group 5"):
        log.states()
