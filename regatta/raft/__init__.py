"""Agreement: what a group's replica decides, without clock, disk, socket or chance."""

from regatta.raft._codec import decode_conf_change
from regatta.raft._codec import decode_conf_state
from regatta.raft._codec import decode_entry
from regatta.raft._codec import decode_hard_state
from regatta.raft._codec import decode_message
from regatta.raft._codec import decode_snapshot
from regatta.raft._codec import encode_conf_change
from regatta.raft._codec import encode_conf_state
from regatta.raft._codec import encode_entry
from regatta.raft._codec import encode_hard_state
from regatta.raft._codec import encode_message
from regatta.raft._codec import encode_snapshot
from regatta.raft._core import Core
from regatta.raft._membership import Configuration
from regatta.raft._membership import Membership
from regatta.raft._membership import MembershipError
from regatta.raft._message import APPEND_THREAD
from regatta.raft._message import APPLY_THREAD
from regatta.raft._message import NO_NODE
from regatta.raft._message import ChangeKind
from regatta.raft._message import ConfChange
from regatta.raft._message import ConfState
from regatta.raft._message import Entry
from regatta.raft._message import EntryKind
from regatta.raft._message import HardState
from regatta.raft._message import MalformedMessage
from regatta.raft._message import Message
from regatta.raft._message import MessageType
from regatta.raft._message import ProgressState
from regatta.raft._message import Role
from regatta.raft._message import Snapshot
from regatta.raft._message import Transition
from regatta.raft._progress import Progress
from regatta.raft._progress import Window
from regatta.raft._quorum import VoteResult
from regatta.raft._quorum import committed_index
from regatta.raft._quorum import vote_result
from regatta.raft._ready import ReadState
from regatta.raft._ready import Ready
from regatta.raft._ready import SoftState
from regatta.raft._ready import Status
from regatta.raft._stable import Backing
from regatta.raft._stable import DamagedLog
from regatta.raft._stable import StableLog
from regatta.raft._storage import Compacted
from regatta.raft._storage import SnapshotTemporarilyUnavailable
from regatta.raft._storage import Storage
from regatta.raft._storage import Unavailable
from regatta.raft.config import Config
from regatta.raft.errors import ProposalDropped
from regatta.raft.errors import StepError

__all__ = [
    "APPEND_THREAD",
    "APPLY_THREAD",
    "NO_NODE",
    "Backing",
    "ChangeKind",
    "Compacted",
    "ConfChange",
    "ConfState",
    "Config",
    "Configuration",
    "Core",
    "DamagedLog",
    "Entry",
    "EntryKind",
    "HardState",
    "MalformedMessage",
    "Membership",
    "MembershipError",
    "Message",
    "MessageType",
    "Progress",
    "ProgressState",
    "ProposalDropped",
    "ReadState",
    "Ready",
    "Role",
    "Snapshot",
    "SnapshotTemporarilyUnavailable",
    "SoftState",
    "StableLog",
    "Status",
    "StepError",
    "Storage",
    "Transition",
    "Unavailable",
    "VoteResult",
    "Window",
    "committed_index",
    "decode_conf_change",
    "decode_conf_state",
    "decode_entry",
    "decode_hard_state",
    "decode_message",
    "decode_snapshot",
    "encode_conf_change",
    "encode_conf_state",
    "encode_entry",
    "encode_hard_state",
    "encode_message",
    "encode_snapshot",
    "vote_result",
]
