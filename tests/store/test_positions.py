"""The rule for batches of a topic's records, and that positions and data move together."""

import shutil
import struct
from collections.abc import Iterator
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine
from hypothesis.stateful import invariant
from hypothesis.stateful import rule

from regatta.errors import Code
from regatta.errors import DataLoss
from regatta.pb.mvcc_pb2 import Command
from regatta.pb.mvcc_pb2 import CommandResult
from regatta.pb.mvcc_pb2 import KeyValue
from regatta.pb.mvcc_pb2 import RequestOp
from regatta.pb.mvcc_pb2 import Txn
from regatta.raft import Entry
from regatta.store import Machine
from regatta.store import Position
from regatta.store import Snapshot
from regatta.wire import checksum
from tests.store.storage import GROUP
from tests.store.storage import META_GROUP
from tests.store.storage import Applier
from tests.store.storage import damage
from tests.store.storage import delete
from tests.store.storage import dump
from tests.store.storage import put
from tests.store.storage import running
from tests.store.storage import settle

DONE = (0, False, b"")
REFUSED = (Code.ABORTED, False, b"another batch came first")
MALFORMED = (Code.INTERNAL, False, b"malformed command in the log")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def applier(path: Path) -> Iterator[Applier]:
    with running(Machine, path) as machine:
        yield Applier(machine)


def source(
    previous: int,
    next_offset: int,
    *,
    topic: str = "topic",
    partition: int = 0,
    skipped: int = 0,
    topic_id: bytes = b"",
) -> Command.Source:
    return Command.Source(
        topic=topic,
        partition=partition,
        previous=previous,
        next=next_offset,
        skipped=skipped,
        topic_id=topic_id,
    )


def puts(*keys: bytes, value: bytes = b"value") -> Command:
    return Command(type=Command.PUT_BATCH, batch=[KeyValue(key=key, value=value) for key in keys])


def deletes(*keys: bytes) -> Command:
    return Command(type=Command.DELETE_BATCH, batch=[KeyValue(key=key) for key in keys])


def sequence(*commands: Command, source: Command.Source | None = None) -> Command:
    return Command(type=Command.SEQUENCE, sequence=commands, source=source)


def positions(applier: Applier) -> list[Position]:
    return Snapshot(applier.machine.environment).positions(GROUP)


# The rule.


def test_a_batch_moves_its_position_and_counts_its_records(applier: Applier) -> None:
    runs = (puts(b"a", b"b"), deletes(b"a", b"none"), put(b"c"), delete(b"d"))
    batch = sequence(*runs, source=source(0, 9, skipped=3, topic_id=b"id"))
    assert applier.apply(sequence(batch))[0][0] == 0
    assert positions(applier) == [Position("topic", 0, 9, 6, 3, b"id")]
    assert sorted(applier.pairs()) == [b"b", b"c"]


def test_a_batch_from_elsewhere_is_refused_and_changes_nothing(applier: Applier) -> None:
    applier.apply(sequence(puts(b"a"), source=source(0, 5)))
    before, pairs = positions(applier), applier.key_values()
    for previous in (0, 4, 6, 2**63 - 1):
        batch = sequence(puts(b"b"), deletes(b"a"), source=source(previous, 7, skipped=1))
        assert applier.apply(batch) == [REFUSED]
    assert (positions(applier), applier.key_values()) == (before, pairs)
    assert applier.apply(sequence(puts(b"b"), source=source(5, 7))) == [DONE]


def test_each_partition_of_an_entry_is_judged_by_itself(applier: Applier) -> None:
    entry = sequence(
        sequence(puts(b"a"), source=source(0, 1)),
        sequence(puts(b"b"), source=source(3, 4, partition=1)),
        puts(b"c"),
        sequence(sequence(puts(b"d"), source=source(0, 2, partition=2))),
    )
    assert applier.apply(entry) == [REFUSED]
    assert sorted(applier.pairs()) == [b"a", b"c", b"d"]
    assert [(one.partition, one.next) for one in positions(applier)] == [(0, 1), (2, 2)]


def test_positions_of_topics_and_tables_are_apart(path: Path) -> None:
    with running(Machine, path) as machine:
        applier = Applier(machine)
        other = Command(kv=KeyValue(key=b"other")).SerializeToString()
        machine.apply(META_GROUP, [Entry(1, 2, data=other)])
        names = ("b", "a", "aa", "a" * 249)
        for number, topic in enumerate(names):
            for partition in (2**31 - 1, 0, 256):
                where = source(0, number + 1, topic=topic, partition=partition)
                assert applier.apply(sequence(puts(b"a"), source=where))[-1] == DONE
        foreign = sequence(puts(b"a"), source=source(0, 77)).SerializeToString()
        machine.apply(GROUP + 1, [Entry(1, 1, data=foreign)])
        settle(machine)
        found = positions(applier)
        assert [(one.topic, one.partition, one.next) for one in found] == [
            (topic, partition, names.index(topic) + 1)
            for topic in sorted(names)
            for partition in (0, 256, 2**31 - 1)
        ]
        (alone,) = Snapshot(machine.environment).positions(GROUP + 1)
        assert (alone.topic, alone.next) == ("topic", 77)
        assert Snapshot(machine.environment).positions(META_GROUP) == []


def test_a_topics_id_is_kept_until_another_is_told(applier: Applier) -> None:
    ids = [b"", b"first", b"", b"s" * 64, b"third"]
    told = []
    for offset, topic_id in enumerate(ids):
        where = source(offset, offset + 1, topic_id=topic_id)
        assert applier.apply(sequence(source=where)) == [DONE]
        told.append(positions(applier)[0].topic_id)
    assert told == [b"", b"first", b"first", b"s" * 64, b"third"]


def test_a_position_may_be_moved_back(applier: Applier) -> None:
    applier.apply(sequence(puts(b"a"), source=source(0, 1000)))
    assert applier.apply(sequence(source=source(1000, 0))) == [DONE]
    assert positions(applier) == [Position("topic", 0, 0, 1, 0, b"")]


def test_a_record_by_itself_may_have_a_source(applier: Applier) -> None:
    one, two = put(b"a"), delete(b"a")
    one.source.CopyFrom(source(0, 1))
    two.source.CopyFrom(source(1, 2))
    codes = [code for code, _, _ in applier.apply(one, two, one)]
    assert codes == [0, 0, Code.ABORTED]
    assert applier.pairs() == {}
    assert positions(applier) == [Position("topic", 0, 2, 2, 0, b"")]


def test_a_transaction_counts_no_records(applier: Applier) -> None:
    operation = RequestOp(request_put=RequestOp.Put(key=b"a", value=b"1"))
    txn = Command(type=Command.TXN, txn=Txn(success=[operation]))
    txn.source.CopyFrom(source(0, 1))
    assert applier.apply(txn)[0][0] == 0
    assert applier.pairs() == {b"a": b"1"}
    assert positions(applier) == [Position("topic", 0, 1, 0, 0, b"")]


BAD_SOURCES = {
    "no topic": source(0, 1, topic=""),
    "a long topic": source(0, 1, topic="t" * 250),
    "a topic that is not ASCII": source(0, 1, topic="größe"),
    "a negative partition": source(0, 1, partition=-1),
    "a negative previous": source(-1, 1),
    "a negative next": source(0, -1),
    "a negative count": source(0, 1, skipped=-1),
    "a long id": source(0, 1, topic_id=bytes(65)),
    "nothing": Command.Source(),
}


@pytest.mark.parametrize("bad", BAD_SOURCES.values(), ids=BAD_SOURCES)
def test_a_malformed_source_is_refused_and_the_rest_goes_on(
    applier: Applier, bad: Command.Source
) -> None:
    entry = sequence(sequence(puts(b"a"), source=bad), puts(b"b"))
    assert applier.apply(entry) == [MALFORMED]
    assert sorted(applier.pairs()) == [b"b"]
    assert positions(applier) == []


def test_a_source_that_breaks_off_is_refused(applier: Applier) -> None:
    payload = puts(b"a").SerializeToString() + b"\xa2\x06\x02\x0a\x05"
    assert applier.apply(payload) == [MALFORMED]
    assert applier.pairs() == {}


def test_a_source_within_a_source_is_refused(applier: Applier) -> None:
    inner = sequence(puts(b"inner"), source=source(0, 5, partition=1))
    entry = sequence(inner, puts(b"outer"), source=source(0, 3))
    ((code, _, text),) = applier.apply(entry, put(b"after"))[:1]
    assert (code, text) == (Code.INTERNAL, b"sources in the log are nested")
    assert sorted(applier.pairs()) == [b"after", b"outer"]
    assert [(one.partition, one.next) for one in positions(applier)] == [(0, 3)]


def test_a_record_that_cannot_be_carried_out_is_not_counted(applier: Applier) -> None:
    batch = sequence(puts(b"a", b"", b"b"), source=source(0, 3))
    assert applier.apply(batch)[0][0] == Code.INTERNAL
    assert positions(applier) == [Position("topic", 0, 3, 2, 0, b"")]


# Emptying.


@pytest.mark.parametrize("prev_kvs", [False, True])
def test_emptying_a_table_drops_its_positions(applier: Applier, prev_kvs: bool) -> None:
    batches = [sequence(puts(b"a"), source=source(0, 5, partition=n)) for n in range(50)]
    applier.apply(sequence(*batches))
    empty = delete(b"\0", b"\0", prev_kvs=prev_kvs, count=True)
    ((code, _, result),) = applier.apply(empty)
    assert code == 0
    assert CommandResult.FromString(result).responses[0].response_delete_range.deleted == 1
    assert positions(applier) == []
    assert applier.apply(sequence(puts(b"b"), source=source(5, 6))) == [REFUSED]
    assert applier.apply(sequence(puts(b"c"), source=source(0, 1))) == [DONE]
    assert applier.pairs() == {b"c": b"value"}


def test_emptying_a_table_keeps_the_positions_of_others(path: Path) -> None:
    with running(Machine, path) as machine:
        applier = Applier(machine)
        others = [Command(kv=KeyValue(key=name)).SerializeToString() for name in (b"b", b"c")]
        machine.apply(META_GROUP, [Entry(1, i, data=data) for i, data in enumerate(others, 2)])
        batch = sequence(puts(b"a"), source=source(0, 5)).SerializeToString()
        for group in (GROUP, GROUP + 1, GROUP + 2):
            machine.apply(group, [Entry(1, 1, data=batch)])
        empty = delete(b"\0", b"\0").SerializeToString()
        machine.apply(GROUP + 1, [Entry(1, 2, data=empty)])
        settle(machine)
        snapshot = Snapshot(applier.machine.environment)
        counts = [len(snapshot.positions(group)) for group in (GROUP, GROUP + 1, GROUP + 2)]
        assert counts == [1, 0, 1]


def test_deleting_a_part_keeps_the_positions(applier: Applier) -> None:
    applier.apply(sequence(puts(b"a"), source=source(0, 5)))
    applier.apply(delete(b"\0", b"\xff"), delete(b"a", b"\0"), delete(b"a"))
    assert [one.next for one in positions(applier)] == [5]


def test_an_emptying_that_is_refused_keeps_the_positions(applier: Applier) -> None:
    applier.apply(*[put(b"%d" % i, bytes(1 << 20)) for i in range(5)])
    applier.apply(sequence(source=source(0, 5)))
    assert applier.apply(delete(b"\0", b"\0", prev_kvs=True))[0][0] == Code.RESOURCE_EXHAUSTED
    assert [one.next for one in positions(applier)] == [5]


# Records on the disk.


def test_a_position_is_stored_as_documented(path: Path) -> None:
    with running(Machine, path) as machine:
        where = source(0, 7, topic="orders", partition=258, skipped=2, topic_id=b"identity")
        Applier(machine).apply(sequence(puts(b"a", b"b"), source=where))
    _, meta = dump(path)
    key = b"p" + struct.pack(">QI", GROUP, 258) + b"orders"
    rest = struct.pack("<HHqQQ", 8, 0, 7, 2, 2) + b"identity"
    assert meta[key] == struct.pack("<I", checksum(key + rest)) + rest


@pytest.mark.parametrize("marker", [b"identity", b"orders"], ids=["value", "key"])
def test_a_damaged_position_is_told_and_not_trusted(path: Path, marker: bytes) -> None:
    where = source(0, 7, topic="orders", topic_id=b"identity")
    with running(Machine, path) as machine:
        Applier(machine).apply(sequence(puts(b"a"), source=where))
        table_id = Applier(machine).state().table_id
    damage(path, marker)
    with running(Machine, path) as machine:
        applier = Applier(machine)
        with pytest.raises(DataLoss, match="a stored record is damaged"):
            positions(applier)
        ((code, _, _),) = applier.apply(sequence(puts(b"b"), source=source(7, 8, topic="orders")))
        assert code in (Code.DATA_LOSS, Code.ABORTED)
        assert applier.pairs() == {b"a": b"value"}
        # It is mended as the whole table is: by emptying it.
        applier.apply(delete(b"\0", b"\0"))
        assert positions(applier) == []
        assert applier.apply(sequence(puts(b"b"), source=where)) == [DONE]
        assert applier.state().table_id != table_id


# The rule and a model of it.

KEYS = [b"a", b"b", b"c" * 1024, b"\0", b"\xff"]
TOPICS = ["one", "two"]
PARTITIONS = [0, 1, 300]
# A run of puts, or of deletes; a batch of one partition, which begins at its stored position plus
# a shift; an entry of batches.
Run = tuple[bool, list[bytes]]
Batch = tuple[str, int, int | None, int, list[Run]]

runs = st.lists(
    st.one_of(
        st.lists(st.sampled_from(KEYS), max_size=4, unique=True).map(lambda keys: (False, keys)),
        st.lists(st.sampled_from(KEYS), max_size=4).map(lambda keys: (True, keys)),
    ),
    max_size=3,
)
# Where it should begin, a little or far off, or at the very beginning.
shifts = st.sampled_from([0, 0, 0, -1, 1, 1000, None])
batches = st.lists(
    st.tuples(
        st.sampled_from(TOPICS), st.sampled_from(PARTITIONS), shifts, st.integers(0, 3), runs
    ),
    min_size=1,
    max_size=4,
)


class RuleAndModel(RuleBasedStateMachine):
    """A machine that is fed, restarted and set back, and what a table must be by then."""

    def __init__(self) -> None:
        super().__init__()
        self._folder = TemporaryDirectory()
        self._data = Path(self._folder.name) / "data"
        self._saved = Path(self._folder.name) / "saved"
        self._log: list[Command] = []
        self._pairs: dict[bytes, bytes] = {}
        self._positions: dict[tuple[str, int], Position] = {}
        self._value = 0
        self._start()

    def _start(self) -> None:
        self._running = running(Machine, self._data)
        self._applier = Applier(self._running.__enter__())

    def _stop(self) -> None:
        self._running.__exit__(None, None, None)

    def teardown(self) -> None:
        self._stop()
        self._folder.cleanup()

    # What goes in.

    @rule(entry=batches)
    def feed(self, entry: list[Batch]) -> None:
        self._apply(self._entry(entry, dict(self._positions)))

    def _entry(self, entry: list[Batch], positions: dict[tuple[str, int], Position]) -> Command:
        """Make a command, and move *positions* as if it were applied."""
        parts = []
        for topic, partition, shift, skipped, found in entry:
            stored = positions.get((topic, partition))
            begin = stored.next if stored else 0
            previous = 0 if shift is None else max(0, begin + shift)
            end = previous + skipped + sum(len(keys) for _, keys in found)
            commands = []
            for is_delete, keys in found:
                self._value += 1
                value = b"%d" % self._value
                commands.append(deletes(*keys) if is_delete else puts(*keys, value=value))
            where = source(previous, end, topic=topic, partition=partition, skipped=skipped)
            parts.append(sequence(*commands, source=where))
            if previous == begin:  # several of one partition may follow each other in an entry
                positions[topic, partition] = Position(topic, partition, end, 0, 0, b"")
        return sequence(*parts)

    @rule(several=st.lists(batches, min_size=2, max_size=4), order=st.randoms())
    def feed_out_of_order(self, several: list[list[Batch]], order: Random) -> None:
        ahead = dict(self._positions)
        entries = [self._entry(entry, ahead) for entry in several]
        order.shuffle(entries)
        for entry in entries:
            self._apply(entry)

    @rule(choice=st.randoms())
    def repeat(self, choice: Random) -> None:
        if self._log:
            self._apply(choice.choice(self._log))

    @rule()
    def empty_the_table(self) -> None:
        self._apply(delete(b"\0", b"\0"))

    @rule(key=st.sampled_from(KEYS))
    def write_beside_it(self, key: bytes) -> None:
        self._apply(put(key, b"beside"))

    # What happens to the machine.

    @rule()
    def restart(self) -> None:
        self._stop()
        self._start()

    @rule()
    def save(self) -> None:
        self._stop()
        shutil.rmtree(self._saved, ignore_errors=True)
        shutil.copytree(self._data, self._saved)
        self._start()

    @rule()
    def fall_behind_and_replay(self) -> None:
        """Find the data of an earlier moment, as after a power cut; the log has all since."""
        if not self._saved.exists():
            return
        self._stop()
        shutil.rmtree(self._data)
        shutil.copytree(self._saved, self._data)
        self._start()
        self._replay_from(self._applier.next_index)

    @rule(back=st.integers(1, 5))
    def replay_what_is_applied(self, back: int) -> None:
        self._replay_from(max(1, self._applier.next_index - back))

    def _replay_from(self, index: int) -> None:
        self._applier.next_index = index
        self._applier.apply(*self._log[index - 1 :])

    # The model.

    def _apply(self, command: Command) -> None:
        self._log.append(command)
        accepted = self._model(command)
        ((code, _, _),) = self._applier.apply(command)
        assert code == (0 if accepted else Code.ABORTED)

    def _model(self, command: Command) -> bool:
        if command.type == Command.PUT:
            self._pairs[command.kv.key] = command.kv.value
        elif command.type == Command.DELETE:
            self._pairs.clear()
            self._positions.clear()
        return all([self._model_batch(batch) for batch in command.sequence])

    def _model_batch(self, batch: Command) -> bool:
        where = batch.source
        nothing = Position(where.topic, where.partition, 0, 0, 0, b"")
        stored = self._positions.get((where.topic, where.partition), nothing)
        if stored.next != where.previous:
            return False
        count = 0
        for run in batch.sequence:
            for kv in run.batch:
                count += 1
                if run.type == Command.PUT_BATCH:
                    self._pairs[kv.key] = kv.value
                else:
                    self._pairs.pop(kv.key, None)
        self._positions[where.topic, where.partition] = stored._replace(
            next=where.next,
            applied=stored.applied + count,
            skipped=stored.skipped + where.skipped,
        )
        return True

    @invariant()
    def holds(self) -> None:
        assert self._applier.pairs() == self._pairs
        assert positions(self._applier) == sorted(self._positions.values())
        assert self._applier.state().applied_index == len(self._log)


TestRuleAndModel = RuleAndModel.TestCase
TestRuleAndModel.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
