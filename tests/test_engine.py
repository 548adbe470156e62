"""Tables by name, and reads beside the event loop."""

import asyncio
from pathlib import Path

import pytest

from regatta.engine import META_GROUP
from regatta.errors import Aborted
from regatta.errors import InvalidArgument
from regatta.errors import ResourceExhausted
from regatta.pb.mvcc_pb2 import Command
from regatta.pb.mvcc_pb2 import KeyValue
from regatta.pb.regatta_pb2 import RangeRequest
from regatta.store import Position
from regatta.store.space import Room
from tests.table.nodes import apply_batch
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


def batch(previous: int, next_offset: int, *keys: bytes) -> bytes:
    """Return a command with records of one partition."""
    puts = Command(type=Command.PUT_BATCH, batch=[KeyValue(key=key) for key in keys])
    source = Command.Source(topic="table", previous=previous, next=next_offset, topic_id=b"id")
    one = Command(type=Command.SEQUENCE, sequence=[puts], source=source)
    return Command(type=Command.SEQUENCE, sequence=[one]).SerializeToString()


def test_a_topics_batches_make_the_table_and_move_its_position(tmp_path: Path) -> None:
    async def run() -> None:
        async with engine_in(tmp_path) as engine:
            assert engine.positions(b"table") == []
            in_flight = [batch(n, n + 1, b"%d" % n) for n in range(20)]
            await asyncio.gather(*[apply_batch(engine, b"table", one) for one in in_flight])
            assert engine.positions(b"table") == [Position("table", 0, 20, 20, 0, b"id")]
            assert sorted(pairs(engine)) == sorted(b"%d" % n for n in range(20))

    async def read() -> list[Position]:
        async with engine_in(tmp_path) as engine:
            return await asyncio.to_thread(engine.positions, b"table")

    asyncio.run(run())
    assert asyncio.run(read()) == [Position("table", 0, 20, 20, 0, b"id")]


def test_a_batch_that_comes_late_is_aborted(tmp_path: Path) -> None:
    async def run() -> None:
        async with engine_in(tmp_path) as engine:
            await apply_batch(engine, b"table", batch(0, 1, b"first"))
            outcomes = await asyncio.gather(
                apply_batch(engine, b"table", batch(0, 1, b"again")),
                apply_batch(engine, b"table", batch(1, 2, b"second")),
                apply_batch(engine, b"table", batch(5, 6, b"early")),
                return_exceptions=True,
            )
            assert [type(one) for one in outcomes] == [Aborted, type(None), Aborted]
            assert str(outcomes[0]) == "another batch came first"
            assert sorted(pairs(engine)) == [b"first", b"second"]

    asyncio.run(run())


def test_a_table_that_is_emptied_begins_its_topics_anew(tmp_path: Path) -> None:
    async def run() -> None:
        async with engine_in(tmp_path) as engine:
            await apply_batch(engine, b"table", batch(0, 9, b"key"))
            await engine.empty_all_tables()
            assert engine.positions(b"table") == []
            with pytest.raises(Aborted):
                await apply_batch(engine, b"table", batch(9, 10, b"next"))
            await apply_batch(engine, b"table", batch(0, 9, b"key"))
            assert pairs(engine) == {b"key": b""}

    asyncio.run(run())


def test_a_batch_of_a_bad_table_name_is_refused(tmp_path: Path) -> None:
    async def run() -> None:
        async with engine_in(tmp_path) as engine:
            with pytest.raises(InvalidArgument, match="table must"):
                await apply_batch(engine, b"a/b", batch(0, 1, b"key"))

    asyncio.run(run())


def test_a_batch_needs_room_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        async with engine_in(tmp_path) as engine:
            await apply_batch(engine, b"table", batch(0, 1, b"key"))
            with monkeypatch.context() as patch:
                patch.setattr(Room, "admit", lambda *_: False)
                with pytest.raises(ResourceExhausted):
                    await apply_batch(engine, b"table", batch(1, 2, b"more"))
            await apply_batch(engine, b"table", batch(1, 2, b"more"))
            assert [one.next for one in engine.positions(b"table")] == [2]

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
