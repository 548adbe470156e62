from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Entry(_message.Message):
    __slots__ = ("term", "index", "kind", "data")
    class Kind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        NORMAL: _ClassVar[Entry.Kind]
        CONF_CHANGE: _ClassVar[Entry.Kind]
        CONF_CHANGE_V2: _ClassVar[Entry.Kind]
    NORMAL: Entry.Kind
    CONF_CHANGE: Entry.Kind
    CONF_CHANGE_V2: Entry.Kind
    TERM_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    term: int
    index: int
    kind: Entry.Kind
    data: bytes
    def __init__(self, term: _Optional[int] = ..., index: _Optional[int] = ..., kind: _Optional[_Union[Entry.Kind, str]] = ..., data: _Optional[bytes] = ...) -> None: ...

class HardState(_message.Message):
    __slots__ = ("term", "vote", "commit")
    TERM_FIELD_NUMBER: _ClassVar[int]
    VOTE_FIELD_NUMBER: _ClassVar[int]
    COMMIT_FIELD_NUMBER: _ClassVar[int]
    term: int
    vote: int
    commit: int
    def __init__(self, term: _Optional[int] = ..., vote: _Optional[int] = ..., commit: _Optional[int] = ...) -> None: ...

class ConfState(_message.Message):
    __slots__ = ("voters", "voters_outgoing", "learners", "learners_next", "auto_leave")
    VOTERS_FIELD_NUMBER: _ClassVar[int]
    VOTERS_OUTGOING_FIELD_NUMBER: _ClassVar[int]
    LEARNERS_FIELD_NUMBER: _ClassVar[int]
    LEARNERS_NEXT_FIELD_NUMBER: _ClassVar[int]
    AUTO_LEAVE_FIELD_NUMBER: _ClassVar[int]
    voters: _containers.RepeatedScalarFieldContainer[int]
    voters_outgoing: _containers.RepeatedScalarFieldContainer[int]
    learners: _containers.RepeatedScalarFieldContainer[int]
    learners_next: _containers.RepeatedScalarFieldContainer[int]
    auto_leave: bool
    def __init__(self, voters: _Optional[_Iterable[int]] = ..., voters_outgoing: _Optional[_Iterable[int]] = ..., learners: _Optional[_Iterable[int]] = ..., learners_next: _Optional[_Iterable[int]] = ..., auto_leave: _Optional[bool] = ...) -> None: ...

class Snapshot(_message.Message):
    __slots__ = ("index", "term", "conf_state", "data")
    INDEX_FIELD_NUMBER: _ClassVar[int]
    TERM_FIELD_NUMBER: _ClassVar[int]
    CONF_STATE_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    index: int
    term: int
    conf_state: ConfState
    data: bytes
    def __init__(self, index: _Optional[int] = ..., term: _Optional[int] = ..., conf_state: _Optional[_Union[ConfState, _Mapping]] = ..., data: _Optional[bytes] = ...) -> None: ...

class ConfChange(_message.Message):
    __slots__ = ("kind", "node", "context")
    class Kind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        ADD_NODE: _ClassVar[ConfChange.Kind]
        REMOVE_NODE: _ClassVar[ConfChange.Kind]
        UPDATE_NODE: _ClassVar[ConfChange.Kind]
        ADD_LEARNER_NODE: _ClassVar[ConfChange.Kind]
    ADD_NODE: ConfChange.Kind
    REMOVE_NODE: ConfChange.Kind
    UPDATE_NODE: ConfChange.Kind
    ADD_LEARNER_NODE: ConfChange.Kind
    KIND_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    CONTEXT_FIELD_NUMBER: _ClassVar[int]
    kind: ConfChange.Kind
    node: int
    context: bytes
    def __init__(self, kind: _Optional[_Union[ConfChange.Kind, str]] = ..., node: _Optional[int] = ..., context: _Optional[bytes] = ...) -> None: ...

class ConfChangeV2(_message.Message):
    __slots__ = ("transition", "changes", "context")
    class Transition(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        AUTO: _ClassVar[ConfChangeV2.Transition]
        JOINT_IMPLICIT: _ClassVar[ConfChangeV2.Transition]
        JOINT_EXPLICIT: _ClassVar[ConfChangeV2.Transition]
    AUTO: ConfChangeV2.Transition
    JOINT_IMPLICIT: ConfChangeV2.Transition
    JOINT_EXPLICIT: ConfChangeV2.Transition
    class Change(_message.Message):
        __slots__ = ("kind", "node")
        KIND_FIELD_NUMBER: _ClassVar[int]
        NODE_FIELD_NUMBER: _ClassVar[int]
        kind: ConfChange.Kind
        node: int
        def __init__(self, kind: _Optional[_Union[ConfChange.Kind, str]] = ..., node: _Optional[int] = ...) -> None: ...
    TRANSITION_FIELD_NUMBER: _ClassVar[int]
    CHANGES_FIELD_NUMBER: _ClassVar[int]
    CONTEXT_FIELD_NUMBER: _ClassVar[int]
    transition: ConfChangeV2.Transition
    changes: _containers.RepeatedCompositeFieldContainer[ConfChangeV2.Change]
    context: bytes
    def __init__(self, transition: _Optional[_Union[ConfChangeV2.Transition, str]] = ..., changes: _Optional[_Iterable[_Union[ConfChangeV2.Change, _Mapping]]] = ..., context: _Optional[bytes] = ...) -> None: ...

class Message(_message.Message):
    __slots__ = ("type", "to", "sender", "term", "log_term", "index", "entries", "commit", "vote", "snapshot", "reject", "reject_hint", "context", "responses")
    class Type(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        HUP: _ClassVar[Message.Type]
        BEAT: _ClassVar[Message.Type]
        PROP: _ClassVar[Message.Type]
        APP: _ClassVar[Message.Type]
        APP_RESP: _ClassVar[Message.Type]
        VOTE: _ClassVar[Message.Type]
        VOTE_RESP: _ClassVar[Message.Type]
        SNAP: _ClassVar[Message.Type]
        HEARTBEAT: _ClassVar[Message.Type]
        HEARTBEAT_RESP: _ClassVar[Message.Type]
        UNREACHABLE: _ClassVar[Message.Type]
        SNAP_STATUS: _ClassVar[Message.Type]
        CHECK_QUORUM: _ClassVar[Message.Type]
        TRANSFER_LEADER: _ClassVar[Message.Type]
        TIMEOUT_NOW: _ClassVar[Message.Type]
        READ_INDEX: _ClassVar[Message.Type]
        READ_INDEX_RESP: _ClassVar[Message.Type]
        PRE_VOTE: _ClassVar[Message.Type]
        PRE_VOTE_RESP: _ClassVar[Message.Type]
        STORAGE_APPEND: _ClassVar[Message.Type]
        STORAGE_APPEND_RESP: _ClassVar[Message.Type]
        STORAGE_APPLY: _ClassVar[Message.Type]
        STORAGE_APPLY_RESP: _ClassVar[Message.Type]
        FORGET_LEADER: _ClassVar[Message.Type]
    HUP: Message.Type
    BEAT: Message.Type
    PROP: Message.Type
    APP: Message.Type
    APP_RESP: Message.Type
    VOTE: Message.Type
    VOTE_RESP: Message.Type
    SNAP: Message.Type
    HEARTBEAT: Message.Type
    HEARTBEAT_RESP: Message.Type
    UNREACHABLE: Message.Type
    SNAP_STATUS: Message.Type
    CHECK_QUORUM: Message.Type
    TRANSFER_LEADER: Message.Type
    TIMEOUT_NOW: Message.Type
    READ_INDEX: Message.Type
    READ_INDEX_RESP: Message.Type
    PRE_VOTE: Message.Type
    PRE_VOTE_RESP: Message.Type
    STORAGE_APPEND: Message.Type
    STORAGE_APPEND_RESP: Message.Type
    STORAGE_APPLY: Message.Type
    STORAGE_APPLY_RESP: Message.Type
    FORGET_LEADER: Message.Type
    TYPE_FIELD_NUMBER: _ClassVar[int]
    TO_FIELD_NUMBER: _ClassVar[int]
    SENDER_FIELD_NUMBER: _ClassVar[int]
    TERM_FIELD_NUMBER: _ClassVar[int]
    LOG_TERM_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    COMMIT_FIELD_NUMBER: _ClassVar[int]
    VOTE_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_FIELD_NUMBER: _ClassVar[int]
    REJECT_FIELD_NUMBER: _ClassVar[int]
    REJECT_HINT_FIELD_NUMBER: _ClassVar[int]
    CONTEXT_FIELD_NUMBER: _ClassVar[int]
    RESPONSES_FIELD_NUMBER: _ClassVar[int]
    type: Message.Type
    to: int
    sender: int
    term: int
    log_term: int
    index: int
    entries: _containers.RepeatedCompositeFieldContainer[Entry]
    commit: int
    vote: int
    snapshot: Snapshot
    reject: bool
    reject_hint: int
    context: bytes
    responses: _containers.RepeatedCompositeFieldContainer[Message]
    def __init__(self, type: _Optional[_Union[Message.Type, str]] = ..., to: _Optional[int] = ..., sender: _Optional[int] = ..., term: _Optional[int] = ..., log_term: _Optional[int] = ..., index: _Optional[int] = ..., entries: _Optional[_Iterable[_Union[Entry, _Mapping]]] = ..., commit: _Optional[int] = ..., vote: _Optional[int] = ..., snapshot: _Optional[_Union[Snapshot, _Mapping]] = ..., reject: _Optional[bool] = ..., reject_hint: _Optional[int] = ..., context: _Optional[bytes] = ..., responses: _Optional[_Iterable[_Union[Message, _Mapping]]] = ...) -> None: ...
