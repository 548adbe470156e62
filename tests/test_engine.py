"""Tables by name, and reads beside the event loop."""

import asyncio
from pathlib import Path

import pytest

from regatta.engine import META_GROUP
from regatta.errors import InvalidArgument
from regatta.pb.regatta_pb2 import RangeRequest
from tests.table.nodes import engine_in
from tests.table.nodes import pairs
from tests.table.nodes import put
from tests.table.nodes import write


def test_a_table_appears_on_its_first_write(tmp_path: Path) -> None:
    async def run() -> None:
        async with engine_in(tmp_path) as engine:
            assert engine.snapshot().find(b"new") is None
            await write(engine, put(b"key"), table=b"new")
            assert pairs(engine, b"new") == {b"key": b"value"}

    asyncio.run(run())


def test_writers_who_meet_at_a_new_table_get_the_same_group(tmp_path: Path) -> None:
    async def run() -> None:
        async with engine_in(tmp_path) as engine:
            groups = await asyncio.gather(*[engine.group_for_write(b"new") for _ in range(50)])
            assert len({group.id for group in groups}) == 1
            assert len([state for state in engine.snapshot().groups() if state.name]) == 1

    asyncio.run(run())


def test_a_caller_who_gives_up_does_not_stop_a_table_from_being_made(tmp_path: Path) -> None:
    async def run() -> None:
        async with engine_in(tmp_path) as engine:
            first = asyncio.ensure_future(engine.group_for_write(b"new"))
            second = asyncio.ensure_future(engine.group_for_write(b"new"))
            await asyncio.sleep(0)
            first.cancel()
            group = await second
            assert first.cancelled()
            assert await engine.group_for_write(b"new") is group

    asyncio.run(run())


@pytest.mark.parametrize("name", [b"a/b", b"a\0", b"\x1f", b"\x7f", b"n" * 256])
def test_a_bad_table_name_is_refused_and_leaves_nothing(tmp_path: Path, name: bytes) -> None:
    async def run() -> None:
        async with engine_in(tmp_path) as engine:
            with pytest.raises(InvalidArgument, match="table must"):
                await engine.group_for_write(name)
            assert [group.group for group in engine.snapshot().groups()] == [META_GROUP]

    asyncio.run(run())


@pytest.mark.parametrize("name", [b"n", b"n" * 255, "größe".encode(), b"\xff\xfe", b" "])
def test_any_other_name_is_a_table_after_a_restart_too(tmp_path: Path, name: bytes) -> None:
    async def run(value: bytes) -> None:
        async with engine_in(tmp_path) as engine:
            await write(engine, put(value, value), table=name)

    async def read() -> dict[bytes, bytes]:
        async with engine_in(tmp_path) as engine:
            return pairs(engine, name)

    asyncio.run(run(b"1"))
    asyncio.run(run(b"2"))
    assert asyncio.run(read()) == {b"1": b"1", b"2": b"2"}


def test_emptying_all_tables_keeps_the_tables(tmp_path: Path) -> None:
    async def run() -> None:
        async with engine_in(tmp_path) as engine:
            for name in (b"a", b"b"):
                await write(engine, put(b"key"), table=name)
            await engine.empty_all_tables()
            assert pairs(engine, b"a") == pairs(engine, b"b") == {}
            await write(engine, put(b"after"), table=b"a")
            assert pairs(engine, b"a") == {b"after": b"value"}

    asyncio.run(run())


def test_a_snapshot_does_not_change(tmp_path: Path) -> None:
    async def run() -> None:
        async with engine_in(tmp_path) as engine:
            await write(engine, *[put(b"%d" % i) for i in range(2000)])
            snapshot = engine.snapshot()
            state = snapshot.find(b"table")
            assert state is not None
            scan = snapshot.scan(state.table_id, RangeRequest(key=b"\0", range_end=b"\0"))
            del snapshot  # the scan keeps it
            assert not scan.step()
            await write(engine, *[put(b"%d" % i, b"changed") for i in range(2000)])
            await engine.empty_all_tables()
            while not scan.step():
                pass
            page, count, more = scan.take_page()
            assert (count, more) == (2000, False)
            assert b"changed" not in page

    asyncio.run(run())


def test_a_long_read_in_a_thread_ends_when_it_is_cancelled(tmp_path: Path) -> None:
    async def run() -> None:
        async with engine_in(tmp_path) as engine:
            await write(engine, *[put(b"%d" % i, bytes(2000)) for i in range(20_000)])
            snapshot = engine.snapshot()
            expected = snapshot.hash()
            assert await engine.in_thread(snapshot, snapshot.hash) == expected
            task = asyncio.ensure_future(engine.in_thread(snapshot, snapshot.hash))
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert snapshot.hash() != expected  # it is told to stop, whoever reads

    asyncio.run(run())
