from collections.abc import Iterable
from enum import IntEnum
from typing import ClassVar, final

NO_NODE: int
APPEND_THREAD: int
APPLY_THREAD: int

class EntryKind(IntEnum):
    """What an entry's data is."""

    NORMAL = 0
    CONF_CHANGE = 1
    CONF_CHANGE_V2 = 2

class MessageType(IntEnum):
    """What a message asks or answers."""

    HUP = 0
    BEAT = 1
    PROP = 2
    APP = 3
    APP_RESP = 4
    VOTE = 5
    VOTE_RESP = 6
    SNAP = 7
    HEARTBEAT = 8
    HEARTBEAT_RESP = 9
    UNREACHABLE = 10
    SNAP_STATUS = 11
    CHECK_QUORUM = 12
    TRANSFER_LEADER = 13
    TIMEOUT_NOW = 14
    READ_INDEX = 15
    READ_INDEX_RESP = 16
    PRE_VOTE = 17
    PRE_VOTE_RESP = 18
    STORAGE_APPEND = 19
    STORAGE_APPEND_RESP = 20
    STORAGE_APPLY = 21
    STORAGE_APPLY_RESP = 22
    FORGET_LEADER = 23

class Role(IntEnum):
    """What a replica is at the moment."""

    FOLLOWER = 0
    CANDIDATE = 1
    LEADER = 2
    PRE_CANDIDATE = 3

class ProgressState(IntEnum):
    """How a leader sends to a peer."""

    PROBE = 0
    REPLICATE = 1
    SNAPSHOT = 2

class Transition(IntEnum):
    """How a change of the membership is carried out.

    AUTO goes through a joint configuration if more than one operation asks for it. IMPLICIT and
    EXPLICIT always do; after EXPLICIT it is left only when that is proposed.
    """

    AUTO = 0
    JOINT_IMPLICIT = 1
    JOINT_EXPLICIT = 2

class ChangeKind(IntEnum):
    """What is to become of one node."""

    ADD_NODE = 0
    REMOVE_NODE = 1
    UPDATE_NODE = 2
    ADD_LEARNER_NODE = 3

class MalformedMessage(ValueError):
    """Bytes that are no encoding of what they were said to be."""

@final
class Entry:
    """One entry of the log. Equal by value, and never changed."""

    __hash__: ClassVar[None]  # type: ignore[assignment]

    def __init__(self, term: int = 0, index: int = 0, kind: int = 0, data: bytes = b"") -> None: ...
    @property
    def term(self) -> int: ...
    @property
    def index(self) -> int: ...
    @property
    def kind(self) -> int: ...
    @property
    def data(self) -> bytes: ...
    @property
    def size(self) -> int:
        """Return the number of bytes of its encoding."""
    def __eq__(self, value: object, /) -> bool: ...

@final
class HardState:
    """What a replica must remember over a crash beside its log. False if all of it is zero."""

    __hash__: ClassVar[None]  # type: ignore[assignment]

    def __init__(self, term: int = 0, vote: int = 0, commit: int = 0) -> None: ...
    @property
    def term(self) -> int: ...
    @property
    def vote(self) -> int:
        """Return whom it voted for in *term*, 0 for nobody."""
    @property
    def commit(self) -> int: ...
    def __eq__(self, value: object, /) -> bool: ...
    def __bool__(self) -> bool: ...

@final
class ConfState:
    """A membership, as it is stored. Ids are given in any order, and kept sorted."""

    __hash__: ClassVar[None]  # type: ignore[assignment]

    def __init__(
        self,
        voters: Iterable[int] = (),
        voters_outgoing: Iterable[int] = (),
        learners: Iterable[int] = (),
        learners_next: Iterable[int] = (),
        auto_leave: bool = False,
    ) -> None: ...
    @property
    def voters(self) -> tuple[int, ...]: ...
    @property
    def voters_outgoing(self) -> tuple[int, ...]:
        """Return the other half of a joint membership, empty for a simple one."""
    @property
    def learners(self) -> tuple[int, ...]: ...
    @property
    def learners_next(self) -> tuple[int, ...]:
        """Return the voters of the outgoing half that become learners when it is left."""
    @property
    def auto_leave(self) -> bool:
        """Say whether the leader leaves the joint membership by itself."""
    def __eq__(self, value: object, /) -> bool: ...

@final
class Snapshot:
    """The applied state up to an index, and the membership there. *data* is the machine's own."""

    __hash__: ClassVar[None]  # type: ignore[assignment]

    def __init__(
        self,
        index: int = 0,
        term: int = 0,
        conf_state: ConfState | None = None,
        data: bytes = b"",
    ) -> None: ...
    @property
    def index(self) -> int: ...
    @property
    def term(self) -> int: ...
    @property
    def conf_state(self) -> ConfState: ...
    @property
    def data(self) -> bytes: ...
    def __eq__(self, value: object, /) -> bool: ...

@final
class ConfChange:
    """A proposed change of the membership: operations in order, and how to carry them out.

    Without operations (and with transition AUTO) it leaves a joint membership. *v1* is the older
    form with exactly one operation; anything else raises ValueError then.
    """

    __hash__: ClassVar[None]  # type: ignore[assignment]

    def __init__(
        self,
        changes: Iterable[tuple[int, int]] = (),
        transition: int = 0,
        context: bytes = b"",
        v1: bool = False,
    ) -> None: ...
    @property
    def changes(self) -> tuple[tuple[ChangeKind, int], ...]: ...
    @property
    def transition(self) -> int: ...
    @property
    def context(self) -> bytes: ...
    @property
    def v1(self) -> bool: ...
    def __eq__(self, value: object, /) -> bool: ...

@final
class Message:
    """What one replica, or one of its storage threads, tells another. Equal by value.

    What a field means depends on the type; zero or empty stands for absent. A message is nobody's
    to change once it was handed on, and its lists are shared.
    """

    __hash__: ClassVar[None]  # type: ignore[assignment]

    type: int
    to: int
    sender: int
    term: int
    log_term: int
    index: int
    entries: list[Entry]
    commit: int
    vote: int
    snapshot: Snapshot | None
    reject: bool
    reject_hint: int
    context: bytes
    responses: list[Message]

    def __init__(
        self,
        type: int = 0,
        *,
        to: int = 0,
        sender: int = 0,
        term: int = 0,
        log_term: int = 0,
        index: int = 0,
        entries: list[Entry] | None = None,
        commit: int = 0,
        vote: int = 0,
        snapshot: Snapshot | None = None,
        reject: bool = False,
        reject_hint: int = 0,
        context: bytes = b"",
        responses: list[Message] | None = None,
    ) -> None: ...
    def __eq__(self, value: object, /) -> bool: ...
