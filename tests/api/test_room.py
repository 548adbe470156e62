import asyncio

import pytest

from regatta import limits
from regatta.api.room import Room
from regatta.api.room import waiting_bytes_max
from regatta.errors import ResourceExhausted


class Open:
    """An output that always takes more."""

    writable = True

    async def until_writable(self) -> None:
        return


class Gate:
    """An output that takes more while it is open."""

    def __init__(self) -> None:
        self.opened = asyncio.Event()

    @property
    def writable(self) -> bool:
        return self.opened.is_set()

    async def until_writable(self) -> None:
        await self.opened.wait()


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


class Makers:
    """Calls that make an answer each and hold their place until they are told to go."""

    def __init__(self, room: Room) -> None:
        self.room = room
        self.inside: list[str] = []
        self.release = {}
        self.tasks = {}

    def start(self, name: str, answer_bytes: int, output=None, request_bytes: int = 0) -> None:
        self.release[name] = asyncio.Event()
        make = self._make(name, answer_bytes, output or Open(), request_bytes)
        self.tasks[name] = asyncio.create_task(make)

    async def _make(self, name, answer_bytes, output, request_bytes) -> None:
        async with self.room.place(answer_bytes, request_bytes, output):
            self.inside.append(name)
            await self.release[name].wait()
            self.inside.remove(name)


async def test_answers_are_made_together_only_while_they_fit():
    makers = Makers(Room(10))
    for name in "abcd":
        makers.start(name, 4)
    await settle()
    assert makers.inside == ["a", "b"]
    makers.release["b"].set()
    await settle()
    assert makers.inside == ["a", "c"]


async def test_a_large_answer_is_not_overtaken_by_small_ones():
    makers = Makers(Room(10))
    makers.start("a", 4)
    makers.start("large", 8)
    makers.start("small", 1)
    await settle()
    assert makers.inside == ["a"]
    makers.release["a"].set()
    await settle()
    assert makers.inside == ["large", "small"]


async def test_an_answer_larger_than_the_room_has_it_alone():
    makers = Makers(Room(10))
    makers.start("huge", 100)
    makers.start("next", 1)
    await settle()
    assert makers.inside == ["huge"]
    makers.release["huge"].set()
    await settle()
    assert makers.inside == ["next"]


async def test_a_full_output_keeps_its_call_out_and_blocks_nobody():
    makers, gate = Makers(Room(10)), Gate()
    makers.start("stuck", 10, gate)
    makers.start("other", 10)
    await settle()
    assert makers.inside == ["other"]
    makers.release["other"].set()
    gate.opened.set()
    await settle()
    assert makers.inside == ["stuck"]


async def test_an_output_that_fills_up_while_waiting_gives_its_turn_away():
    makers, gate = Makers(Room(10)), Gate()
    gate.opened.set()
    makers.start("first", 10)
    await settle()
    makers.start("stuck", 10, gate)
    await settle()
    makers.start("last", 10)
    await settle()
    gate.opened.clear()
    makers.release["first"].set()
    await settle()
    assert makers.inside == ["last"]


async def test_a_call_cancelled_while_room_is_made_for_it_disturbs_nobody():
    makers = Makers(Room(10))
    for name in ("first", "second", "third"):
        makers.start(name, 10)
    await settle()
    makers.release["first"].set()
    makers.tasks["second"].cancel()  # after the first was told to go, and before it went
    await settle()
    assert makers.inside == ["third"]
    assert makers.tasks["first"].done()
    assert makers.tasks["first"].exception() is None
    assert makers.tasks["second"].cancelled()


async def test_a_call_cancelled_in_the_queue_or_inside_leaves_no_trace():
    makers = Makers(Room(10))
    for name in ("inside", "waiting", "last"):
        makers.start(name, 10)
    await settle()
    makers.tasks["waiting"].cancel()
    makers.tasks["inside"].cancel()
    await settle()
    assert makers.inside == ["inside", "last"]  # cancelled before it could strike itself out
    makers.release["last"].set()
    await settle()
    makers.start("again", 10)
    await settle()
    assert makers.inside[-1] == "again"


async def test_a_call_cancelled_in_the_moment_of_its_turn_gives_it_back():
    makers = Makers(Room(10))
    for name in ("first", "second", "third"):
        makers.start(name, 10)
    await settle()
    makers.release["first"].set()
    await asyncio.sleep(0)  # the first leaves: the second's turn has come, it has not run yet
    makers.tasks["second"].cancel()
    await settle()
    assert makers.inside == ["third"]


async def test_requests_that_wait_are_bounded_in_bytes():
    makers = Makers(Room(10))
    makers.start("first", 10)
    await settle()
    accepted = waiting_bytes_max // limits.request_bytes_max
    for number in range(accepted):
        makers.start(f"{number}", 10, request_bytes=limits.request_bytes_max)
    await settle()
    makers.start("one too many", 10, request_bytes=1)
    await settle()
    with pytest.raises(ResourceExhausted):
        await makers.tasks["one too many"]
    assert makers.inside == ["first"]
