"""The durable log of all groups: what goes in comes out, and nothing damaged does."""

import struct
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regatta.errors import StartError
from regatta.raft import ConfState
from regatta.raft import DamagedLog
from regatta.raft import Entry
from regatta.raft import EntryKind
from regatta.raft import HardState
from regatta.raft import Message
from regatta.raft import MessageType
from regatta.raft import StableLog
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
    log.group(group).append(
        [Entry(7, index, data=payload) for index, payload in enumerate(payloads, first)]
    )
    settle(log)
    assert log.failure is None


def read(log: RaftLog, group: int, low: int = 1, bytes_max: int = 1 << 30) -> list[Entry]:
    return log.read(group, low, 1 << 40, bytes_max)


def write(path: Path, group: int, *payloads: bytes) -> None:
    with running(RaftLog, path) as log:
        append(log, group, *payloads)


def test_entries_come_out_as_they_went_in(path: Path) -> None:
    write(path, 5, b"one", b"", b"three" * 100_000)
    with running(RaftLog, path) as log:
        payloads = (b"one", b"", b"three" * 100_000)
        assert read(log, 5) == [
            Entry(7, index, data=payload) for index, payload in enumerate(payloads, 1)
        ]


def test_the_kind_of_an_entry_is_kept(path: Path) -> None:
    with running(RaftLog, path) as log:
        entry = Entry(9, 1, EntryKind.CONF_CHANGE_V2, b"membership")
        log.group(5).append([entry])
        settle(log)
        assert read(log, 5) == [entry]


def test_an_entry_is_stored_as_documented(path: Path) -> None:
    write(path, 5, b"payload")
    data, _ = dump(path)
    key = struct.pack(">QQ", 5, 1)
    rest = struct.pack("<IQ", 0, 7) + b"payload"
    assert data == {key: struct.pack("<I", checksum(key + rest)) + rest}


def test_one_entry_comes_out_however_large_it_is(path: Path) -> None:
    with running(RaftLog, path) as log:
        append(log, 5, b"x" * 5000, b"y")
        assert [entry.index for entry in read(log, 5, 1, 1)] == [1]


def test_reading_stops_at_the_bound(path: Path) -> None:
    with running(RaftLog, path) as log:
        append(log, 5, *[b"x" * 1000] * 10)
        entry_bytes = Entry(7, 1, data=b"x" * 1000).size
        assert len(read(log, 5, 1, 3 * entry_bytes)) == 3
        assert len(read(log, 5, 1, 3 * entry_bytes - 1)) == 2
        assert len(read(log, 5, 4)) == 7
        assert [entry.index for entry in log.read(5, 4, 6, 1 << 30)] == [4, 5]


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
            entries = read(log, group)
            assert [entry.index for entry in entries] == list(range(1, count + 1))
            assert {entry.data for entry in entries} <= {b"%d" % group}


def test_a_truncation_removes_the_newest_entries_of_one_group(path: Path) -> None:
    with running(RaftLog, path) as log:
        for group in (4, 5, 6):
            append(log, group, *[b"old"] * 9)
        part = log.group(5)
        part.truncate(4)
        part.append([Entry(8, 4, data=b"new")])
        settle(log)
        assert [entry.term for entry in read(log, 5)] == [7, 7, 7, 8]
        assert log.last_index(5) == 4
        assert len(read(log, 4)) == len(read(log, 6)) == 9


def test_many_appends_before_a_flush_are_one_turn(path: Path) -> None:
    with running(RaftLog, path) as log:
        append(log, 5, *[b"x"] * 5000)
        assert log.queued == log.committed == 5000
        assert log.turns == 1


def test_nothing_is_written_before_a_flush(path: Path) -> None:
    with running(RaftLog, path) as log:
        log.group(5).append([Entry(1, 1, data=b"x")])
        assert log.committed == 0
        settle(log)
        assert log.committed == 1


def test_a_turn_has_a_bound(path: Path) -> None:
    with running(RaftLog, path) as log:
        append(log, 5, *[bytes(1 << 20)] * 70)
        assert log.turns == 2
        assert len(read(log, 5)) == 70


def test_close_finishes_what_was_put_in(path: Path) -> None:
    with running(RaftLog, path) as log:
        log.group(5).append([Entry(1, index, data=b"x") for index in range(1, 101)])
    assert len(dump(path)[0]) == 100


def test_hard_states_outlive_a_restart(path: Path) -> None:
    promised = {1: HardState(3, 2, 1), 2**60: HardState(1, 0, 0)}
    with running(RaftLog, path) as log:
        for group, state in promised.items():
            part = log.group(group)
            part.set_hard_state(HardState(9, 9, 9))
            part.set_hard_state(state)
        settle(log)
    with running(RaftLog, path) as log:
        states = log.states()
        assert states == {1: GroupState(3, 2, 1), 2**60: GroupState(1)}
        for group, state in promised.items():
            assert log.group(group, states[group]).load() == (state, 0, 0, 0)


def test_compaction_removes_the_entries_of_one_group(path: Path) -> None:
    with running(RaftLog, path) as log:
        part = log.group(5)
        part.set_hard_state(HardState(7, 1, 0))
        for group, payload in ((5, b"x"), (4, b"y"), (6, b"z")):
            append(log, group, *[payload] * 20)
        part.compact(12, 7)
        settle(log)
        assert log.states() == {5: GroupState(7, 1, 0, 12, 7)}
        assert [entry.index for entry in read(log, 5, 13)] == list(range(13, 21))
        assert log.last_index(5) == 20
        assert len(read(log, 4)) == len(read(log, 6)) == 20
        # The next hard state leaves the begin of the log where it is.
        part.set_hard_state(HardState(8, 1, 3))
        settle(log)
        assert log.states() == {5: GroupState(8, 1, 3, 12, 7)}


def test_compaction_does_not_go_back(path: Path) -> None:
    with running(RaftLog, path) as log:
        append(log, 5, *[b"x"] * 20)
        part = log.group(5)
        part.compact(12, 7)
        part.compact(3, 7)
        settle(log)
        assert log.failure is None
        assert log.states()[5].compacted_index == 12


def test_a_log_without_entries_ends_where_it_is_compacted(path: Path) -> None:
    with running(RaftLog, path) as log:
        append(log, 5, *[b"x"] * 20)
        log.group(5).compact(20, 7)
        settle(log)
        assert log.last_index(5) == 0
        assert log.group(5, log.states()[5]).load() == (HardState(), 20, 7, 20)


def test_a_reset_leaves_nothing_before_the_snapshot(path: Path) -> None:
    with running(RaftLog, path) as log:
        append(log, 4, b"y")
        append(log, 5, *[b"x"] * 20)
        log.group(5, GroupState(7, 1, 3)).reset(50, 9)
        settle(log)
        assert read(log, 5) == []
        assert log.group(5, log.states()[5]).load() == (HardState(7, 1, 3), 50, 9, 50)
        append(log, 5, b"after", first=51)
        assert [entry.index for entry in read(log, 5, 51)] == [51]
        assert len(read(log, 4)) == 1


def test_reading_what_was_compacted_names_the_missing_entry(path: Path) -> None:
    with running(RaftLog, path) as log:
        append(log, 5, *[b"x"] * 20)
        log.group(5).compact(12, 7)
        settle(log)
        with pytest.raises(StartError, match="entry 12 of group 5 is missing"):
            read(log, 5, 12)


def test_a_gap_names_the_missing_entry(path: Path) -> None:
    with running(RaftLog, path) as log:
        append(log, 5, b"x", b"x")
        append(log, 5, b"x", first=4)
        with pytest.raises(StartError, match="entry 3 of group 5 is missing"):
            read(log, 5)


def test_a_damaged_entry_is_named_and_not_returned(path: Path) -> None:
    write(path, 5, b"first", b"MARKER-2", b"third")
    damage(path, b"MARKER-2")
    with running(RaftLog, path) as log:
        assert len(read(log, 5, 3)) == 1
        with pytest.raises(StartError, match="damaged: entry 2 of group 5") as caught:
            read(log, 5)
        assert "from a copy" in caught.value.remedy


def test_a_damaged_state_is_named(path: Path) -> None:
    with running(RaftLog, path) as log:
        log.group(5).set_hard_state(HardState(1, 0xABCDEF0123456789, 0))
        settle(log)
    damage(path, struct.pack("<Q", 0xABCDEF0123456789))
    with running(RaftLog, path) as log, pytest.raises(StartError, match="the state of group 5"):
        log.states()


# What a replica's log makes of it.


def test_a_stable_log_on_disk_is_taken_up_after_a_restart(path: Path) -> None:
    def message(term: int, commit: int, first: int, stop: int) -> Message:
        entries = [Entry(term, index, data=b"%d" % index) for index in range(first, stop)]
        return Message(
            type=MessageType.STORAGE_APPEND, term=term, vote=1, commit=commit, entries=entries
        )

    alone = ConfState(voters=(1,))
    with running(RaftLog, path) as log:
        stable = StableLog(log.group(5), alone, recent_bytes_max=0)
        for wanted in (message(1, 0, 1, 10), message(2, 5, 7, 9), message(2, 8, 9, 12)):
            assert stable.write(wanted)
            settle(log)
            stable.written(wanted)
        stable.compact(4)
        settle(log)
    with running(RaftLog, path) as log:
        stable = StableLog(log.group(5, log.states()[5]), alone, 5, 1)
        assert stable.initial_state() == (HardState(2, 1, 8), alone)
        assert (stable.first_index(), stable.last_index()) == (5, 11)
        assert [entry.term for entry in stable.entries(5, 12, 1 << 20)] == [1, 1, *[2] * 5]
        with pytest.raises(DamagedLog, match="entry 6 of term 1, but one of term 2 was applied"):
            StableLog(log.group(5, log.states()[5]), alone, 6, 2)
