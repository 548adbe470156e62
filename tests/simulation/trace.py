"""The last events of a run, kept raw and made readable only if they are asked for."""

from collections import deque
from typing import NamedTuple

from regatta.raft import APPEND_THREAD
from regatta.raft import APPLY_THREAD
from regatta.raft import Entry
from regatta.raft import Message
from regatta.raft import MessageType

events_max = 120
entries_shown_max = 4

_THREADS = {APPEND_THREAD: "log", APPLY_THREAD: "machine"}


class Event(NamedTuple):
    """One thing that happened, to a node or, with node 0, to the world around it."""

    step: int
    time: int
    node: int
    what: str
    detail: object

    def __str__(self) -> str:
        detail = describe(self.detail) if isinstance(self.detail, Message) else self.detail
        where = f"node {self.node}" if self.node else "world"
        return f"step {self.step:5} at {self.time:7}  {where}  {self.what} {detail}".rstrip()


class Trace:
    """A window on the newest events."""

    def __init__(self) -> None:
        self._events: deque[tuple[int, int, int, str, object]] = deque(maxlen=events_max)
        # Takes the fields of an Event as a plain tuple, for it is called at every step.
        self.add = self._events.append

    def __str__(self) -> str:
        return "\n".join(str(Event(*event)) for event in self._events)


def describe(message: Message) -> str:
    """Return a message in one line."""
    ends = f"{_THREADS.get(message.sender, message.sender)}>{_THREADS.get(message.to, message.to)}"
    said = [f"{MessageType(message.type).name} {ends} term {message.term}"]
    if message.index or message.log_term:
        said.append(f"at {message.index}/t{message.log_term}")
    if message.entries:
        said.append(f"[{describe_entries(message.entries)}]")
    if message.commit:
        said.append(f"commit {message.commit}")
    if message.vote:
        said.append(f"vote {message.vote}")
    if message.reject:
        said.append(f"rejected, hint {message.reject_hint}")
    if message.snapshot is not None:
        said.append(f"snapshot {message.snapshot.index}/t{message.snapshot.term}")
    if message.context:
        said.append(f"context {message.context.hex()}")
    said += [f"then ({describe(response)})" for response in message.responses]
    return " ".join(said)


def describe_entries(entries: list[Entry]) -> str:
    """Return indexes and terms, of many entries only the first and the last ones."""
    shown = [f"{entry.index}/t{entry.term}{'*' if entry.kind else ''}" for entry in entries]
    if len(shown) > entries_shown_max:
        shown[2:-1] = ["..."]
    return " ".join(shown)
