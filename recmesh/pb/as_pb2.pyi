from recmesh.pb import filter_pb2 as _filter_pb2
from recmesh.pb import item_info_pb2 as _item_info_pb2
from recmesh.pb import user_info_pb2 as _user_info_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ASRequest(_message.Message):
    __slots__ = ("log_id", "user_id", "user_info", "size", "exclude_ids", "new_only", "explain", "history", "filter", "scenario", "context_ids", "paged", "cursor", "explain_missing")
    LOG_ID_FIELD_NUMBER: _ClassVar[int]
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    USER_INFO_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    EXCLUDE_IDS_FIELD_NUMBER: _ClassVar[int]
    NEW_ONLY_FIELD_NUMBER: _ClassVar[int]
    EXPLAIN_FIELD_NUMBER: _ClassVar[int]
    HISTORY_FIELD_NUMBER: _ClassVar[int]
    FILTER_FIELD_NUMBER: _ClassVar[int]
    SCENARIO_FIELD_NUMBER: _ClassVar[int]
    CONTEXT_IDS_FIELD_NUMBER: _ClassVar[int]
    PAGED_FIELD_NUMBER: _ClassVar[int]
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    EXPLAIN_MISSING_FIELD_NUMBER: _ClassVar[int]
    log_id: int
    user_id: str
    user_info: _user_info_pb2.UserInfo
    size: int
    exclude_ids: _containers.RepeatedScalarFieldContainer[str]
    new_only: bool
    explain: bool
    history: _user_info_pb2.History
    filter: _filter_pb2.Filter
    scenario: str
    context_ids: _containers.RepeatedScalarFieldContainer[str]
    paged: bool
    cursor: str
    explain_missing: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, log_id: _Optional[int] = ..., user_id: _Optional[str] = ..., user_info: _Optional[_Union[_user_info_pb2.UserInfo, _Mapping]] = ..., size: _Optional[int] = ..., exclude_ids: _Optional[_Iterable[str]] = ..., new_only: bool = ..., explain: bool = ..., history: _Optional[_Union[_user_info_pb2.History, _Mapping]] = ..., filter: _Optional[_Union[_filter_pb2.Filter, _Mapping]] = ..., scenario: _Optional[str] = ..., context_ids: _Optional[_Iterable[str]] = ..., paged: bool = ..., cursor: _Optional[str] = ..., explain_missing: _Optional[_Iterable[str]] = ...) -> None: ...

class ASResponse(_message.Message):
    __slots__ = ("error", "item_infos", "release", "degraded", "reasons", "unknown_user", "next_cursor", "missing")
    class Error(_message.Message):
        __slots__ = ("code", "text")
        CODE_FIELD_NUMBER: _ClassVar[int]
        TEXT_FIELD_NUMBER: _ClassVar[int]
        code: int
        text: str
        def __init__(self, code: _Optional[int] = ..., text: _Optional[str] = ...) -> None: ...
    class ChannelScore(_message.Message):
        __slots__ = ("channel", "score")
        CHANNEL_FIELD_NUMBER: _ClassVar[int]
        SCORE_FIELD_NUMBER: _ClassVar[int]
        channel: str
        score: float
        def __init__(self, channel: _Optional[str] = ..., score: _Optional[float] = ...) -> None: ...
    class FeatureEffect(_message.Message):
        __slots__ = ("group", "effect")
        GROUP_FIELD_NUMBER: _ClassVar[int]
        EFFECT_FIELD_NUMBER: _ClassVar[int]
        group: str
        effect: float
        def __init__(self, group: _Optional[str] = ..., effect: _Optional[float] = ...) -> None: ...
    class Reason(_message.Message):
        __slots__ = ("sku_id", "channels", "features", "rules")
        SKU_ID_FIELD_NUMBER: _ClassVar[int]
        CHANNELS_FIELD_NUMBER: _ClassVar[int]
        FEATURES_FIELD_NUMBER: _ClassVar[int]
        RULES_FIELD_NUMBER: _ClassVar[int]
        sku_id: str
        channels: _containers.RepeatedCompositeFieldContainer[ASResponse.ChannelScore]
        features: _containers.RepeatedCompositeFieldContainer[ASResponse.FeatureEffect]
        rules: _containers.RepeatedScalarFieldContainer[str]
        def __init__(self, sku_id: _Optional[str] = ..., channels: _Optional[_Iterable[_Union[ASResponse.ChannelScore, _Mapping]]] = ..., features: _Optional[_Iterable[_Union[ASResponse.FeatureEffect, _Mapping]]] = ..., rules: _Optional[_Iterable[str]] = ...) -> None: ...
    class Missing(_message.Message):
        __slots__ = ("sku_id", "reason", "text")
        SKU_ID_FIELD_NUMBER: _ClassVar[int]
        REASON_FIELD_NUMBER: _ClassVar[int]
        TEXT_FIELD_NUMBER: _ClassVar[int]
        sku_id: str
        reason: str
        text: str
        def __init__(self, sku_id: _Optional[str] = ..., reason: _Optional[str] = ..., text: _Optional[str] = ...) -> None: ...
    ERROR_FIELD_NUMBER: _ClassVar[int]
    ITEM_INFOS_FIELD_NUMBER: _ClassVar[int]
    RELEASE_FIELD_NUMBER: _ClassVar[int]
    DEGRADED_FIELD_NUMBER: _ClassVar[int]
    REASONS_FIELD_NUMBER: _ClassVar[int]
    UNKNOWN_USER_FIELD_NUMBER: _ClassVar[int]
    NEXT_CURSOR_FIELD_NUMBER: _ClassVar[int]
    MISSING_FIELD_NUMBER: _ClassVar[int]
    error: ASResponse.Error
    item_infos: _containers.RepeatedCompositeFieldContainer[_item_info_pb2.ItemInfo]
    release: str
    degraded: _containers.RepeatedScalarFieldContainer[str]
    reasons: _containers.RepeatedCompositeFieldContainer[ASResponse.Reason]
    unknown_user: bool
    next_cursor: str
    missing: _containers.RepeatedCompositeFieldContainer[ASResponse.Missing]
    def __init__(self, error: _Optional[_Union[ASResponse.Error, _Mapping]] = ..., item_infos: _Optional[_Iterable[_Union[_item_info_pb2.ItemInfo, _Mapping]]] = ..., release: _Optional[str] = ..., degraded: _Optional[_Iterable[str]] = ..., reasons: _Optional[_Iterable[_Union[ASResponse.Reason, _Mapping]]] = ..., unknown_user: bool = ..., next_cursor: _Optional[str] = ..., missing: _Optional[_Iterable[_Union[ASResponse.Missing, _Mapping]]] = ...) -> None: ...
