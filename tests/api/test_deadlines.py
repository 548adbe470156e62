import asyncio

import pytest

from regatta.api.deadlines import Wheel
from regatta.api.deadlines import slot_count
from regatta.api.deadlines import tick_s
from regatta.errors import DeadlineExceeded


def too_late() -> DeadlineExceeded:
    return DeadlineExceeded("too late")


async def elapsed_s(awaitable) -> float:
    loop = asyncio.get_running_loop()
    start = loop.time()
    with pytest.raises(DeadlineExceeded, match="too late"):
        await awaitable
    return loop.time() - start


async def sleep_under(wheel: Wheel, limit_s: float | None, sleep_s: float) -> None:
    async with wheel.limit(limit_s, too_late):
        await asyncio.sleep(sleep_s)


@pytest.mark.parametrize("limit_s", [0.001, 0.010, 0.035, 0.1])
async def test_a_limit_ends_its_body_in_time_and_never_early(limit_s):
    passed_s = await elapsed_s(sleep_under(Wheel(), limit_s, 10))
    assert limit_s <= passed_s < limit_s + tick_s + 0.25  # the machine is shared


async def test_a_limit_of_zero_ends_the_body_before_it_begins():
    with pytest.raises(DeadlineExceeded):
        async with Wheel().limit(0, too_late):
            pytest.fail("the body ran")


async def test_a_body_within_its_limit_is_left_alone():
    await sleep_under(Wheel(), 5, 0.001)
    await sleep_under(Wheel(), None, 0.001)


async def test_limits_longer_than_a_revolution_survive_it():
    wheel = Wheel()
    # Two limits that share a slot, one revolution apart.
    near = asyncio.create_task(elapsed_s(sleep_under(wheel, 0.05, 10)))
    far = asyncio.create_task(sleep_under(wheel, 0.05 + slot_count * tick_s, 0.3))
    assert await near < 0.3
    await far


async def test_a_lifted_limit_no_longer_ends_its_body():
    async with Wheel().limit(0.02, too_late) as limit:
        limit.lift()
        await asyncio.sleep(0.06)


async def test_the_wheel_sleeps_when_nothing_is_limited():
    wheel = Wheel()
    assert wheel.asleep
    async with wheel.limit(60, too_late):
        assert not wheel.asleep
    await asyncio.sleep(4 * tick_s)
    assert wheel.asleep


def test_many_limits_share_one_timer():
    async def limit_many() -> None:
        wheel = Wheel()
        tasks = [asyncio.create_task(sleep_under(wheel, 30, 0)) for _ in range(1000)]
        await asyncio.sleep(0)
        # asyncio's own loop, unlike uvloop, lets us count its timers.
        assert len(asyncio.get_running_loop()._scheduled) == 1
        await asyncio.gather(*tasks)

    asyncio.run(limit_many())


async def test_cancellation_from_outside_stays_a_cancellation():
    task = asyncio.create_task(sleep_under(Wheel(), 30, 30))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_cancellation_that_meets_the_expiry_is_not_swallowed():
    limits = []

    async def body(wheel):
        async with wheel.limit(30, too_late) as limit:
            limits.append(limit)
            await asyncio.sleep(30)

    task = asyncio.create_task(body(Wheel()))
    await asyncio.sleep(0)
    limits[0].expire()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_of_nested_limits_the_shorter_one_speaks():
    wheel = Wheel()

    def inner():
        return DeadlineExceeded("inner")

    with pytest.raises(DeadlineExceeded, match="inner"):
        async with wheel.limit(20, too_late), wheel.limit(0.01, inner):
            await asyncio.sleep(10)
    with pytest.raises(DeadlineExceeded, match="too late"):
        async with wheel.limit(0.01, too_late), wheel.limit(20, inner):
            await asyncio.sleep(10)
