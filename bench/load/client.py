"""What the load tools share: many calls under way at once, and a table filled by Puts."""

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

from regatta.pb.regatta_pb2 import PutRequest
from tests.cluster.harness import KV, Server

CHANNEL_COUNT = 4
CALL_TIMEOUT_S = 60.0

Job = TypeVar("Job")


async def do_all(
    jobs: Iterable[Job], do: Callable[[Job], Awaitable[None]], concurrency: int
) -> None:
    """Call *do* for every job, *concurrency* of them at a time; the first error ends it all."""
    remaining = iter(jobs)

    async def work() -> None:
        for job in remaining:
            await do(job)

    await asyncio.gather(*(work() for _ in range(concurrency)))


async def put_all(
    server: Server, table: bytes, pairs: Iterable[tuple[bytes, bytes]], concurrency: int
) -> float:
    """Put all *pairs* into *table*, one call each; return the seconds that it took.

    Calls overtake each other, so a key should be there only once.
    """
    channels = [server.aio_channel() for _ in range(CHANNEL_COUNT)]
    calls = itertools.cycle([KV(channel).put for channel in channels])

    async def put(pair: tuple[bytes, bytes]) -> None:
        key, value = pair
        put_one = next(calls)
        await put_one(PutRequest(table=table, key=key, value=value), timeout=CALL_TIMEOUT_S)

    started_s = time.perf_counter()
    await do_all(pairs, put, concurrency)
    took_s = time.perf_counter() - started_s
    for channel in channels:
        await channel.close()
    return took_s
