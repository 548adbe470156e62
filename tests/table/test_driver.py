"""From a proposal to its answer; what is there after a restart; when the log is compacted."""

import asyncio
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from regatta import limits
from regatta.engine import META_GROUP
from regatta.engine import Engine
from regatta.errors import Internal
from regatta.errors import StartError
from regatta.errors import Unavailable
from regatta.pb.mvcc_pb2 import Command
from regatta.pb.mvcc_pb2 import KeyValue
from regatta.raft import ChangeKind
from regatta.raft import ConfChange
from regatta.raft import ConfState
from regatta.raft import Entry
from regatta.raft import EntryKind
from regatta.raft import HardState
from regatta.raft import decode_conf_state
from regatta.raft import encode_conf_change
from regatta.store import Machine
from regatta.store import RaftLog
from regatta.store.node import open_stores
from tests.store.storage import GROUP
from tests.store.storage import dump
from tests.store.storage import running
from tests.store.storage import settle
from tests.table.nodes import TABLE
from tests.table.nodes import engine_in
from tests.table.nodes import pairs
from tests.table.nodes import put
from tests.table.nodes import write


def numbered(start: int, stop: int) -> dict[bytes, bytes]:
    return {b"%06d" % i: b"value %d" % i for i in range(start, stop)}


async def write_numbered(directory: Path, start: int, stop: int) -> None:
    async with engine_in(directory) as engine:
        await write(engine, *[put(*pair) for pair in numbered(start, stop).items()])


async def read_all(directory: Path) -> dict[bytes, bytes]:
    async with engine_in(directory) as engine:
        return pairs(engine)


def test_revisions_are_log_indexes_in_the_order_of_proposing(tmp_path: Path) -> None:
    async def run() -> None:
        async with engine_in(tmp_path) as engine:
            commands = [put(*pair) for pair in numbered(0, 1000).items()]
            # The first entry is the leader's own.
            assert await write(engine, *commands) == list(range(2, 1002))

    asyncio.run(run())


def test_what_was_answered_is_read_at_once(tmp_path: Path) -> None:
    async def run() -> None:
        async with engine_in(tmp_path) as engine:
            for i in range(50):
                await write(engine, put(b"key", b"%d" % i))
                assert pairs(engine) == {b"key": b"%d" % i}

    asyncio.run(run())


def test_many_writers_share_few_turns(tmp_path: Path) -> None:
    async def run() -> None:
        async with engine_in(tmp_path) as engine:
            group = await engine.group_for_write(TABLE)
            log, machine = engine._driver.log, engine._driver.machine
            log_turns, machine_turns = log.turns, machine.turns
            await asyncio.gather(*[engine.propose(group, put(b"%d" % i)) for i in range(5000)])
            assert log.turns - log_turns <= 3
            assert machine.turns - machine_turns <= 3

    asyncio.run(run())


def test_a_lonely_write_does_not_wait_for_others(tmp_path: Path) -> None:
    async def run() -> None:
        async with engine_in(tmp_path) as engine:
            log = engine._driver.log
            await write(engine, put(b"first"))
            turns = log.turns
            for i in range(20):
                await write(engine, put(b"%d" % i))
            assert log.turns - turns == 20

    asyncio.run(run())


def test_too_much_waiting_is_refused_until_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "queue_bytes_max", 100_000)

    async def run() -> None:
        async with engine_in(tmp_path) as engine:
            group = await engine.group_for_write(TABLE)
            waiting = []
            with pytest.raises(Unavailable) as caught:  # noqa: PT012
                for i in range(1000):
                    waiting.append(engine.propose(group, put(b"%d" % i, bytes(1000))))
            assert str(caught.value) == "system is too busy try again later"
            assert 90 <= len(waiting) < 100
            await asyncio.gather(*waiting)
            # A refused write leaves no gap behind.
            assert await write(engine, put(b"after")) == [len(waiting) + 2]

    asyncio.run(run())


def test_a_node_that_wrote_nothing_closes(tmp_path: Path) -> None:
    async def run() -> None:
        async with engine_in(tmp_path):
            pass

    for _ in range(2):
        asyncio.run(asyncio.wait_for(run(), 10))


def test_close_finishes_what_was_proposed(tmp_path: Path) -> None:
    async def run() -> None:
        async with engine_in(tmp_path) as engine:
            group = await engine.group_for_write(TABLE)
            waiting = [engine.propose(group, put(b"%d" % i)) for i in range(1000)]
        assert all(future.done() and future.exception() is None for future in waiting)

    asyncio.run(run())
    assert len(asyncio.run(read_all(tmp_path))) == 1000


def test_a_write_whose_caller_gave_up_is_applied_all_the_same(tmp_path: Path) -> None:
    async def run() -> None:
        async with engine_in(tmp_path) as engine:
            group = await engine.group_for_write(TABLE)
            engine.propose(group, put(b"abandoned")).cancel()
            await write(engine, put(b"after"))
            assert sorted(pairs(engine)) == [b"abandoned", b"after"]

    asyncio.run(run())


def test_a_refused_command_is_told_to_its_proposer_alone(tmp_path: Path) -> None:
    async def run() -> None:
        async with engine_in(tmp_path) as engine:
            group = await engine.group_for_write(TABLE)
            first, bad, last = (engine.propose(group, put(key)) for key in (b"a", b"", b"b"))
            with pytest.raises(Internal, match="malformed key"):
                await bad
            assert ((await first).index, (await last).index) == (2, 4)

    asyncio.run(run())


# Restarts.


def test_a_restart_finds_everything(tmp_path: Path) -> None:
    for start in range(0, 300, 100):
        asyncio.run(write_numbered(tmp_path, start, start + 100))
    assert asyncio.run(read_all(tmp_path)) == numbered(0, 300)


def content(data: dict[bytes, bytes], meta: dict[bytes, bytes]) -> list[dict[bytes, bytes]]:
    """Leave out how far groups are applied, which moves at each start, table ids, and checksums.

    Which id a table gets depends on the order in which groups are applied, which is by chance.
    """
    groups = {key: value[4:8] + value[32:] for key, value in meta.items() if key[:1] == b"g"}
    return [{key[8:]: value[4:] for key, value in data.items()}, meta | groups]


def test_older_data_is_brought_up_to_the_log(tmp_path: Path) -> None:
    asyncio.run(write_numbered(tmp_path, 0, 100))
    shutil.copytree(tmp_path / "data", tmp_path / "older")
    asyncio.run(write_numbered(tmp_path, 50, 3000))

    async def more() -> None:
        async with engine_in(tmp_path) as engine:
            await write(engine, put(b"k"), table=b"a later table")
            await engine.empty_all_tables()
            await write(engine, *[put(*pair) for pair in numbered(7, 9).items()])

    asyncio.run(more())
    newest = content(*dump(tmp_path / "data"))
    shutil.rmtree(tmp_path / "data")
    (tmp_path / "older").rename(tmp_path / "data")

    async def replay() -> None:
        async with engine_in(tmp_path) as engine:
            assert pairs(engine) == numbered(7, 9)
            assert pairs(engine, b"a later table") == {}
            while engine._stores.data.entry_count > 2:
                await asyncio.sleep(0.001)

    asyncio.run(asyncio.wait_for(replay(), 30))
    assert content(*dump(tmp_path / "data")) == newest


def test_an_older_log_is_refused(tmp_path: Path) -> None:
    asyncio.run(write_numbered(tmp_path, 0, 100))
    shutil.copytree(tmp_path / "log", tmp_path / "older")
    asyncio.run(write_numbered(tmp_path, 100, 200))
    shutil.rmtree(tmp_path / "log")
    (tmp_path / "older").rename(tmp_path / "log")
    done = run_engine(tmp_path)
    assert done == f"the log of group {META_GROUP} ends at entry 2, but 3 entries are applied\n"


# A refused engine leaves its threads to the end of the process.
RUN_ENGINE = """
import asyncio, sys
from pathlib import Path
from regatta.errors import StartError
from tests.table.nodes import engine_in
async def run():
    async with engine_in(Path(sys.argv[1]), node=int(sys.argv[2])):
        pass
try:
    asyncio.run(run())
except StartError as error:
    print(error)
"""


def run_engine(directory: Path, node: int = 1) -> str:
    command = [sys.executable, "-c", RUN_ENGINE, str(directory), str(node)]
    return subprocess.check_output(command, text=True, timeout=60)


# Compaction.


async def until_compacted(engine: Engine, index: int) -> int:
    """Return the compacted index once it is *index* or more."""
    while (compacted := engine._driver.log.states()[GROUP].compacted_index) < index:
        await asyncio.sleep(0.005)
    return compacted


def test_the_log_is_compacted_and_the_node_goes_on(tmp_path: Path) -> None:
    kept = limits.log_entries_kept

    async def run(start: int, stop: int) -> None:
        async with engine_in(tmp_path) as engine:
            await write(engine, *[put(*pair) for pair in numbered(start, stop).items()])
            log = engine._driver.log
            compacted = await asyncio.wait_for(until_compacted(engine, stop - kept), 30)
            last = log.last_index(GROUP)
            assert last - compacted == kept
            assert len(log.read(GROUP, compacted + 1, last + 1, 1 << 30)) == kept
            with pytest.raises(StartError, match="is missing"):
                log.read(GROUP, compacted, last + 1, 1 << 30)
            assert pairs(engine) == numbered(0, stop)

    asyncio.run(run(0, limits.log_compaction_entries))
    # What is left counts: the next time comes earlier.
    asyncio.run(run(limits.log_compaction_entries, limits.log_compaction_entries + kept))
    assert len(asyncio.run(read_all(tmp_path))) == limits.log_compaction_entries + kept


def test_large_entries_are_compacted_before_they_are_many(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry_bytes, bytes_max = 64 * limits.KIB, limits.MIB
    monkeypatch.setattr(limits, "log_compaction_bytes", bytes_max)

    async def run() -> None:
        async with engine_in(tmp_path) as engine:
            for number in range(100):
                await write(engine, put(b"%d" % number, bytes(entry_bytes)))
            await asyncio.wait_for(until_compacted(engine, 100 - bytes_max // entry_bytes), 30)
            assert len(pairs(engine)) == 100

    asyncio.run(run())
    assert len(asyncio.run(read_all(tmp_path))) == 100


def test_the_log_is_compacted_only_once_a_checkpoint_has_what_it_did(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "log_compaction_entries", 20)
    monkeypatch.setattr(limits, "log_entries_kept", 0)
    monkeypatch.setattr(limits, "checkpoint_interval_s", 60.0)

    async def run() -> None:
        async with engine_in(tmp_path) as engine:
            await write(engine, put(b"first"))
            driver = engine._driver
            while not driver.checkpointer.durable:  # the first one waits for nothing
                await asyncio.sleep(0.005)
            await write(engine, *[put(*pair) for pair in numbered(0, 100).items()])
            await asyncio.sleep(0.2)
            assert driver.log.states()[GROUP].compacted_index == 0
            driver.checkpointer.ask(at_once=True)
            await asyncio.wait_for(until_compacted(engine, 100), 30)

    asyncio.run(run())


def test_below_the_bound_nothing_is_compacted(tmp_path: Path) -> None:
    asyncio.run(write_numbered(tmp_path, 0, limits.log_compaction_entries - 2))
    data, _ = dump(tmp_path / "log")
    assert len([key for key in data if int.from_bytes(key[:8], "big") == GROUP]) == 9999


def test_data_older_than_the_compacted_log_is_refused(tmp_path: Path) -> None:
    asyncio.run(write_numbered(tmp_path, 0, 100))
    shutil.copytree(tmp_path / "data", tmp_path / "older")

    async def run() -> int:
        async with engine_in(tmp_path) as engine:
            await write(engine, *[put(*pair) for pair in numbered(0, 10_000).items()])
            return await asyncio.wait_for(until_compacted(engine, 5000), 30)

    compacted = asyncio.run(run())
    shutil.rmtree(tmp_path / "data")
    (tmp_path / "older").rename(tmp_path / "data")
    expected = f"the log of group {GROUP} begins after entry {compacted}, but only 101 entries"
    assert expected in run_engine(tmp_path)


def test_a_log_that_is_compacted_to_its_end_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "log_entries_kept", 0)
    monkeypatch.setattr(limits, "log_compaction_entries", 10)

    async def run(start: int) -> list[int]:
        async with engine_in(tmp_path) as engine:
            indexes = await write(
                engine, *[put(*pair) for pair in numbered(start, start + 10).items()]
            )
            await asyncio.wait_for(until_compacted(engine, indexes[-1]), 30)
            return indexes

    assert asyncio.run(run(0)) == list(range(2, 12))
    assert asyncio.run(run(10)) == list(range(13, 23))


def test_a_log_without_any_entries_left_opens_again_and_goes_on(tmp_path: Path) -> None:
    async def run() -> None:
        async with engine_in(tmp_path) as engine:
            await write(engine, *[put(*pair) for pair in numbered(0, 100).items()])
            for group in engine._driver._groups:
                engine._driver._compact(group, entries_kept=0)
            await asyncio.wait_for(until_compacted(engine, 101), 30)

    asyncio.run(run())
    data, _ = dump(tmp_path / "log")
    assert data == {}

    async def go_on() -> None:
        async with engine_in(tmp_path) as engine:
            assert pairs(engine) == numbered(0, 100)
            assert await write(engine, put(b"next")) == [103]

    asyncio.run(go_on())
    assert asyncio.run(read_all(tmp_path)) == numbered(0, 100) | {b"next": b"value"}


# Leading.


def leaders_of(engine: Engine) -> dict[int, tuple[int, int]]:
    """Return group -> (term, leader)."""
    return {group.group: engine.leader(group.group) for group in engine.snapshot().groups()}


def test_every_start_begins_a_new_term_in_every_group(tmp_path: Path) -> None:
    async def run() -> dict[int, tuple[int, int]]:
        async with engine_in(tmp_path) as engine:
            found = leaders_of(engine)
            await write(engine, put(b"key"))
            assert engine.leader(GROUP)[1] == 1
            return found

    assert asyncio.run(run()) == {META_GROUP: (1, 1)}
    assert asyncio.run(run()) == {META_GROUP: (2, 1), GROUP: (2, 1)}
    assert asyncio.run(run()) == {META_GROUP: (3, 1), GROUP: (3, 1)}


def test_all_groups_of_a_start_share_two_syncs(tmp_path: Path) -> None:
    async def run(table_count: int) -> int:
        async with engine_in(tmp_path) as engine:
            turns = engine._driver.log.turns
            for i in range(table_count):
                await write(engine, put(b"key"), table=b"table %d" % i)
            return turns

    asyncio.run(run(30))
    # The votes, then the first entries of the new terms.
    assert asyncio.run(run(0)) == 2


def test_a_lonely_write_is_one_transaction_of_the_log(tmp_path: Path) -> None:
    async def run() -> None:
        async with engine_in(tmp_path) as engine:
            await write(engine, put(b"first"))
            log = engine._driver.log
            for number in range(5):
                turns = log.turns
                await write(engine, put(b"%d" % number))
                # Nor does anything follow once it is answered, the commit index for one.
                await asyncio.sleep(0.02)
                assert log.turns - turns == 1

    asyncio.run(run())


def test_the_commit_index_goes_along_with_the_next_write(tmp_path: Path) -> None:
    async def run() -> None:
        async with engine_in(tmp_path) as engine:
            indexes = [(await write(engine, put(b"key")))[0] for _ in range(3)]
            state = engine._driver.log.states()[GROUP]
            assert (state.term, state.vote, state.commit) == (1, 1, indexes[1])

    asyncio.run(run())


def test_proposals_wait_for_a_leader(tmp_path: Path) -> None:
    async def run() -> None:
        async with engine_in(tmp_path) as engine:
            creation = asyncio.ensure_future(engine.group_for_write(TABLE))
            group = await creation
            assert not group.leads
            first, second = engine.propose(group, put(b"a")), engine.propose(group, put(b"b"))
            assert [(await waiter).index for waiter in (first, second)] == [2, 3]

    asyncio.run(run())


def test_a_change_of_membership_is_kept_with_the_data(tmp_path: Path) -> None:
    change = ConfChange(((ChangeKind.ADD_LEARNER_NODE, 2),))

    async def run(expected: ConfState) -> None:
        async with engine_in(tmp_path) as engine:
            await write(engine, put(b"before"))
            group = await engine.group_for_write(TABLE)
            assert group.core.conf_state == expected
            if expected.learners:
                return
            group.core.propose_conf_change(change)
            assert await write(engine, put(b"after")) == [4]
            state = engine.snapshot().find(TABLE)
            assert state is not None
            assert decode_conf_state(state.membership) == ConfState(voters=(1,), learners=(2,))

    asyncio.run(run(ConfState(voters=(1,))))
    asyncio.run(run(ConfState(voters=(1,), learners=(2,))))


def append_to_log(directory: Path, entry: Entry, commit: int) -> None:
    """Put *entry* behind the log of the first table, of which *commit* entries are committed."""
    stores = open_stores(directory / "log", directory / "data")
    stores.close()
    with running(RaftLog, directory / "log") as log:
        state = log.states()[GROUP]
        part = log.group(GROUP, state)
        part.append([entry])
        part.set_hard_state(HardState(state.term, state.vote, commit))
        settle(log)


def test_a_committed_change_of_membership_is_applied_before_the_election(tmp_path: Path) -> None:
    asyncio.run(write_numbered(tmp_path, 0, 1))
    kind, data = encode_conf_change(ConfChange(((ChangeKind.ADD_LEARNER_NODE, 2),)))
    append_to_log(tmp_path, Entry(1, 3, kind, data), commit=3)

    async def run() -> None:
        async with engine_in(tmp_path) as engine:
            group = await engine.group_for_write(TABLE)
            assert group.core.conf_state == ConfState(voters=(1,), learners=(2,))
            assert await write(engine, put(b"after")) == [5]

    asyncio.run(run())


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        (EntryKind.CONF_CHANGE_V2, b"\xff\xff"),
        encode_conf_change(ConfChange(((ChangeKind.REMOVE_NODE, 1),))),
    ],
    ids=["malformed", "removes the only voter"],
)
def test_a_change_of_membership_that_makes_no_sense_stops_nobody(
    tmp_path: Path, kind: EntryKind, data: bytes
) -> None:
    asyncio.run(write_numbered(tmp_path, 0, 1))
    append_to_log(tmp_path, Entry(1, 3, kind, data), commit=3)

    async def run() -> None:
        async with engine_in(tmp_path) as engine:
            group = await engine.group_for_write(TABLE)
            assert group.core.conf_state == ConfState(voters=(1,))
            assert await write(engine, put(b"after")) == [5]
            assert await write(engine, put(b"other"), table=b"other") == [2]

    asyncio.run(run())


def test_a_group_of_another_node_is_refused(tmp_path: Path) -> None:
    asyncio.run(write_numbered(tmp_path, 0, 1))
    expected = f"group {META_GROUP} has the voters 1, but this is node 2\n"
    assert run_engine(tmp_path, node=2) == expected


def test_a_write_larger_than_what_is_applied_at_once_is_applied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "turn_bytes_max", 10_000)

    async def run() -> None:
        async with engine_in(tmp_path) as engine:
            large = [put(b"%d" % i, bytes(4000)) for i in range(50)]
            assert await write(engine, *large) == list(range(2, 52))
            assert len(pairs(engine)) == 50

    asyncio.run(run())
    assert len(asyncio.run(read_all(tmp_path))) == 50


def test_a_directory_of_the_first_format_is_taken_over(tmp_path: Path) -> None:
    """It has no memberships, term 1 throughout, and no entries but commands."""
    stores = open_stores(tmp_path / "log", tmp_path / "data")
    for environment in (stores.log, stores.data):
        environment.write_meta({b"format": (1).to_bytes(4, "little")})
    stores.close()
    create = Command(kv=KeyValue(key=TABLE)).SerializeToString()
    logged = [Entry(1, i, data=put(b"%d" % i).SerializeToString()) for i in range(1, 11)]
    with running(RaftLog, tmp_path / "log") as log:
        for group, entries in ((META_GROUP, [Entry(1, 1, data=create)]), (GROUP, logged)):
            log.group(group).set_hard_state(HardState(1, 1, 0))
            log.group(group).append(entries)
        settle(log)
    with running(Machine, tmp_path / "data") as machine:
        machine.apply(META_GROUP, [Entry(1, 1, data=create)])
        machine.apply(GROUP, logged[:5])
        settle(machine)

    async def run() -> None:
        async with engine_in(tmp_path) as engine:
            assert sorted(pairs(engine)) == sorted(b"%d" % i for i in range(1, 11))
            assert await write(engine, put(b"next")) == [12]
            assert leaders_of(engine) == {META_GROUP: (2, 1), GROUP: (2, 1)}

    asyncio.run(run())
