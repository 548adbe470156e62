"""The text form of everything that a scenario prints."""

from collections.abc import Iterable, Mapping

from regatta.raft import APPEND_THREAD
from regatta.raft import APPLY_THREAD
from regatta.raft import NO_NODE
from regatta.raft import ChangeKind
from regatta.raft import ConfState
from regatta.raft import Entry
from regatta.raft import EntryKind
from regatta.raft import HardState
from regatta.raft import Message
from regatta.raft import MessageType
from regatta.raft import Progress
from regatta.raft import Ready
from regatta.raft import Role
from regatta.raft import Snapshot
from regatta.raft import SoftState
from regatta.raft import decode_conf_change
from tests.conformance.grammar import integer

ADDRESSES = {NO_NODE: "None", APPEND_THREAD: "AppendThread", APPLY_THREAD: "ApplyThread"}
ENTRY_KINDS = {
    EntryKind.NORMAL: "EntryNormal",
    EntryKind.CONF_CHANGE: "EntryConfChange",
    EntryKind.CONF_CHANGE_V2: "EntryConfChangeV2",
}
CHANGE_LETTERS = {
    ChangeKind.ADD_NODE: "v",
    ChangeKind.ADD_LEARNER_NODE: "l",
    ChangeKind.REMOVE_NODE: "r",
    ChangeKind.UPDATE_NODE: "u",
}
ESCAPES = dict(zip('"\\\a\b\f\n\r\t\v', '"\\abfnrtv', strict=True))


def camel(name: str) -> str:
    """Return NAME_OF_THIS_FORM as NameOfThisForm."""
    return "".join(word.capitalize() for word in name.split("_"))


def message_name(kind: MessageType) -> str:
    """Return how a type of message is written."""
    return f"Msg{camel(kind.name)}"


MESSAGE_TYPES = {message_name(kind): kind for kind in MessageType}


def role_name(role: Role) -> str:
    """Return how a role is written."""
    return f"State{camel(role.name)}"


def truth(value: bool) -> str:
    """Return true or false."""
    return "true" if value else "false"


def plain_list(values: Iterable[object]) -> str:
    """Return values in brackets, with spaces between them."""
    return f"[{' '.join(map(str, values))}]"


def quoted(data: bytes) -> str:
    """Return *data* as text in double quotes, with escapes for what doesn't print."""
    return f'"{"".join(map(escaped, data.decode("utf-8", "surrogateescape")))}"'


def escaped(character: str) -> str:
    """Return one character as it stands between double quotes."""
    code = ord(character)
    if character in ESCAPES:
        return f"\\{ESCAPES[character]}"
    if character.isprintable():
        return character
    if 0xDC80 <= code <= 0xDCFF:  # a byte that is no UTF-8
        return f"\\x{code - 0xDC00:02x}"
    if code < 0x80:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def describe_entry(entry: Entry) -> str:
    """Return one entry on one line."""
    kind = EntryKind(entry.kind)
    if kind == EntryKind.NORMAL:
        payload = quoted(entry.data)
    else:
        changes = decode_conf_change(kind, entry.data).changes
        payload = " ".join(f"{CHANGE_LETTERS[change]}{node}" for change, node in changes)
    return f"{entry.term}/{entry.index} {ENTRY_KINDS[kind]} {payload}".rstrip(" ")


def describe_entries(entries: Iterable[Entry]) -> str:
    """Return entries, each with its line's end."""
    return "".join(f"{describe_entry(entry)}\n" for entry in entries)


def address(node: int) -> str:
    """Return how a sender or receiver is written."""
    return ADDRESSES.get(node, f"{node:x}")


def describe_message(message: Message, indent: str = "", with_responses: bool = True) -> str:
    """Return a message, without its last line's end; *indent* goes before each line."""
    text = (
        f"{indent}{address(message.sender)}->{address(message.to)} "
        f"{message_name(MessageType(message.type))} Term:{message.term} "
        f"Log:{message.log_term}/{message.index}"
    )
    if message.reject:
        text += f" Rejected (Hint: {message.reject_hint})"
    if message.commit:
        text += f" Commit:{message.commit}"
    if message.vote:
        text += f" Vote:{message.vote}"
    if len(message.entries) == 1:
        text += f" Entries:[{describe_entry(message.entries[0])}]"
    elif message.entries:
        lines = "".join(f"\n{indent}  {describe_entry(entry)}" for entry in message.entries)
        text += f" Entries:[{lines}\n{indent}]"
    if message.snapshot is not None and message.snapshot.index:
        text += f"\n{indent}  Snapshot: {describe_snapshot(message.snapshot)}"
    if message.responses and with_responses:
        responses = [describe_message(each, indent + "  ") for each in message.responses]
        text += " Responses:[\n" + "\n".join(responses) + f"\n{indent}]"
    return text


def describe_hard_state(state: HardState) -> str:
    """Return a hard state."""
    vote = f" Vote:{state.vote}" if state.vote else ""
    return f"Term:{state.term}{vote} Commit:{state.commit}"


def describe_soft_state(state: SoftState) -> str:
    """Return a soft state."""
    return f"Lead:{state.leader} State:{role_name(Role(state.role))}"


def describe_conf_state(state: ConfState) -> str:
    """Return the state of a configuration."""
    return (
        f"Voters:{plain_list(state.voters)} VotersOutgoing:{plain_list(state.voters_outgoing)} "
        f"Learners:{plain_list(state.learners)} LearnersNext:{plain_list(state.learners_next)} "
        f"AutoLeave:{truth(state.auto_leave)}"
    )


def describe_snapshot(snapshot: Snapshot) -> str:
    """Return a snapshot without its data."""
    conf_state = describe_conf_state(snapshot.conf_state)
    return f"Index:{snapshot.index} Term:{snapshot.term} ConfState:{conf_state}"


def describe_progress(progress: Mapping[int, Progress]) -> str:
    """Return the progress of all members, each on a line."""
    return "".join(f"{node}: {progress[node]}\n" for node in sorted(progress))


def describe_ready(ready: Ready) -> str:
    """Return all that is to be done."""
    text = ""
    if ready.soft_state is not None:
        text += f"{describe_soft_state(ready.soft_state)}\n"
    if ready.hard_state:
        text += f"HardState {describe_hard_state(ready.hard_state)}\n"
    if ready.read_states:
        states = [f"{{{each.index} {plain_list(each.context)}}}" for each in ready.read_states]
        text += f"ReadStates {plain_list(states)}\n"
    if ready.entries:
        text += f"Entries:\n{describe_entries(ready.entries)}"
    if ready.snapshot is not None and ready.snapshot.index:
        text += f"Snapshot {describe_snapshot(ready.snapshot)}\n"
    if ready.committed_entries:
        text += f"CommittedEntries:\n{describe_entries(ready.committed_entries)}"
    if ready.messages:
        text += "Messages:\n" + "".join(f"{describe_message(m)}\n" for m in ready.messages)
    return f"Ready MustSync={truth(ready.must_sync)}:\n{text}" if text else "<empty Ready>"


def parse_changes(text: str) -> list[tuple[ChangeKind, int]]:
    """Return the operations written like `v1 l2 r3 u4`; raises ValueError."""
    kinds = {letter: kind for kind, letter in CHANGE_LETTERS.items()}
    changes = []
    for token in text.split():
        letter, digits = token[0], token[1:]
        if not digits:
            raise ValueError(f"unknown token {token}")
        if letter not in kinds:
            raise ValueError(f"unknown input: {token}")
        changes.append((kinds[letter], integer(digits)))
    return changes
