"""A legacy client: it knows only the messages of the v0 contract.

    legacy_client.py GENERATED PORTS um ID
    legacy_client.py GENERATED PORTS cm ID[,ID]
    legacy_client.py GENERATED PORTS recall ID
    legacy_client.py GENERATED PORTS rank
    legacy_client.py GENERATED PORTS as ID
    legacy_client.py GENERATED PORTS as AGE SEX CITY_LEVEL PROVINCE CITY DISTRICT

GENERATED is the folder of the generated messages and stubs. PORTS is a JSON object that maps service names to ports.
The answer is printed as JSON.

The client runs in a process of its own because the full names of its messages are also those of recmesh.pb.
"""

import importlib
import json
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import grpc
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message

_, GENERATED, PORTS, COMMAND, *ARGUMENTS = sys.argv
PROFILE = ("age", "sex", "city_level", "province", "city", "country")


def messages(name: str) -> ModuleType:
    """The generated messages of a service."""
    return importlib.import_module(f"{name}_pb2")


def call(name: str, stub: str, method: str, request: Message) -> Any:
    """Call one method of a service on this machine."""
    stubs = importlib.import_module(f"{name}_pb2_grpc")
    with grpc.insecure_channel(f"127.0.0.1:{json.loads(PORTS)[name]}") as channel:
        return getattr(getattr(stubs, stub)(channel), method)(request)


def um(user_id: str) -> Any:
    """Look up a user."""
    return call("um", "UMServiceStub", "um_call", messages("um").UserModelRequest(user_id=user_id))


def cm(ids: str) -> Any:
    """Look up items, given as comma-separated ids."""
    return call("cm", "CMServiceStub", "cm_call", messages("cm").CMRequest(item_ids=ids.strip().split(",")))


def recall(user_id: str) -> Any:
    """Get candidates for a user, whose profile um provides."""
    request = messages("recall").RecallRequest()
    request.user_info.CopyFrom(um(user_id).user_info)
    return call("recall", "RecallServiceStub", "recall", request)


def rank() -> Any:
    """Score a fixed item for a fixed user."""
    request = messages("rank").RankRequest()
    request.user_info.user_id = "1"
    for field, value in zip(PROFILE, ("5.0", "1.0", "5.0", "20.0", "176.0", "1933.0"), strict=True):
        setattr(request.user_info, field, value)
    request.item_infos.add(sku_id="1", brand="3456", shopid="6980", cate="70")
    return call("rank", "RankServiceStub", "rank_predict", request)


def as_(*values: str) -> Any:
    """Get recommendations for a known user (one value: the id) or for a new user (six values: the profile)."""
    request = messages("as").ASRequest()
    if len(values) == 1:
        request.user_id = values[0]
    else:
        request.user_info.user_id = "0"
        for field, value in zip(PROFILE, values, strict=True):
            setattr(request.user_info, field, value)
    return call("as", "ASServiceStub", "as_call", request)


if __name__ == "__main__":
    sys.path.insert(0, GENERATED)
    commands: dict[str, Callable[..., Any]] = {"um": um, "cm": cm, "recall": recall, "rank": rank, "as": as_}
    print(json.dumps(MessageToDict(commands[COMMAND](*ARGUMENTS), preserving_proto_field_name=True)))
