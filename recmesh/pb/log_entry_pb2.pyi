from recmesh.pb import feed_pb2 as _feed_pb2
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class LogEntry(_message.Message):
    __slots__ = ("action", "put_user", "delete_user", "put_item", "remove_item", "show_item", "hide_item")
    ACTION_FIELD_NUMBER: _ClassVar[int]
    PUT_USER_FIELD_NUMBER: _ClassVar[int]
    DELETE_USER_FIELD_NUMBER: _ClassVar[int]
    PUT_ITEM_FIELD_NUMBER: _ClassVar[int]
    REMOVE_ITEM_FIELD_NUMBER: _ClassVar[int]
    SHOW_ITEM_FIELD_NUMBER: _ClassVar[int]
    HIDE_ITEM_FIELD_NUMBER: _ClassVar[int]
    action: _feed_pb2.Action
    put_user: _feed_pb2.UserUpdate
    delete_user: str
    put_item: _feed_pb2.ItemUpdate
    remove_item: str
    show_item: str
    hide_item: str
    def __init__(self, action: _Optional[_Union[_feed_pb2.Action, _Mapping]] = ..., put_user: _Optional[_Union[_feed_pb2.UserUpdate, _Mapping]] = ..., delete_user: _Optional[str] = ..., put_item: _Optional[_Union[_feed_pb2.ItemUpdate, _Mapping]] = ..., remove_item: _Optional[str] = ..., show_item: _Optional[str] = ..., hide_item: _Optional[str] = ...) -> None: ...
