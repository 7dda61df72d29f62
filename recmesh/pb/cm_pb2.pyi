from recmesh.pb import item_info_pb2 as _item_info_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class CMRequest(_message.Message):
    __slots__ = ("log_id", "item_ids")
    LOG_ID_FIELD_NUMBER: _ClassVar[int]
    ITEM_IDS_FIELD_NUMBER: _ClassVar[int]
    log_id: int
    item_ids: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, log_id: _Optional[int] = ..., item_ids: _Optional[_Iterable[str]] = ...) -> None: ...

class CMResponse(_message.Message):
    __slots__ = ("error", "item_infos", "missing_ids")
    class Error(_message.Message):
        __slots__ = ("code", "text")
        CODE_FIELD_NUMBER: _ClassVar[int]
        TEXT_FIELD_NUMBER: _ClassVar[int]
        code: int
        text: str
        def __init__(self, code: _Optional[int] = ..., text: _Optional[str] = ...) -> None: ...
    ERROR_FIELD_NUMBER: _ClassVar[int]
    ITEM_INFOS_FIELD_NUMBER: _ClassVar[int]
    MISSING_IDS_FIELD_NUMBER: _ClassVar[int]
    error: CMResponse.Error
    item_infos: _containers.RepeatedCompositeFieldContainer[_item_info_pb2.ItemInfo]
    missing_ids: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, error: _Optional[_Union[CMResponse.Error, _Mapping]] = ..., item_infos: _Optional[_Iterable[_Union[_item_info_pb2.ItemInfo, _Mapping]]] = ..., missing_ids: _Optional[_Iterable[str]] = ...) -> None: ...
