"""Disk: LMDB environments, the Raft log, the state machine, and snapshots to read from.

`node` opens a node's two environments. `RaftLog` and `Machine` are written by a thread each,
turn by turn, and `Checkpointer` makes what the latter wrote durable; `View` and `Snapshot` read
what the machine has committed.
"""

from regatta.store._machine import Machine
from regatta.store._raftlog import GroupLog
from regatta.store._raftlog import GroupState
from regatta.store._raftlog import RaftLog
from regatta.store._turns import TurnWriter
from regatta.store._view import Position
from regatta.store._view import RangeScan
from regatta.store._view import Snapshot
from regatta.store._view import TableState
from regatta.store._view import View
from regatta.store.checkpointer import Checkpointer

__all__ = [
    "Checkpointer",
    "GroupLog",
    "GroupState",
    "Machine",
    "Position",
    "RaftLog",
    "RangeScan",
    "Snapshot",
    "TableState",
    "TurnWriter",
    "View",
]
