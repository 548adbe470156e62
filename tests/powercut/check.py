"""Starts a node on what a power cut left, and holds it against what its clients were told."""

import asyncio
import os
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from lmdb.verify import verify

from regatta.engine import META_GROUP
from regatta.engine import Engine
from regatta.pb.mvcc_pb2 import Command
from regatta.pb.mvcc_pb2 import KeyValue
from regatta.pb.regatta_pb2 import RangeRequest
from regatta.pb.regatta_pb2 import RangeResponse
from regatta.raft import ConfState
from regatta.raft import StableLog
from regatta.raft import decode_conf_state
from regatta.store import Position
from regatta.store import RaftLog
from regatta.store import Snapshot
from regatta.store import TableState
from regatta.store.checkpoint import restore
from regatta.store.node import Stores
from regatta.store.node import open_stores
from tests.cluster.history import History
from tests.powercut import feeding

NODE = 1
NEW_KEY = b"after the cut"


@dataclass(frozen=True, slots=True)
class Expectation:
    """What the clients of a node know when the power goes."""

    histories: list[History]
    tables: list[bytes]  # the names of those that may be there
    fed: dict[int, int]  # up to which offset the partitions of the fed table are applied at least


def check_in_child(
    outcome: Connection, log_dir: Path, data_dir: Path, expected: Expectation
) -> None:
    """Send "" if all is well, else what is wrong."""
    try:
        check_node(log_dir, data_dir, expected)
    except BaseException as error:
        outcome.send(f"{type(error).__name__}: {error}")
    else:
        outcome.send("")


def check_node(log_dir: Path, data_dir: Path, expected: Expectation) -> None:
    """Fail unless a node starts on these directories and has all that was acknowledged.

    An environment must be opened once in a process at most: call it in a process of its own.
    """
    if (data_dir / "data.mdb").exists():
        restore(data_dir)  # before that, anything may be in it
    verify_environments(log_dir, data_dir)
    asyncio.run(start_and_check(log_dir, data_dir, expected))
    verify_environments(log_dir, data_dir)


def verify_environments(*directories: Path) -> None:
    """Let the lmdb package read every page; what is not there at all is another's to judge."""
    for directory in directories:
        if (directory / "data.mdb").exists():
            problems = verify(str(directory))  # type: ignore[no-untyped-call]
            assert not problems, f"{directory} is damaged: {problems[:5]}"


async def start_and_check(log_dir: Path, data_dir: Path, expected: Expectation) -> None:
    """Start a node without its sockets, check it, write to it, and stop it."""
    stores = open_stores(log_dir, data_dir)
    failures: list[str] = []
    states = check_logs(stores)
    engine = Engine(stores, NODE, failures.append)
    try:
        engine.attach(asyncio.get_running_loop())
        tables = engine.snapshot().groups()
        for table in tables:
            term, last = states.get(table.group, (0, 0))  # unknown: made by the replay
            # The start adds the entry of a leader's new term.
            assert table.applied_index == last + 1, f"{table} after the replay of {last} entries"
            assert table.applied_term == term + 1, f"{table} after term {term}"
            assert engine.leader(table.group) == (term + 1, NODE)
        check_pairs(engine.snapshot(), expected)
        for table in tables:
            if table.group != META_GROUP:
                await check_write(engine, table)
        assert not failures, failures
    finally:
        await engine.close()
        stores.close()


def check_logs(stores: Stores) -> dict[int, tuple[int, int]]:
    """Return group -> (term, last index); fail unless each log goes on where applying ended."""
    wake = os.eventfd(0, os.EFD_CLOEXEC)
    log = RaftLog(stores.log, wake)
    promised = log.states()
    applied = {table.group: table for table in Snapshot(stores.data).groups()}
    found = {}
    for group in promised.keys() | applied.keys():
        table = applied.get(group, TableState(b"", group, 0, 0, 0, 0, 0))
        state = promised.get(group)
        members = decode_conf_state(table.membership)
        assert members in (ConfState(voters=(NODE,)), ConfState()), f"{table} has other members"
        # Refuses gaps, falling terms, and a log that does not hold what is applied or committed.
        stable = StableLog(
            log.group(group, state), members, table.applied_index, table.applied_term
        )
        entries = log.read(group, stable.first_index(), 1 << 62, 1 << 62)
        terms = [stable.compacted_term, *[entry.term for entry in entries]]
        assert terms == sorted(terms), f"the terms of group {group} fall"
        assert stable.first_index() + len(entries) == stable.last_index() + 1
        last = stable.last_index()
        assert state or not last, f"group {group} has entries but has promised nothing"
        if state:
            assert terms[-1] <= state.term, f"group {group} ends beyond {state}"
            assert state.commit <= last, f"group {group} ends at {last}, before {state}"
            assert state.vote == NODE, f"group {group} of one voter has {state}"
        found[group] = (state.term if state else 0, last)
    os.close(wake)
    return found


def check_pairs(snapshot: Snapshot, expected: Expectation) -> None:
    """Fail unless every pair is there that was acknowledged, and none besides."""
    found: dict[bytes, bytes] = {}
    fed: dict[bytes, bytes] = {}
    fed_positions: list[Position] = []
    for table in snapshot.groups():
        pairs = read_table(snapshot, table)
        assert len(pairs) == table.key_count, f"{table} has {len(pairs)} pairs"
        for pair in pairs:
            assert 1 <= pair.create_revision <= pair.mod_revision <= table.applied_index
        if table.name == feeding.TABLE:
            fed = {pair.key: pair.value for pair in pairs}
            fed_positions = snapshot.positions(table.group)
        else:
            found |= {pair.key: pair.value for pair in pairs}
    check_found(found, expected)
    feeding.check_fed(fed_positions, fed, expected.fed)


def check_found(found: dict[bytes, bytes], expected: Expectation) -> None:
    """Fail unless *found*, the pairs of all tables, is what the clients must find."""
    for history in expected.histories:
        history.settle({k: v for k, v in found.items() if k.startswith(history.prefix)})
    assert len(found) == sum(len(history.acknowledged) for history in expected.histories)


def read_table(snapshot: Snapshot, table: TableState) -> list[KeyValue]:
    """Return all pairs of a table."""
    if table.group == META_GROUP:
        return []
    scan = snapshot.scan(table.table_id, RangeRequest(key=b"\0", range_end=b"\0"))
    pairs: list[KeyValue] = []
    while not scan.exhausted:
        scan.finish_page()
        pairs += RangeResponse.FromString(scan.take_page()[0]).kvs
    return pairs


async def check_write(engine: Engine, table: TableState) -> None:
    """Fail unless the table takes a write, under the index that follows."""
    group = await engine.group_for_write(table.name)
    command = Command(type=Command.PUT, kv=KeyValue(key=NEW_KEY, value=table.name))
    applied = await engine.propose(group, command)
    assert applied.index == table.applied_index + 1
    after = engine.snapshot().find(table.name)
    assert after is not None
    assert (after.applied_index, after.key_count) == (applied.index, table.key_count + 1)
