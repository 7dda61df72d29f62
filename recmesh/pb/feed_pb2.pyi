from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Action(_message.Message):
    __slots__ = ("user_id", "sku_id", "time", "type", "value", "event_id")
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    SKU_ID_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    EVENT_ID_FIELD_NUMBER: _ClassVar[int]
    user_id: str
    sku_id: str
    time: int
    type: str
    value: float
    event_id: str
    def __init__(self, user_id: _Optional[str] = ..., sku_id: _Optional[str] = ..., time: _Optional[int] = ..., type: _Optional[str] = ..., value: _Optional[float] = ..., event_id: _Optional[str] = ...) -> None: ...

class UserUpdate(_message.Message):
    __slots__ = ("user_id", "fields")
    class FieldsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    FIELDS_FIELD_NUMBER: _ClassVar[int]
    user_id: str
    fields: _containers.ScalarMap[str, str]
    def __init__(self, user_id: _Optional[str] = ..., fields: _Optional[_Mapping[str, str]] = ...) -> None: ...

class ItemUpdate(_message.Message):
    __slots__ = ("sku_id", "fields")
    class FieldsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    SKU_ID_FIELD_NUMBER: _ClassVar[int]
    FIELDS_FIELD_NUMBER: _ClassVar[int]
    sku_id: str
    fields: _containers.ScalarMap[str, str]
    def __init__(self, sku_id: _Optional[str] = ..., fields: _Optional[_Mapping[str, str]] = ...) -> None: ...

class Rejected(_message.Message):
    __slots__ = ("position", "reason")
    POSITION_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    position: int
    reason: str
    def __init__(self, position: _Optional[int] = ..., reason: _Optional[str] = ...) -> None: ...

class RecordActionsRequest(_message.Message):
    __slots__ = ("log_id", "actions")
    LOG_ID_FIELD_NUMBER: _ClassVar[int]
    ACTIONS_FIELD_NUMBER: _ClassVar[int]
    log_id: int
    actions: _containers.RepeatedCompositeFieldContainer[Action]
    def __init__(self, log_id: _Optional[int] = ..., actions: _Optional[_Iterable[_Union[Action, _Mapping]]] = ...) -> None: ...

class PutUsersRequest(_message.Message):
    __slots__ = ("log_id", "users")
    LOG_ID_FIELD_NUMBER: _ClassVar[int]
    USERS_FIELD_NUMBER: _ClassVar[int]
    log_id: int
    users: _containers.RepeatedCompositeFieldContainer[UserUpdate]
    def __init__(self, log_id: _Optional[int] = ..., users: _Optional[_Iterable[_Union[UserUpdate, _Mapping]]] = ...) -> None: ...

class PutItemsRequest(_message.Message):
    __slots__ = ("log_id", "items")
    LOG_ID_FIELD_NUMBER: _ClassVar[int]
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    log_id: int
    items: _containers.RepeatedCompositeFieldContainer[ItemUpdate]
    def __init__(self, log_id: _Optional[int] = ..., items: _Optional[_Iterable[_Union[ItemUpdate, _Mapping]]] = ...) -> None: ...

class RemoveItemsRequest(_message.Message):
    __slots__ = ("log_id", "sku_ids")
    LOG_ID_FIELD_NUMBER: _ClassVar[int]
    SKU_IDS_FIELD_NUMBER: _ClassVar[int]
    log_id: int
    sku_ids: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, log_id: _Optional[int] = ..., sku_ids: _Optional[_Iterable[str]] = ...) -> None: ...

class SetAvailabilityRequest(_message.Message):
    __slots__ = ("log_id", "sku_ids", "available")
    LOG_ID_FIELD_NUMBER: _ClassVar[int]
    SKU_IDS_FIELD_NUMBER: _ClassVar[int]
    AVAILABLE_FIELD_NUMBER: _ClassVar[int]
    log_id: int
    sku_ids: _containers.RepeatedScalarFieldContainer[str]
    available: bool
    def __init__(self, log_id: _Optional[int] = ..., sku_ids: _Optional[_Iterable[str]] = ..., available: bool = ...) -> None: ...

class DeleteUserRequest(_message.Message):
    __slots__ = ("log_id", "user_id")
    LOG_ID_FIELD_NUMBER: _ClassVar[int]
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    log_id: int
    user_id: str
    def __init__(self, log_id: _Optional[int] = ..., user_id: _Optional[str] = ...) -> None: ...

class FeedResponse(_message.Message):
    __slots__ = ("error", "accepted", "repeated_entries", "rejected")
    class Error(_message.Message):
        __slots__ = ("code", "text")
        CODE_FIELD_NUMBER: _ClassVar[int]
        TEXT_FIELD_NUMBER: _ClassVar[int]
        code: int
        text: str
        def __init__(self, code: _Optional[int] = ..., text: _Optional[str] = ...) -> None: ...
    ERROR_FIELD_NUMBER: _ClassVar[int]
    ACCEPTED_FIELD_NUMBER: _ClassVar[int]
    REPEATED_ENTRIES_FIELD_NUMBER: _ClassVar[int]
    REJECTED_FIELD_NUMBER: _ClassVar[int]
    error: FeedResponse.Error
    accepted: int
    repeated_entries: int
    rejected: _containers.RepeatedCompositeFieldContainer[Rejected]
    def __init__(self, error: _Optional[_Union[FeedResponse.Error, _Mapping]] = ..., accepted: _Optional[int] = ..., repeated_entries: _Optional[int] = ..., rejected: _Optional[_Iterable[_Union[Rejected, _Mapping]]] = ...) -> None: ...
