import asyncio

import pytest
from grpc_health.v1 import health_pb2 as pb
from services import Store
from services import Upkeep

from regatta.api.health import Health
from regatta.api.health import Status
from regatta.api.standard import with_standard_services
from regatta.errors import NotFound

NAMES = ["", "grpc.health.v1.Health", "regatta.v1.KV", "regatta.v1.Maintenance"]


@pytest.fixture
def health() -> Health:
    return with_standard_services([Store(), Upkeep()], reflection=False)[1]


def asking(service: str) -> pb.HealthCheckRequest:
    return pb.HealthCheckRequest(service=service)


@pytest.mark.parametrize("name", NAMES)
async def test_check_tells_of_each_service_whether_it_serves(health, name):
    assert (await health.check(asking(name), None)).status == Status.NOT_SERVING
    health.set_serving(True)
    assert (await health.check(asking(name), None)).status == Status.SERVING
    health.set_serving(False)
    assert (await health.check(asking(name), None)).status == Status.NOT_SERVING


async def test_check_of_an_unknown_service_is_not_found(health):
    with pytest.raises(NotFound):
        await health.check(asking("regatta.v1.Other"), None)


async def test_list_tells_of_all_services(health):
    health.set_serving(True)
    answer = await health.list(pb.HealthListRequest(), None)
    assert {name: item.status for name, item in answer.statuses.items()} == dict.fromkeys(
        NAMES, Status.SERVING
    )


async def test_reflection_is_a_service_like_others():
    _, health = with_standard_services([Store()], reflection=True)
    await health.check(asking("grpc.reflection.v1.ServerReflection"), None)


async def test_watch_tells_the_state_now_and_each_change(health):
    watch = health.watch(asking(""), None)
    assert (await anext(watch)).status == Status.NOT_SERVING
    following = asyncio.create_task(anext(watch))
    await asyncio.sleep(0.01)
    assert not following.done()
    health.set_serving(False)  # no change
    await asyncio.sleep(0.01)
    assert not following.done()
    health.set_serving(True)
    assert (await following).status == Status.SERVING


async def test_a_watcher_that_was_away_learns_the_last_state(health):
    watch = health.watch(asking(""), None)
    assert (await anext(watch)).status == Status.NOT_SERVING
    for serving in (True, False, True):
        health.set_serving(serving)
    assert (await anext(watch)).status == Status.SERVING


async def test_watch_of_an_unknown_service_says_so_and_stays(health):
    watch = health.watch(asking("regatta.v1.Other"), None)
    assert (await anext(watch)).status == Status.SERVICE_UNKNOWN
    following = asyncio.create_task(anext(watch))
    health.set_serving(True)
    await asyncio.sleep(0.01)
    assert not following.done()
    following.cancel()
