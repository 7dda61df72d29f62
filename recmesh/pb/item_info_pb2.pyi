from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Mapping as _Mapping, Optional as _Optional

DESCRIPTOR: _descriptor.FileDescriptor

class ItemInfo(_message.Message):
    __slots__ = ("sku_id", "brand", "shopid", "cate", "rank_score", "attributes")
    class AttributesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    SKU_ID_FIELD_NUMBER: _ClassVar[int]
    BRAND_FIELD_NUMBER: _ClassVar[int]
    SHOPID_FIELD_NUMBER: _ClassVar[int]
    CATE_FIELD_NUMBER: _ClassVar[int]
    RANK_SCORE_FIELD_NUMBER: _ClassVar[int]
    ATTRIBUTES_FIELD_NUMBER: _ClassVar[int]
    sku_id: str
    brand: str
    shopid: str
    cate: str
    rank_score: float
    attributes: _containers.ScalarMap[str, str]
    def __init__(self, sku_id: _Optional[str] = ..., brand: _Optional[str] = ..., shopid: _Optional[str] = ..., cate: _Optional[str] = ..., rank_score: _Optional[float] = ..., attributes: _Optional[_Mapping[str, str]] = ...) -> None: ...
