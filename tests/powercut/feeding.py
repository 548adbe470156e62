"""Feeds a table as a topic does, from within the daemon, and says what a cut may leave of it.

What a record does follows from its partition and offset, so that positions tell a table's contents.
"""

import asyncio
import itertools
import os

from regatta.engine import Engine
from regatta.engine import Position
from regatta.errors import Aborted
from regatta.pb.mvcc_pb2 import Command
from regatta.pb.mvcc_pb2 import KeyValue
from tests.table.nodes import apply_batch

TABLE = b"fed"
PARTITIONS = (0, 1)
KEYS_A_PARTITION = 5
PAUSE_S = 0.05  # so that the clients' turns are seen alone, too


def key_of(partition: int, offset: int) -> bytes:
    """Return the key of a record."""
    return b"fed-%d/%d" % (partition, offset % KEYS_A_PARTITION)


def is_skipped(offset: int) -> bool:
    """Tell whether a record is one of those that can't be stored."""
    return offset % 6 == 5


def is_delete(offset: int) -> bool:
    """Tell whether a record deletes its key."""
    return offset % 4 == 3


def batch(partition: int, first: int, stop: int) -> Command:
    """Return the command for the records from *first* up to *stop*, the latter left out."""
    found = Command(type=Command.SEQUENCE)
    stored = [offset for offset in range(first, stop) if not is_skipped(offset)]
    for offset in stored:
        kind = Command.DELETE_BATCH if is_delete(offset) else Command.PUT_BATCH
        pair = KeyValue(key=key_of(partition, offset), value=b"%d" % offset)
        found.sequence.add(type=kind, batch=[pair])
    found.source.topic, found.source.partition = TABLE.decode(), partition
    found.source.previous, found.source.next = first, stop
    found.source.skipped = stop - first - len(stored)
    return found


async def feed(engine: Engine, notes: int) -> None:
    """Go on from the stored positions, for ever; *notes* is told of each batch that is applied.

    Each is proposed twice, while others are in flight, and refused the second time.
    """
    for turn in itertools.count(1):
        stored = {one.partition: one.next for one in engine.positions(TABLE)}
        await asyncio.gather(
            *[feed_partition(engine, notes, n, stored.get(n, 0), turn % 4) for n in PARTITIONS]
        )
        await asyncio.sleep(PAUSE_S)


async def feed_partition(engine: Engine, notes: int, partition: int, first: int, size: int) -> None:
    """Propose batches of up to *size* records beside each other."""
    begins = [first, first + size, first + 2 * size]
    commands = [batch(partition, begin, begin + size) for begin in begins]
    payloads = [Command(type=Command.SEQUENCE, sequence=[one]) for one in commands for _ in (1, 2)]
    outcomes = await asyncio.gather(
        *[apply_batch(engine, TABLE, one.SerializeToString()) for one in payloads],
        return_exceptions=True,
    )
    refused = [isinstance(outcome, Aborted) for outcome in outcomes]
    assert refused == [False, bool(size)] * len(begins), outcomes
    os.write(notes, b"fed %d %d\n" % (partition, first + size * len(begins)))


def check_fed(positions: list[Position], pairs: dict[bytes, bytes], fed: dict[int, int]) -> None:
    """Fail unless *pairs* are what *positions* say, which are not behind what was told in *fed*."""
    expected: dict[bytes, bytes] = {}
    for one in positions:
        skipped_count = sum(map(is_skipped, range(one.next)))
        assert (one.applied, one.skipped) == (one.next - skipped_count, skipped_count), one
        for offset in itertools.filterfalse(is_skipped, range(one.next)):
            expected[key_of(one.partition, offset)] = b"%d" % offset
            if is_delete(offset):
                del expected[key_of(one.partition, offset)]
    assert pairs == expected, f"{positions} with {pairs}"
    found = {one.partition: one.next for one in positions}
    for partition, told in fed.items():
        assert found.get(partition, 0) >= told, f"{positions} after {fed} was told"
