"""The facts of the wire contract agree with the protos, and URLs are masked."""

from typing import get_args

import pytest
from google.protobuf.descriptor import FileDescriptor

from recmesh import contract
from recmesh.contract import ServiceName, without_credentials
from recmesh.pb import as_pb2, cm_pb2, feed_pb2, rank_pb2, recall_pb2, um_pb2
from recmesh.pb.item_info_pb2 import ItemInfo
from recmesh.pb.user_info_pb2 import UserInfo

READING: dict[ServiceName, FileDescriptor] = {
    "um": um_pb2.DESCRIPTOR,
    "cm": cm_pb2.DESCRIPTOR,
    "recall": recall_pb2.DESCRIPTOR,
    "rank": rank_pb2.DESCRIPTOR,
    "as": as_pb2.DESCRIPTOR,
}


def paths_of(file: FileDescriptor) -> dict[str, str]:
    (service,) = file.services_by_name.values()
    return {method.name: f"/{service.full_name}/{method.name}" for method in service.methods}


def test_method_paths_are_those_of_the_protos() -> None:
    only: dict[str, str] = {service: path for service, file in READING.items() for path in paths_of(file).values()}
    assert only | paths_of(feed_pb2.DESCRIPTOR) == contract.METHOD_PATHS


def test_every_service_has_a_port_of_its_own() -> None:
    assert set(contract.PORTS) == set(get_args(ServiceName)) == {*READING, "feed"}
    assert len(set(contract.PORTS.values())) == len(contract.PORTS)


def test_fields_have_the_numbers_of_the_protos() -> None:
    user, item = UserInfo.DESCRIPTOR.fields_by_name, ItemInfo.DESCRIPTOR.fields_by_name

    assert item["rank_score"].number == contract.RANK_SCORE_FIELD
    assert [user[name].number for name in contract.USER_FIELDS] == [2, 3, 4, 5, 6, 7]
    assert [item[name].number for name in contract.ITEM_FIELDS] == [2, 3, 4]
    assert user["attributes"].number >= contract.FIRST_ADDED_FIELD


@pytest.mark.parametrize(
    ("url", "masked"),
    [
        ("redis://:sesame@host:6379/0", "redis://***@host:6379/0"),
        ("redis://user:sesame@host:6379/0", "redis://***@host:6379/0"),
        ("https://user:a@b@host", "https://***@host"),
        ("redis://host:6379/0", "redis://host:6379/0"),
        ("s3://bucket/folder@home", "s3://bucket/folder@home"),
        (".recmesh/store", ".recmesh/store"),
        ("http://[broken:sesame@host", "http://***@host"),
        ("redis://:se://same@host", "redis://***@host"),
        ("http://root:p%40ss@[::1]:19530/shop", "http://***@[::1]:19530/shop"),
        ("http://root:un/es@caped@host:19530", "http://***@host:19530"),
        ("user:sesame@host:19530", "***@host:19530"),
        (".recmesh/milvus@2.db", ".recmesh/milvus@2.db"),
        ("redis://host:6379/0?db=1&password=sesame&x=y", "redis://host:6379/0?db=1&password=***"),
        ("redis://host:6379/0?username=shop&password=ses/a@me", "redis://host:6379/0?username=***"),
        ("", ""),
    ],
)
def test_credentials_are_masked(url: str, masked: str) -> None:
    assert without_credentials(url) == masked
