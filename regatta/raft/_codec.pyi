from regatta.raft._message import ConfChange
from regatta.raft._message import ConfState
from regatta.raft._message import Entry
from regatta.raft._message import EntryKind
from regatta.raft._message import HardState
from regatta.raft._message import Message
from regatta.raft._message import Snapshot

# Every decoder copies what it keeps, skips fields that it doesn't know, and raises MalformedMessage
# for bytes that are no such message. Every encoder raises ValueError for what no decoder would
# take: lists longer than proto/regatta/pb/raft.proto allows.

def encode_message(message: Message) -> bytes:
    """Return a message's encoding. Its responses must have no responses of their own."""

def decode_message(data: bytes) -> Message:
    """Return the message that *data* encodes; one of a type that is not known is malformed."""

def encode_entry(entry: Entry) -> bytes:
    """Return an entry's encoding, entry.size bytes."""

def decode_entry(data: bytes) -> Entry:
    """Return the entry that *data* encodes."""

def encode_hard_state(state: HardState) -> bytes:
    """Return a hard state's encoding; nothing at all for an empty one."""

def decode_hard_state(data: bytes) -> HardState:
    """Return the hard state that *data* encodes."""

def encode_conf_state(state: ConfState) -> bytes:
    """Return a membership's encoding; nothing at all for an empty one."""

def decode_conf_state(data: bytes) -> ConfState:
    """Return the membership that *data* encodes; its ids must be in ascending order and not 0."""

def encode_snapshot(snapshot: Snapshot) -> bytes:
    """Return a snapshot's encoding, its data included."""

def decode_snapshot(data: bytes) -> Snapshot:
    """Return the snapshot that *data* encodes."""

def encode_conf_change(change: ConfChange) -> tuple[EntryKind, bytes]:
    """Return the kind and the data of the entry that proposes *change*.

    A change of the newer form with nothing in it has no data.
    """

def decode_conf_change(kind: int, data: bytes) -> ConfChange:
    """Return the change that an entry of this kind and data proposes.

    Raises ValueError for a kind of entry that proposes none.
    """
