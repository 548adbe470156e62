"""The face of the database: tables by name, writes, and snapshots to read from."""

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from regatta import limits
from regatta.errors import InvalidArgument
from regatta.errors import NotFound
from regatta.pb.mvcc_pb2 import Command
from regatta.pb.mvcc_pb2 import KeyValue
from regatta.store import Position
from regatta.store import RangeScan
from regatta.store import Snapshot
from regatta.store import TableState
from regatta.store import TurnWriter
from regatta.store import View
from regatta.store.node import Stores
from regatta.table._leaders import Leaders
from regatta.table._node_sink import NodeSink
from regatta.table._range import RangeSink
from regatta.table.driver import Driver
from regatta.table.group import Applied
from regatta.table.group import Group

__all__ = [
    "META_GROUP",
    "Applied",
    "Engine",
    "Group",
    "NodeSink",
    "Position",
    "RangeScan",
    "RangeSink",
    "Snapshot",
    "TableState",
]

log = logging.getLogger("regatta.engine")

META_GROUP = 1000
reader_threads = 2  # for reads that would hold up the event loop

T = TypeVar("T")


class Engine:
    """All tables of a node. Its methods belong to the event loop's thread."""

    def __init__(self, stores: Stores, node: int, on_failure: Callable[[str], None]) -> None:
        """Bring the applied state up to the log; blocks until that is done.

        *on_failure* is called with one line when storage has failed for good and the node must
        stop. Raises StartError when the log is damaged.
        """
        self.node = node
        self._stores = stores
        self._driver = Driver(stores, node, on_failure)
        self._driver.start_threads()
        self._groups: dict[bytes, Group] = {}
        self._creating: dict[bytes, asyncio.Future[Group]] = {}
        self._threads = ThreadPoolExecutor(reader_threads, "regatta-read")
        self._open_groups()

    def _open_groups(self) -> None:
        states = self._driver.log.states()
        found = {group.group: group for group in self.snapshot().groups()}
        empty = TableState(b"", META_GROUP, 0, 0, 0, 0, 0)
        catalogue = found.pop(META_GROUP, empty)
        self._catalogue = self._driver.open_group(catalogue, states.get(META_GROUP))
        opened = {META_GROUP}
        while True:
            # All at once, so that they share their syncs.
            for table in found.values():
                self._groups[table.name] = self._driver.open_group(table, states.get(table.group))
            self._driver.settle()
            opened |= found.keys()
            # The catalogue's log may have held further tables, and these may have logs: a power
            # cut can take the newest of the data.
            groups = self.snapshot().groups()
            found = {group.group: group for group in groups if group.group not in opened}
            if not found:
                return

    def attach(self, loop: asyncio.AbstractEventLoop) -> None:
        """Let writes flow on *loop*."""
        self._driver.attach(loop)

    async def close(self) -> None:
        """Finish the writes in flight and close the storage."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        await self._driver.close()
        await asyncio.to_thread(self._threads.shutdown)

    # What operators see; for any thread.

    @property
    def writers(self) -> dict[str, TurnWriter]:
        """Return the storage threads by the name of their environment, log and data."""
        return self._driver.writers

    @property
    def failure(self) -> str:
        """Why storage has failed for good; empty while it has not."""
        return self._driver.failure

    @property
    def stall(self) -> str:
        """Why writes are waiting for the disk; empty if they are not."""
        return self._driver.stall

    @property
    def pending(self) -> tuple[int, int]:
        """How many writes wait for their answer, and their size in bytes."""
        return self._driver.pending

    # Reading.

    def leader(self, group_id: int) -> tuple[int, int]:
        """Return a group's term and its leader's id, zeroes if it has none as far as we know."""
        return self._driver.leaders.get(group_id)

    def range_sink(self) -> RangeSink:
        """Return what answers single-key reads natively, for the sessions of one thread."""
        return RangeSink(View(self._stores.data), self.node, self._driver.leaders)

    def share_leaders(self, share: Callable[[Leaders], None]) -> None:
        """Have *share* tell other processes what is known of terms and leaders."""
        share(self._driver.leaders)

    def forget_dead_readers(self) -> None:
        """Let go of the snapshots of processes that have died."""
        self._stores.data.forget_dead_readers()

    def sink(self, read_only: frozenset[bytes] = frozenset()) -> NodeSink:
        """Return what answers calls natively, for all sessions of the loop's thread.

        *read_only* names the tables that only Kafka may write to.
        """
        return NodeSink(self.range_sink(), self._driver.sink(self._groups, read_only))

    def snapshot(self) -> Snapshot:
        """Return a view of everything acknowledged so far, which does not change any more."""
        return Snapshot(self._stores.data)

    def positions(self, table: bytes) -> list[Position]:
        """Return how far topics have gone into a table, nothing if there is none; for any thread.

        Raises DataLoss if a record is damaged.
        """
        snapshot = self.snapshot()
        state = snapshot.find(table)
        return snapshot.positions(state.group) if state else []

    async def in_thread(self, snapshot: Snapshot, work: Callable[[], T]) -> T:
        """Run long *work* on *snapshot* beside the event loop; cancelling ends it early."""
        future = asyncio.get_running_loop().run_in_executor(self._threads, work)
        try:
            return await future
        except asyncio.CancelledError:
            snapshot.cancel()
            raise

    # Writing.

    async def group_for_write(self, name: bytes) -> Group:
        """Return the group of a table, which is made if there is none of that name yet."""
        group = self._groups.get(name)
        if group is not None:
            return group
        check_table_name(name)
        creation = self._creating.get(name)
        if creation is None:
            creation = asyncio.ensure_future(self._create(name))
            self._creating[name] = creation
            creation.add_done_callback(lambda _: self._creating.pop(name))
        # Others may wait for the same table: a caller that gives up doesn't stop it.
        return await asyncio.shield(creation)

    async def _create(self, name: bytes) -> Group:
        command = Command(type=Command.PUT, kv=KeyValue(key=name))
        await self._driver.propose(self._catalogue, command.SerializeToString())
        created = self.snapshot().find(name)
        if created is None:
            raise NotFound("table not found")
        group = self._driver.open_group(created, None)
        self._groups[name] = group
        log.info("created table %s as group %d", name.decode(errors="replace"), created.group)
        return group

    def propose(self, group: Group, command: Command) -> asyncio.Future[Applied]:
        """Put *command* into a table's log; the future tells what applying it answered.

        Raises, with nothing done, Unavailable when too much is waiting already, and
        ResourceExhausted when the disk is nearly full and the command may add data.
        """
        encoded = command.SerializeToString()
        return self._driver.propose(group, encoded, adds_data=adds_data(command))

    async def propose_batch(self, table: bytes, command: bytes) -> asyncio.Future[Applied]:
        """Put an encoded Command with records of a topic into the log of *table*.

        Returns once it is on its way there, after all that was proposed before it; the future tells
        what applying it came to. The table is made if there is none. Raises what `propose` raises;
        the future raises Aborted when one of the sources is not at the stored position, so that its
        records are not applied.
        """
        group = await self.group_for_write(table)
        return self._driver.propose(group, command, adds_data=True)

    async def empty_all_tables(self) -> None:
        """Delete every pair of every table, through the log. The tables stay."""
        command = Command(type=Command.DELETE, kv=KeyValue(key=b"\0"), range_end=b"\0")
        await asyncio.gather(*[self.propose(group, command) for group in self._groups.values()])


def adds_data(command: Command) -> bool:
    """Return whether *command* may leave more behind than it found."""
    if command.type == Command.TXN:
        operations = (*command.txn.success, *command.txn.failure)
        return any(operation.HasField("request_put") for operation in operations)
    return command.type != Command.DELETE


def check_table_name(name: bytes) -> None:
    """Raise InvalidArgument if a table can't be called *name*."""
    if len(name) > limits.table_name_bytes_max:
        raise InvalidArgument(
            f"table must be at most {limits.table_name_bytes_max} bytes, got {len(name)}"
        )
    if any(byte < 0x20 or byte in (0x2F, 0x7F) for byte in name):
        raise InvalidArgument("table must not contain '/' or control characters")
