from recmesh.pb import item_info_pb2 as _item_info_pb2
from recmesh.pb import user_info_pb2 as _user_info_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ASRequest(_message.Message):
    __slots__ = ("log_id", "user_id", "user_info", "size", "exclude_ids", "new_only", "explain", "history")
    LOG_ID_FIELD_NUMBER: _ClassVar[int]
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    USER_INFO_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    EXCLUDE_IDS_FIELD_NUMBER: _ClassVar[int]
    NEW_ONLY_FIELD_NUMBER: _ClassVar[int]
    EXPLAIN_FIELD_NUMBER: _ClassVar[int]
    HISTORY_FIELD_NUMBER: _ClassVar[int]
    log_id: int
    user_id: str
    user_info: _user_info_pb2.UserInfo
    size: int
    exclude_ids: _containers.RepeatedScalarFieldContainer[str]
    new_only: bool
    explain: bool
    history: _user_info_pb2.History
    def __init__(self, log_id: _Optional[int] = ..., user_id: _Optional[str] = ..., user_info: _Optional[_Union[_user_info_pb2.UserInfo, _Mapping]] = ..., size: _Optional[int] = ..., exclude_ids: _Optional[_Iterable[str]] = ..., new_only: bool = ..., explain: bool = ..., history: _Optional[_Union[_user_info_pb2.History, _Mapping]] = ...) -> None: ...

class ASResponse(_message.Message):
    __slots__ = ("error", "item_infos", "release", "degraded", "reasons", "unknown_user")
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
    class Reason(_message.Message):
        __slots__ = ("sku_id", "channels")
        SKU_ID_FIELD_NUMBER: _ClassVar[int]
        CHANNELS_FIELD_NUMBER: _ClassVar[int]
        sku_id: str
        channels: _containers.RepeatedCompositeFieldContainer[ASResponse.ChannelScore]
        def __init__(self, sku_id: _Optional[str] = ..., channels: _Optional[_Iterable[_Union[ASResponse.ChannelScore, _Mapping]]] = ...) -> None: ...
    ERROR_FIELD_NUMBER: _ClassVar[int]
    ITEM_INFOS_FIELD_NUMBER: _ClassVar[int]
    RELEASE_FIELD_NUMBER: _ClassVar[int]
    DEGRADED_FIELD_NUMBER: _ClassVar[int]
    REASONS_FIELD_NUMBER: _ClassVar[int]
    UNKNOWN_USER_FIELD_NUMBER: _ClassVar[int]
    error: ASResponse.Error
    item_infos: _containers.RepeatedCompositeFieldContainer[_item_info_pb2.ItemInfo]
    release: str
    degraded: _containers.RepeatedScalarFieldContainer[str]
    reasons: _containers.RepeatedCompositeFieldContainer[ASResponse.Reason]
    unknown_user: bool
    def __init__(self, error: _Optional[_Union[ASResponse.Error, _Mapping]] = ..., item_infos: _Optional[_Iterable[_Union[_item_info_pb2.ItemInfo, _Mapping]]] = ..., release: _Optional[str] = ..., degraded: _Optional[_Iterable[str]] = ..., reasons: _Optional[_Iterable[_Union[ASResponse.Reason, _Mapping]]] = ..., unknown_user: bool = ...) -> None: ...
