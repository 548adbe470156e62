from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class KeyValue(_message.Message):
    __slots__ = ("key", "create_revision", "mod_revision", "value")
    KEY_FIELD_NUMBER: _ClassVar[int]
    CREATE_REVISION_FIELD_NUMBER: _ClassVar[int]
    MOD_REVISION_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    key: bytes
    create_revision: int
    mod_revision: int
    value: bytes
    def __init__(self, key: _Optional[bytes] = ..., create_revision: _Optional[int] = ..., mod_revision: _Optional[int] = ..., value: _Optional[bytes] = ...) -> None: ...

class Command(_message.Message):
    __slots__ = ("table", "type", "kv", "leader_index", "batch", "txn", "range_end", "prev_kvs", "sequence", "count", "source")
    class CommandType(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        PUT: _ClassVar[Command.CommandType]
        DELETE: _ClassVar[Command.CommandType]
        DUMMY: _ClassVar[Command.CommandType]
        PUT_BATCH: _ClassVar[Command.CommandType]
        DELETE_BATCH: _ClassVar[Command.CommandType]
        TXN: _ClassVar[Command.CommandType]
        SEQUENCE: _ClassVar[Command.CommandType]
    PUT: Command.CommandType
    DELETE: Command.CommandType
    DUMMY: Command.CommandType
    PUT_BATCH: Command.CommandType
    DELETE_BATCH: Command.CommandType
    TXN: Command.CommandType
    SEQUENCE: Command.CommandType
    class Source(_message.Message):
        __slots__ = ("topic", "partition", "previous", "next", "skipped", "topic_id")
        TOPIC_FIELD_NUMBER: _ClassVar[int]
        PARTITION_FIELD_NUMBER: _ClassVar[int]
        PREVIOUS_FIELD_NUMBER: _ClassVar[int]
        NEXT_FIELD_NUMBER: _ClassVar[int]
        SKIPPED_FIELD_NUMBER: _ClassVar[int]
        TOPIC_ID_FIELD_NUMBER: _ClassVar[int]
        topic: str
        partition: int
        previous: int
        next: int
        skipped: int
        topic_id: bytes
        def __init__(self, topic: _Optional[str] = ..., partition: _Optional[int] = ..., previous: _Optional[int] = ..., next: _Optional[int] = ..., skipped: _Optional[int] = ..., topic_id: _Optional[bytes] = ...) -> None: ...
    TABLE_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    KV_FIELD_NUMBER: _ClassVar[int]
    LEADER_INDEX_FIELD_NUMBER: _ClassVar[int]
    BATCH_FIELD_NUMBER: _ClassVar[int]
    TXN_FIELD_NUMBER: _ClassVar[int]
    RANGE_END_FIELD_NUMBER: _ClassVar[int]
    PREV_KVS_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    table: bytes
    type: Command.CommandType
    kv: KeyValue
    leader_index: int
    batch: _containers.RepeatedCompositeFieldContainer[KeyValue]
    txn: Txn
    range_end: bytes
    prev_kvs: bool
    sequence: _containers.RepeatedCompositeFieldContainer[Command]
    count: bool
    source: Command.Source
    def __init__(self, table: _Optional[bytes] = ..., type: _Optional[_Union[Command.CommandType, str]] = ..., kv: _Optional[_Union[KeyValue, _Mapping]] = ..., leader_index: _Optional[int] = ..., batch: _Optional[_Iterable[_Union[KeyValue, _Mapping]]] = ..., txn: _Optional[_Union[Txn, _Mapping]] = ..., range_end: _Optional[bytes] = ..., prev_kvs: _Optional[bool] = ..., sequence: _Optional[_Iterable[_Union[Command, _Mapping]]] = ..., count: _Optional[bool] = ..., source: _Optional[_Union[Command.Source, _Mapping]] = ...) -> None: ...

class CommandResult(_message.Message):
    __slots__ = ("responses", "revision")
    RESPONSES_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    responses: _containers.RepeatedCompositeFieldContainer[ResponseOp]
    revision: int
    def __init__(self, responses: _Optional[_Iterable[_Union[ResponseOp, _Mapping]]] = ..., revision: _Optional[int] = ...) -> None: ...

class Txn(_message.Message):
    __slots__ = ("compare", "success", "failure")
    COMPARE_FIELD_NUMBER: _ClassVar[int]
    SUCCESS_FIELD_NUMBER: _ClassVar[int]
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    compare: _containers.RepeatedCompositeFieldContainer[Compare]
    success: _containers.RepeatedCompositeFieldContainer[RequestOp]
    failure: _containers.RepeatedCompositeFieldContainer[RequestOp]
    def __init__(self, compare: _Optional[_Iterable[_Union[Compare, _Mapping]]] = ..., success: _Optional[_Iterable[_Union[RequestOp, _Mapping]]] = ..., failure: _Optional[_Iterable[_Union[RequestOp, _Mapping]]] = ...) -> None: ...

class RequestOp(_message.Message):
    __slots__ = ("request_range", "request_put", "request_delete_range")
    class Range(_message.Message):
        __slots__ = ("key", "range_end", "limit", "keys_only", "count_only")
        KEY_FIELD_NUMBER: _ClassVar[int]
        RANGE_END_FIELD_NUMBER: _ClassVar[int]
        LIMIT_FIELD_NUMBER: _ClassVar[int]
        KEYS_ONLY_FIELD_NUMBER: _ClassVar[int]
        COUNT_ONLY_FIELD_NUMBER: _ClassVar[int]
        key: bytes
        range_end: bytes
        limit: int
        keys_only: bool
        count_only: bool
        def __init__(self, key: _Optional[bytes] = ..., range_end: _Optional[bytes] = ..., limit: _Optional[int] = ..., keys_only: _Optional[bool] = ..., count_only: _Optional[bool] = ...) -> None: ...
    class Put(_message.Message):
        __slots__ = ("key", "value", "prev_kv")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        PREV_KV_FIELD_NUMBER: _ClassVar[int]
        key: bytes
        value: bytes
        prev_kv: bool
        def __init__(self, key: _Optional[bytes] = ..., value: _Optional[bytes] = ..., prev_kv: _Optional[bool] = ...) -> None: ...
    class DeleteRange(_message.Message):
        __slots__ = ("key", "range_end", "prev_kv", "count")
        KEY_FIELD_NUMBER: _ClassVar[int]
        RANGE_END_FIELD_NUMBER: _ClassVar[int]
        PREV_KV_FIELD_NUMBER: _ClassVar[int]
        COUNT_FIELD_NUMBER: _ClassVar[int]
        key: bytes
        range_end: bytes
        prev_kv: bool
        count: bool
        def __init__(self, key: _Optional[bytes] = ..., range_end: _Optional[bytes] = ..., prev_kv: _Optional[bool] = ..., count: _Optional[bool] = ...) -> None: ...
    REQUEST_RANGE_FIELD_NUMBER: _ClassVar[int]
    REQUEST_PUT_FIELD_NUMBER: _ClassVar[int]
    REQUEST_DELETE_RANGE_FIELD_NUMBER: _ClassVar[int]
    request_range: RequestOp.Range
    request_put: RequestOp.Put
    request_delete_range: RequestOp.DeleteRange
    def __init__(self, request_range: _Optional[_Union[RequestOp.Range, _Mapping]] = ..., request_put: _Optional[_Union[RequestOp.Put, _Mapping]] = ..., request_delete_range: _Optional[_Union[RequestOp.DeleteRange, _Mapping]] = ...) -> None: ...

class ResponseOp(_message.Message):
    __slots__ = ("response_range", "response_put", "response_delete_range")
    class Range(_message.Message):
        __slots__ = ("kvs", "more", "count")
        KVS_FIELD_NUMBER: _ClassVar[int]
        MORE_FIELD_NUMBER: _ClassVar[int]
        COUNT_FIELD_NUMBER: _ClassVar[int]
        kvs: _containers.RepeatedCompositeFieldContainer[KeyValue]
        more: bool
        count: int
        def __init__(self, kvs: _Optional[_Iterable[_Union[KeyValue, _Mapping]]] = ..., more: _Optional[bool] = ..., count: _Optional[int] = ...) -> None: ...
    class Put(_message.Message):
        __slots__ = ("prev_kv",)
        PREV_KV_FIELD_NUMBER: _ClassVar[int]
        prev_kv: KeyValue
        def __init__(self, prev_kv: _Optional[_Union[KeyValue, _Mapping]] = ...) -> None: ...
    class DeleteRange(_message.Message):
        __slots__ = ("deleted", "prev_kvs")
        DELETED_FIELD_NUMBER: _ClassVar[int]
        PREV_KVS_FIELD_NUMBER: _ClassVar[int]
        deleted: int
        prev_kvs: _containers.RepeatedCompositeFieldContainer[KeyValue]
        def __init__(self, deleted: _Optional[int] = ..., prev_kvs: _Optional[_Iterable[_Union[KeyValue, _Mapping]]] = ...) -> None: ...
    RESPONSE_RANGE_FIELD_NUMBER: _ClassVar[int]
    RESPONSE_PUT_FIELD_NUMBER: _ClassVar[int]
    RESPONSE_DELETE_RANGE_FIELD_NUMBER: _ClassVar[int]
    response_range: ResponseOp.Range
    response_put: ResponseOp.Put
    response_delete_range: ResponseOp.DeleteRange
    def __init__(self, response_range: _Optional[_Union[ResponseOp.Range, _Mapping]] = ..., response_put: _Optional[_Union[ResponseOp.Put, _Mapping]] = ..., response_delete_range: _Optional[_Union[ResponseOp.DeleteRange, _Mapping]] = ...) -> None: ...

class Compare(_message.Message):
    __slots__ = ("result", "target", "key", "value", "range_end")
    class CompareResult(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        EQUAL: _ClassVar[Compare.CompareResult]
        GREATER: _ClassVar[Compare.CompareResult]
        LESS: _ClassVar[Compare.CompareResult]
        NOT_EQUAL: _ClassVar[Compare.CompareResult]
    EQUAL: Compare.CompareResult
    GREATER: Compare.CompareResult
    LESS: Compare.CompareResult
    NOT_EQUAL: Compare.CompareResult
    class CompareTarget(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        VALUE: _ClassVar[Compare.CompareTarget]
    VALUE: Compare.CompareTarget
    RESULT_FIELD_NUMBER: _ClassVar[int]
    TARGET_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    RANGE_END_FIELD_NUMBER: _ClassVar[int]
    result: Compare.CompareResult
    target: Compare.CompareTarget
    key: bytes
    value: bytes
    range_end: bytes
    def __init__(self, result: _Optional[_Union[Compare.CompareResult, str]] = ..., target: _Optional[_Union[Compare.CompareTarget, str]] = ..., key: _Optional[bytes] = ..., value: _Optional[bytes] = ..., range_end: _Optional[bytes] = ...) -> None: ...
