"""From a proposal to its answer; what is there after a restart; when the log is compacted."""

import asyncio
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from regatta import limits
from regatta.engine import Engine
from regatta.errors import Internal
from regatta.errors import StartError
from regatta.errors import Unavailable
from tests.store.storage import GROUP
from tests.store.storage import dump
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
            assert await write(engine, *commands) == list(range(1, 1001))

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
            assert await write(engine, put(b"after")) == [len(waiting) + 1]

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
            assert ((await first).index, (await last).index) == (1, 3)

    asyncio.run(run())


# Restarts.


def test_a_restart_finds_everything(tmp_path: Path) -> None:
    for start in range(0, 300, 100):
        asyncio.run(write_numbered(tmp_path, start, start + 100))
    assert asyncio.run(read_all(tmp_path)) == numbered(0, 300)


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
    newest = dump(tmp_path / "data")
    shutil.rmtree(tmp_path / "data")
    (tmp_path / "older").rename(tmp_path / "data")

    async def replay() -> None:
        async with engine_in(tmp_path) as engine:
            assert pairs(engine) == numbered(7, 9)
            assert pairs(engine, b"a later table") == {}
            while engine._stores.data.entry_count > 2:
                await asyncio.sleep(0.001)

    asyncio.run(asyncio.wait_for(replay(), 30))
    assert dump(tmp_path / "data") == newest


def test_an_older_log_is_refused(tmp_path: Path) -> None:
    asyncio.run(write_numbered(tmp_path, 0, 100))
    shutil.copytree(tmp_path / "log", tmp_path / "older")
    asyncio.run(write_numbered(tmp_path, 100, 200))
    shutil.rmtree(tmp_path / "log")
    (tmp_path / "older").rename(tmp_path / "log")
    done = run_engine(tmp_path)
    assert done == f"the log of group {GROUP} ends at entry 100, but 200 entries are applied\n"


# A refused engine leaves its threads to the end of the process.
RUN_ENGINE = """
import asyncio, sys
from pathlib import Path
from regatta.errors import StartError
from tests.table.nodes import engine_in
async def run():
    async with engine_in(Path(sys.argv[1])):
        pass
try:
    asyncio.run(run())
except StartError as error:
    print(error)
"""


def run_engine(directory: Path) -> str:
    command = [sys.executable, "-c", RUN_ENGINE, str(directory)]
    return subprocess.check_output(command, text=True, timeout=60)


# Compaction.


async def until_compacted(engine: Engine, index: int) -> None:
    while engine._driver.log.states()[GROUP].compacted_index < index:
        await asyncio.sleep(0.005)


def test_the_log_is_compacted_and_the_node_goes_on(tmp_path: Path) -> None:
    kept = limits.log_entries_kept

    async def run(start: int, stop: int) -> None:
        async with engine_in(tmp_path) as engine:
            await write(engine, *[put(*pair) for pair in numbered(start, stop).items()])
            await asyncio.wait_for(until_compacted(engine, stop - kept), 30)
            log = engine._driver.log
            assert len(log.entries(GROUP, stop - kept + 1, 1 << 30)) == kept
            with pytest.raises(StartError, match="is missing"):
                log.entries(GROUP, stop - kept, 1 << 30)
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


def test_below_the_bound_nothing_is_compacted(tmp_path: Path) -> None:
    asyncio.run(write_numbered(tmp_path, 0, limits.log_compaction_entries - 1))
    data, _ = dump(tmp_path / "log")
    assert len([key for key in data if int.from_bytes(key[:8], "big") == GROUP]) == 9999


def test_data_older_than_the_compacted_log_is_refused(tmp_path: Path) -> None:
    asyncio.run(write_numbered(tmp_path, 0, 100))
    shutil.copytree(tmp_path / "data", tmp_path / "older")

    async def run() -> None:
        async with engine_in(tmp_path) as engine:
            await write(engine, *[put(*pair) for pair in numbered(0, 10_000).items()])
            await asyncio.wait_for(until_compacted(engine, 5000), 30)

    asyncio.run(run())
    shutil.rmtree(tmp_path / "data")
    (tmp_path / "older").rename(tmp_path / "data")
    assert f"the log of group {GROUP} begins after entry 5000" in run_engine(tmp_path)


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

    assert asyncio.run(run(0)) == list(range(1, 11))
    assert asyncio.run(run(10)) == list(range(11, 21))
