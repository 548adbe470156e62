"""The durable log: what was asked for, what reads as written, and what a start refuses."""

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regatta.raft import APPEND_THREAD
from regatta.raft import Backing
from regatta.raft import Compacted
from regatta.raft import ConfState
from regatta.raft import DamagedLog
from regatta.raft import Entry
from regatta.raft import HardState
from regatta.raft import Message
from regatta.raft import MessageType
from regatta.raft import Snapshot
from regatta.raft import SnapshotTemporarilyUnavailable
from regatta.raft import StableLog
from regatta.raft import Unavailable

ALONE = ConfState(voters=(1,))
NO_BOUND = 2**64 - 1


@dataclass
class Disk:
    """What a backing has written; a copy is what a crash at that moment leaves."""

    state: HardState = field(default_factory=HardState)
    compacted: tuple[int, int] = (0, 0)
    entries: dict[int, Entry] = field(default_factory=dict)

    def copy(self) -> "Disk":
        return Disk(self.state, self.compacted, dict(self.entries))


class Memory(Backing):
    """A backing that writes at once and remembers the first states that it was in."""

    def __init__(self, disk: Disk | None = None) -> None:
        self.disk = disk or Disk()
        self.past = [self.disk.copy()]
        self.reads = 0

    def load(self) -> tuple[HardState, int, int, int]:
        last = max(self.disk.entries, default=self.disk.compacted[0])
        return self.disk.state, *self.disk.compacted, last

    def read(self, low: int, high: int, bytes_max: int) -> list[Entry]:
        self.reads += 1
        return within(
            [self.disk.entries[i] for i in range(low, high) if i in self.disk.entries], bytes_max
        )

    def set_hard_state(self, state: HardState) -> None:
        self.disk.state = state
        self._remember()

    def truncate(self, first: int) -> None:
        self._keep(lambda index: index < first)

    def append(self, entries: list[Entry]) -> None:
        last = max(self.disk.entries, default=self.disk.compacted[0])
        for expected, entry in enumerate(entries, last + 1):
            assert entry.index == expected
            self.disk.entries[expected] = entry
            self._remember()

    def compact(self, index: int, term: int) -> None:
        if index > self.disk.compacted[0]:
            self.disk.compacted = index, term
            self._keep(lambda other: other > index)

    def reset(self, index: int, term: int) -> None:
        self.disk.compacted = index, term
        self._keep(lambda _: False)

    def _keep(self, stays: Callable[[int], bool]) -> None:
        self.disk.entries = {i: entry for i, entry in self.disk.entries.items() if stays(i)}
        self._remember()

    def _remember(self) -> None:
        if len(self.past) < 500:
            self.past.append(self.disk.copy())


def within(entries: list[Entry], bytes_max: int) -> list[Entry]:
    """Return the longest prefix of at most *bytes_max*, yet one entry if there is any."""
    size, count = 0, 0
    for entry in entries:
        size += entry.size
        if size > bytes_max and count:
            break
        count += 1
    return entries[:count]


def run(term: int, first: int, count: int, data: bytes = b"data") -> list[Entry]:
    return [Entry(term, index, data=data) for index in range(first, first + count)]


def append(entries: list[Entry], term: int = 0, commit: int = 0, vote: int = 0) -> Message:
    return Message(
        type=MessageType.STORAGE_APPEND, to=APPEND_THREAD, sender=1,
        term=term, vote=vote, commit=commit, entries=entries,
    )  # fmt: skip


def restore(index: int, term: int) -> Message:
    snapshot = Snapshot(index=index, term=term, conf_state=ALONE, data=b"state")
    return Message(
        type=MessageType.STORAGE_APPEND, to=APPEND_THREAD, sender=1,
        term=term, commit=index, snapshot=snapshot,
    )  # fmt: skip


def carry_out(log: StableLog, *messages: Message) -> None:
    for message in messages:
        log.write(message)
        log.written(message)


def held(log: StableLog) -> list[Entry]:
    first, last = log.first_index(), log.last_index()
    return log.entries(first, last + 1, NO_BOUND) if first <= last else []


def filled(*messages: Message, recent_bytes_max: int = 0) -> tuple[Memory, StableLog]:
    backing = Memory()
    log = StableLog(backing, ALONE, recent_bytes_max=recent_bytes_max)
    carry_out(log, *messages)
    return backing, log


# Writing.


def test_a_new_log_is_empty() -> None:
    log = StableLog(Memory(), ALONE)
    assert log.initial_state() == (HardState(), ALONE)
    assert (log.first_index(), log.last_index(), log.term(0)) == (1, 0, 0)


def test_nothing_reads_as_written_before_it_is_durable() -> None:
    backing = Memory()
    log = StableLog(backing, ALONE)
    message = append(run(1, 1, 3), term=1)
    assert log.write(message)
    assert len(backing.disk.entries) == 3
    assert log.last_index() == 0
    log.written(message)
    assert held(log) == run(1, 1, 3)


def test_a_later_write_is_asked_for_while_an_earlier_one_is_on_its_way() -> None:
    backing = Memory()
    log = StableLog(backing, ALONE)
    messages = [append(run(1, 1, 2), term=1), append(run(1, 3, 2)), append(run(2, 2, 1), term=2)]
    for message in messages:
        log.write(message)
    assert sorted(backing.disk.entries) == [1, 2]
    ends = []
    for message in messages:
        log.written(message)
        ends.append((log.last_index(), log.last_term))
    assert ends == [(2, 1), (4, 1), (2, 2)]


def test_entries_of_a_new_leader_take_the_place_of_those_there() -> None:
    backing, log = filled(append(run(1, 1, 5), term=1), append(run(2, 3, 2), term=2))
    assert held(log) == [*run(1, 1, 2), *run(2, 3, 2)]
    # What followed is gone before the new ones come: no crash leaves terms that fall.
    for disk in backing.past:
        StableLog(Memory(disk), ALONE)


def test_entries_that_would_leave_a_gap_are_refused() -> None:
    _, log = filled(append(run(1, 1, 2), term=1))
    with pytest.raises(ValueError, match="gap before entry 4"):
        log.write(append(run(1, 4, 1)))


def test_a_vote_must_be_synced() -> None:
    backing, log = filled()
    assert log.write(append([], term=3, vote=2))
    assert backing.disk.state == HardState(3, 2, 0)


def test_a_commit_index_waits_for_the_next_write() -> None:
    backing, log = filled(append(run(1, 1, 2), term=1, vote=1))
    assert not log.write(append([], term=1, vote=1, commit=2))
    assert backing.disk.state.commit == 0
    log.write(append(run(1, 3, 1)))
    assert backing.disk.state == HardState(1, 1, 2)


def test_a_commit_index_is_never_durable_before_its_entries() -> None:
    backing, log = filled(append(run(1, 1, 4), term=1, commit=4), append(run(1, 5, 3), 1, 6))
    for disk in backing.past:
        assert disk.state.commit <= max(disk.entries, default=0)
    assert log.write(append(run(1, 8, 1)))
    assert backing.disk.state.commit == 6


def test_a_message_without_a_hard_state_leaves_it_as_it_is() -> None:
    backing, _ = filled(append([], term=3, vote=2), append(run(3, 1, 1)))
    assert backing.disk.state == HardState(3, 2, 0)


def test_a_snapshot_takes_the_place_of_the_whole_log() -> None:
    backing, log = filled(append(run(1, 1, 5), term=1), restore(20, 4))
    assert (log.first_index(), log.last_index(), log.term(20)) == (21, 20, 4)
    carry_out(log, append(run(4, 21, 2)))
    assert held(log) == run(4, 21, 2)
    assert backing.disk.state == HardState(4, 0, 20)
    for disk in backing.past:
        compacted = disk.compacted
        StableLog(Memory(disk), ALONE, *compacted)


def test_entries_may_come_in_one_message_with_the_snapshot_before_them() -> None:
    message = restore(20, 4)
    message.entries = run(4, 21, 2)
    _, log = filled(append(run(1, 1, 5), term=1), message)
    assert (log.first_index(), held(log)) == (21, run(4, 21, 2))


# Reading.


def test_terms_are_known_from_the_compacted_entry_to_the_last() -> None:
    _, log = filled(append([*run(1, 1, 3), *run(4, 4, 3)], term=4))
    log.compact(2)
    assert [log.term(index) for index in range(2, 7)] == [1, 1, 4, 4, 4]
    with pytest.raises(Compacted):
        log.term(1)
    with pytest.raises(Unavailable):
        log.term(7)


def test_what_is_compacted_or_beyond_the_end_is_not_read() -> None:
    _, log = filled(append(run(1, 1, 5), term=1))
    log.compact(2)
    with pytest.raises(Compacted):
        log.entries(2, 4, NO_BOUND)
    with pytest.raises(Unavailable):
        log.entries(4, 7, NO_BOUND)


@given(st.integers(0, 300), st.integers(1, 10), st.integers(0, 10), st.integers(0, 400))
def test_a_read_across_disk_and_memory_is_that_of_a_list(
    recent_bytes_max: int, low: int, count: int, bytes_max: int
) -> None:
    entries = [Entry(1, index, data=b"x" * (7 * index % 31)) for index in range(1, 11)]
    backing = Memory()
    log = StableLog(backing, ALONE, recent_bytes_max=recent_bytes_max)
    for entry in entries:
        carry_out(log, append([entry], term=1))
    high = min(low + count, 11)
    assert log.entries(low, high, bytes_max) == within(entries[low - 1 : high - 1], bytes_max)


def test_recent_entries_are_read_from_memory() -> None:
    backing, log = filled(append(run(1, 1, 10), term=1), recent_bytes_max=1000)
    reads = backing.reads
    held(log)
    assert backing.reads == reads


def test_memory_holds_no_more_than_its_bound_and_the_last_write() -> None:
    entry_bytes = Entry(1, 1, data=b"x" * 100).size
    backing, log = filled(recent_bytes_max=3 * entry_bytes)
    for index in range(1, 20, 2):
        carry_out(log, append(run(1, index, 2, b"x" * 100), term=1))
        assert log.recent_bytes <= 5 * entry_bytes
    log.trim()
    assert log.recent_bytes == 3 * entry_bytes
    assert held(log) == run(1, 1, 20, b"x" * 100)
    assert backing.reads


def test_there_is_no_snapshot_where_nobody_takes_one() -> None:
    with pytest.raises(SnapshotTemporarilyUnavailable):
        filled()[1].snapshot()


def test_a_snapshot_is_whatever_the_state_machine_has_then() -> None:
    taken = Snapshot(index=7, term=2, conf_state=ALONE, data=b"state")
    log = StableLog(Memory(), ALONE, take_snapshot=lambda: taken)
    assert log.snapshot() is taken


# Compaction.


def test_compaction_goes_in_bounded_steps() -> None:
    backing, log = filled(append(run(1, 1, 50_000), term=1))
    steps = [log.compact(45_000), log.compact(45_000), log.compact(45_000), log.compact(45_000)]
    assert steps == [20_000, 40_000, 45_000, 45_000]
    assert sorted(backing.disk.entries) == list(range(45_001, 50_001))
    assert (log.first_index(), log.compacted_term) == (45_001, 1)


def test_a_log_can_be_compacted_to_its_end() -> None:
    backing, log = filled(append(run(3, 1, 5), term=3), recent_bytes_max=1000)
    assert log.compact(5) == 5
    assert (log.first_index(), log.last_index(), log.term(5)) == (6, 5, 3)
    assert log.recent_bytes == 0
    carry_out(log, append(run(3, 6, 1)))
    assert held(StableLog(backing, ALONE, 5, 3)) == run(3, 6, 1)


def test_what_is_not_there_is_not_compacted() -> None:
    _, log = filled(append(run(1, 1, 5), term=1))
    with pytest.raises(Unavailable):
        log.compact(6)


# Recovery.


def disk_of(entries: list[Entry], state: HardState, compacted: tuple[int, int] = (0, 0)) -> Disk:
    return Disk(state, compacted, {entry.index: entry for entry in entries})


def recover(disk: Disk, applied: int = 0, applied_term: int = 0) -> StableLog:
    return StableLog(Memory(disk), ALONE, applied, applied_term)


def test_a_log_is_taken_up_where_it_ended() -> None:
    disk = disk_of([*run(1, 4, 2), *run(2, 6, 3)], HardState(2, 3, 7), (3, 1))
    log = recover(disk, 4, 1)
    assert log.initial_state() == (HardState(2, 3, 7), ALONE)
    assert (log.first_index(), log.last_index(), log.last_term) == (4, 8, 2)
    assert held(log) == [*run(1, 4, 2), *run(2, 6, 3)]


GOOD = run(1, 1, 6)


@pytest.mark.parametrize(
    ("disk", "applied", "reason"),
    [
        (disk_of(GOOD[:2] + GOOD[3:], HardState(1)), (0, 0), "has entry 4 where entry 3 should be"),
        (disk_of(GOOD[1:], HardState(1)), (0, 0), "has no entry 1"),
        (disk_of(GOOD[2:], HardState(1)), (4, 1), "has no entry 1"),
        (disk_of(run(2, 1, 3) + GOOD[3:], HardState(2)), (0, 0), "entry 4 of term 1 after term 2"),
        (disk_of(run(2, 4, 1), HardState(2), (3, 5)), (3, 5), "entry 4 of term 2 after term 5"),
        (disk_of(GOOD, HardState(1, 1, 7)), (0, 0), "ends at entry 6, but 7 are committed"),
        (disk_of(GOOD, HardState(1)), (9, 1), "ends at entry 6, but 9 entries are applied"),
        (disk_of(GOOD, HardState(1)), (3, 2), "entry 3 of term 1, but one of term 2 was applied"),
        (disk_of(GOOD[4:], HardState(1), (4, 1)), (4, 2), "entry 4 of term 1, but one of term 2"),
        (disk_of(GOOD[4:], HardState(1), (4, 1)), (2, 1), "begins after entry 4, but only 2"),
        (disk_of([], HardState(4, 1, 2)), (0, 0), "ends at entry 0, but 2 are committed"),
        (disk_of(run(3, 1, 2), HardState(2)), (0, 0), "ends in term 3, but only term 2"),
        (disk_of(GOOD[:2], HardState(1), (4, 1)), (4, 1), "ends at entry 2, before the"),
    ],
)  # fmt: skip
def test_a_damaged_log_is_refused(disk: Disk, applied: tuple[int, int], reason: str) -> None:
    with pytest.raises(DamagedLog, match=reason):
        recover(disk, *applied)


class Writes:
    """Makes the writes of a core that follows ever newer leaders, and knows the outcome."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.term = 1
        self.commit = 0

    def next_message(self, kept: int, count: int, commits: int, term_rise: int) -> Message:
        self.term += term_rise
        kept = max(self.commit, len(self.entries) - kept) if term_rise else len(self.entries)
        new = run(self.term, kept + 1, count)
        if new:
            self.entries = self.entries[:kept] + new
        self.commit = min(len(self.entries), self.commit + commits)
        return append(new, self.term, self.commit)


@settings(max_examples=60)
@given(
    st.lists(
        st.tuples(st.integers(0, 4), st.integers(0, 5), st.integers(0, 3), st.integers(0, 1)),
        max_size=25,
    ),
    st.integers(0, 120),
    st.integers(0, 3),
)
def test_every_crash_leaves_a_log_that_a_start_accepts(
    steps: list[tuple[int, int, int, int]], recent_bytes_max: int, lag: int
) -> None:
    backing = Memory()
    log = StableLog(backing, ALONE, recent_bytes_max=recent_bytes_max)
    writes = Writes()
    write_bytes_max = 5 * Entry(30, 200, data=b"data").size
    on_their_way: list[tuple[Message, list[Entry]]] = []
    for step in steps:
        message = writes.next_message(*step)
        log.write(message)
        on_their_way.append((message, list(writes.entries)))
        while len(on_their_way) > lag:
            message, outcome = on_their_way.pop(0)
            log.written(message)
            if not on_their_way:
                assert held(log) == outcome
                assert log.recent_bytes <= recent_bytes_max + write_bytes_max
    for disk in backing.past:
        recovered = recover(disk)
        assert held(recovered) == [disk.entries[index] for index in sorted(disk.entries)]
