from recmesh.pb import item_info_pb2 as _item_info_pb2
from recmesh.pb import user_info_pb2 as _user_info_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class RankRequest(_message.Message):
    __slots__ = ("log_id", "user_info", "item_infos", "history", "release", "new_only", "item_ids", "size", "affinity", "ordered", "explain", "with_vectors")
    LOG_ID_FIELD_NUMBER: _ClassVar[int]
    USER_INFO_FIELD_NUMBER: _ClassVar[int]
    ITEM_INFOS_FIELD_NUMBER: _ClassVar[int]
    HISTORY_FIELD_NUMBER: _ClassVar[int]
    RELEASE_FIELD_NUMBER: _ClassVar[int]
    NEW_ONLY_FIELD_NUMBER: _ClassVar[int]
    ITEM_IDS_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    AFFINITY_FIELD_NUMBER: _ClassVar[int]
    ORDERED_FIELD_NUMBER: _ClassVar[int]
    EXPLAIN_FIELD_NUMBER: _ClassVar[int]
    WITH_VECTORS_FIELD_NUMBER: _ClassVar[int]
    log_id: int
    user_info: _user_info_pb2.UserInfo
    item_infos: _containers.RepeatedCompositeFieldContainer[_item_info_pb2.ItemInfo]
    history: _user_info_pb2.History
    release: str
    new_only: bool
    item_ids: _containers.RepeatedScalarFieldContainer[str]
    size: int
    affinity: bool
    ordered: bool
    explain: bool
    with_vectors: bool
    def __init__(self, log_id: _Optional[int] = ..., user_info: _Optional[_Union[_user_info_pb2.UserInfo, _Mapping]] = ..., item_infos: _Optional[_Iterable[_Union[_item_info_pb2.ItemInfo, _Mapping]]] = ..., history: _Optional[_Union[_user_info_pb2.History, _Mapping]] = ..., release: _Optional[str] = ..., new_only: bool = ..., item_ids: _Optional[_Iterable[str]] = ..., size: _Optional[int] = ..., affinity: bool = ..., ordered: bool = ..., explain: bool = ..., with_vectors: bool = ...) -> None: ...

class RankResponse(_message.Message):
    __slots__ = ("error", "score_pairs", "release", "degraded", "features", "vectors")
    class Error(_message.Message):
        __slots__ = ("code", "text")
        CODE_FIELD_NUMBER: _ClassVar[int]
        TEXT_FIELD_NUMBER: _ClassVar[int]
        code: int
        text: str
        def __init__(self, code: _Optional[int] = ..., text: _Optional[str] = ...) -> None: ...
    class ScorePair(_message.Message):
        __slots__ = ("nid", "score")
        NID_FIELD_NUMBER: _ClassVar[int]
        SCORE_FIELD_NUMBER: _ClassVar[int]
        nid: str
        score: float
        def __init__(self, nid: _Optional[str] = ..., score: _Optional[float] = ...) -> None: ...
    class FeatureGroup(_message.Message):
        __slots__ = ("group", "effects")
        GROUP_FIELD_NUMBER: _ClassVar[int]
        EFFECTS_FIELD_NUMBER: _ClassVar[int]
        group: str
        effects: _containers.RepeatedScalarFieldContainer[float]
        def __init__(self, group: _Optional[str] = ..., effects: _Optional[_Iterable[float]] = ...) -> None: ...
    ERROR_FIELD_NUMBER: _ClassVar[int]
    SCORE_PAIRS_FIELD_NUMBER: _ClassVar[int]
    RELEASE_FIELD_NUMBER: _ClassVar[int]
    DEGRADED_FIELD_NUMBER: _ClassVar[int]
    FEATURES_FIELD_NUMBER: _ClassVar[int]
    VECTORS_FIELD_NUMBER: _ClassVar[int]
    error: RankResponse.Error
    score_pairs: _containers.RepeatedCompositeFieldContainer[RankResponse.ScorePair]
    release: str
    degraded: _containers.RepeatedScalarFieldContainer[str]
    features: _containers.RepeatedCompositeFieldContainer[RankResponse.FeatureGroup]
    vectors: bytes
    def __init__(self, error: _Optional[_Union[RankResponse.Error, _Mapping]] = ..., score_pairs: _Optional[_Iterable[_Union[RankResponse.ScorePair, _Mapping]]] = ..., release: _Optional[str] = ..., degraded: _Optional[_Iterable[str]] = ..., features: _Optional[_Iterable[_Union[RankResponse.FeatureGroup, _Mapping]]] = ..., vectors: _Optional[bytes] = ...) -> None: ...
