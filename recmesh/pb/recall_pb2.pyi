from recmesh.pb import filter_pb2 as _filter_pb2
from recmesh.pb import user_info_pb2 as _user_info_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class RecallRequest(_message.Message):
    __slots__ = ("log_id", "user_info", "recall_type", "request_num", "history", "exclude_ids", "new_only", "release", "columnar", "explain", "filter", "scenario", "context_ids")
    LOG_ID_FIELD_NUMBER: _ClassVar[int]
    USER_INFO_FIELD_NUMBER: _ClassVar[int]
    RECALL_TYPE_FIELD_NUMBER: _ClassVar[int]
    REQUEST_NUM_FIELD_NUMBER: _ClassVar[int]
    HISTORY_FIELD_NUMBER: _ClassVar[int]
    EXCLUDE_IDS_FIELD_NUMBER: _ClassVar[int]
    NEW_ONLY_FIELD_NUMBER: _ClassVar[int]
    RELEASE_FIELD_NUMBER: _ClassVar[int]
    COLUMNAR_FIELD_NUMBER: _ClassVar[int]
    EXPLAIN_FIELD_NUMBER: _ClassVar[int]
    FILTER_FIELD_NUMBER: _ClassVar[int]
    SCENARIO_FIELD_NUMBER: _ClassVar[int]
    CONTEXT_IDS_FIELD_NUMBER: _ClassVar[int]
    log_id: int
    user_info: _user_info_pb2.UserInfo
    recall_type: str
    request_num: int
    history: _user_info_pb2.History
    exclude_ids: _containers.RepeatedScalarFieldContainer[str]
    new_only: bool
    release: str
    columnar: bool
    explain: bool
    filter: _filter_pb2.Filter
    scenario: str
    context_ids: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, log_id: _Optional[int] = ..., user_info: _Optional[_Union[_user_info_pb2.UserInfo, _Mapping]] = ..., recall_type: _Optional[str] = ..., request_num: _Optional[int] = ..., history: _Optional[_Union[_user_info_pb2.History, _Mapping]] = ..., exclude_ids: _Optional[_Iterable[str]] = ..., new_only: bool = ..., release: _Optional[str] = ..., columnar: bool = ..., explain: bool = ..., filter: _Optional[_Union[_filter_pb2.Filter, _Mapping]] = ..., scenario: _Optional[str] = ..., context_ids: _Optional[_Iterable[str]] = ...) -> None: ...

class RecallResponse(_message.Message):
    __slots__ = ("error", "score_pairs", "release", "degraded", "channels", "candidates", "unlisted_ids", "new_only", "missing", "now", "separators")
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
    class Channel(_message.Message):
        __slots__ = ("name", "positions", "scores")
        NAME_FIELD_NUMBER: _ClassVar[int]
        POSITIONS_FIELD_NUMBER: _ClassVar[int]
        SCORES_FIELD_NUMBER: _ClassVar[int]
        name: str
        positions: _containers.RepeatedScalarFieldContainer[int]
        scores: _containers.RepeatedScalarFieldContainer[float]
        def __init__(self, name: _Optional[str] = ..., positions: _Optional[_Iterable[int]] = ..., scores: _Optional[_Iterable[float]] = ...) -> None: ...
    class Candidates(_message.Message):
        __slots__ = ("ids", "scores")
        IDS_FIELD_NUMBER: _ClassVar[int]
        SCORES_FIELD_NUMBER: _ClassVar[int]
        ids: _containers.RepeatedScalarFieldContainer[str]
        scores: _containers.RepeatedScalarFieldContainer[float]
        def __init__(self, ids: _Optional[_Iterable[str]] = ..., scores: _Optional[_Iterable[float]] = ...) -> None: ...
    class SeparatorsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    ERROR_FIELD_NUMBER: _ClassVar[int]
    SCORE_PAIRS_FIELD_NUMBER: _ClassVar[int]
    RELEASE_FIELD_NUMBER: _ClassVar[int]
    DEGRADED_FIELD_NUMBER: _ClassVar[int]
    CHANNELS_FIELD_NUMBER: _ClassVar[int]
    CANDIDATES_FIELD_NUMBER: _ClassVar[int]
    UNLISTED_IDS_FIELD_NUMBER: _ClassVar[int]
    NEW_ONLY_FIELD_NUMBER: _ClassVar[int]
    MISSING_FIELD_NUMBER: _ClassVar[int]
    NOW_FIELD_NUMBER: _ClassVar[int]
    SEPARATORS_FIELD_NUMBER: _ClassVar[int]
    error: RecallResponse.Error
    score_pairs: _containers.RepeatedCompositeFieldContainer[RecallResponse.ScorePair]
    release: str
    degraded: _containers.RepeatedScalarFieldContainer[str]
    channels: _containers.RepeatedCompositeFieldContainer[RecallResponse.Channel]
    candidates: RecallResponse.Candidates
    unlisted_ids: _containers.RepeatedScalarFieldContainer[str]
    new_only: bool
    missing: _containers.RepeatedScalarFieldContainer[str]
    now: int
    separators: _containers.ScalarMap[str, str]
    def __init__(self, error: _Optional[_Union[RecallResponse.Error, _Mapping]] = ..., score_pairs: _Optional[_Iterable[_Union[RecallResponse.ScorePair, _Mapping]]] = ..., release: _Optional[str] = ..., degraded: _Optional[_Iterable[str]] = ..., channels: _Optional[_Iterable[_Union[RecallResponse.Channel, _Mapping]]] = ..., candidates: _Optional[_Union[RecallResponse.Candidates, _Mapping]] = ..., unlisted_ids: _Optional[_Iterable[str]] = ..., new_only: bool = ..., missing: _Optional[_Iterable[str]] = ..., now: _Optional[int] = ..., separators: _Optional[_Mapping[str, str]] = ...) -> None: ...
