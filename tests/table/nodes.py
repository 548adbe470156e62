"""A node's engine without its ports."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from regatta.engine import Engine
from regatta.pb.mvcc_pb2 import Command
from regatta.pb.mvcc_pb2 import KeyValue
from regatta.pb.regatta_pb2 import RangeRequest
from regatta.pb.regatta_pb2 import RangeResponse
from regatta.store.node import open_stores

TABLE = b"table"


@asynccontextmanager
async def engine_in(directory: Path, node: int = 1) -> AsyncIterator[Engine]:
    """Run an engine on ``log`` and ``data`` in *directory*."""
    stores = open_stores(directory / "log", directory / "data")
    failures: list[str] = []
    engine = Engine(stores, node, failures.append)
    engine.attach(asyncio.get_running_loop())
    try:
        yield engine
    finally:
        await engine.close()
        stores.close()
    assert failures == []


def put(key: bytes, value: bytes = b"value") -> Command:
    return Command(type=Command.PUT, kv=KeyValue(key=key, value=value))


async def write(engine: Engine, *commands: Command, table: bytes = TABLE) -> list[int]:
    """Propose all at once and return the indexes at which they were applied."""
    group = await engine.group_for_write(table)
    applied = await asyncio.gather(*[engine.propose(group, command) for command in commands])
    return [one.index for one in applied]


def pairs(engine: Engine, table: bytes = TABLE) -> dict[bytes, bytes]:
    """Return what a table holds."""
    snapshot = engine.snapshot()
    state = snapshot.find(table)
    assert state is not None
    scan = snapshot.scan(state.table_id, RangeRequest(key=b"\0", range_end=b"\0"))
    found: dict[bytes, bytes] = {}
    while not scan.exhausted:
        scan.finish_page()
        found |= {kv.key: kv.value for kv in RangeResponse.FromString(scan.take_page()[0]).kvs}
    return found


async def apply_batch(engine: Engine, table: bytes, command: bytes) -> None:
    """Propose a topic's batch and return when it is applied."""
    await (await engine.propose_batch(table, command))
