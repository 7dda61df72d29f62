"""A client that knows nothing but the seed's messages. It runs in a process of its own: the names clash with ours.

    seed_client.py GENERATED PORTS um ID | cm ID,ID | recall ID | rank | as ID | as AGE SEX LEVEL PROVINCE CITY DISTRICT

GENERATED is the folder of the compiled messages, PORTS a JSON object. Prints the answer as JSON.
"""

import importlib
import json
import sys

import grpc
from google.protobuf.json_format import MessageToDict

sys.path.insert(0, sys.argv[1])
PORTS = json.loads(sys.argv[2])
PROFILE = ("age", "sex", "city_level", "province", "city", "country")


def messages(name):
    return importlib.import_module(f"{name}_pb2")


def call(name, stub, method, request):
    services = importlib.import_module(f"{name}_pb2_grpc")
    with grpc.insecure_channel(f"127.0.0.1:{PORTS[name]}") as channel:
        return getattr(getattr(services, stub)(channel), method)(request)


def um(user_id):
    return call("um", "UMServiceStub", "um_call", messages("um").UserModelRequest(user_id=user_id))


def cm(ids):
    return call("cm", "CMServiceStub", "cm_call", messages("cm").CMRequest(item_ids=ids.strip().split(",")))


def recall(user_id):
    request = messages("recall").RecallRequest()
    request.user_info.CopyFrom(um(user_id).user_info)
    return call("recall", "RecallServiceStub", "recall", request)


def rank():
    request = messages("rank").RankRequest()
    request.user_info.user_id = "1"
    for field, value in zip(PROFILE, ("5.0", "1.0", "5.0", "20.0", "176.0", "1933.0"), strict=True):
        setattr(request.user_info, field, value)
    request.item_infos.add(sku_id="1", brand="3456", shopid="6980", cate="70")
    return call("rank", "RankServiceStub", "rank_predict", request)


def as_(*values):
    request = messages("as").ASRequest()
    if len(values) == 1:
        request.user_id = values[0]
    else:
        request.user_info.user_id = "0"
        for field, value in zip(PROFILE, values, strict=True):
            setattr(request.user_info, field, value)
    return call("as", "ASServiceStub", "as_call", request)


command, *arguments = sys.argv[3:]
answer = {"um": um, "cm": cm, "recall": recall, "rank": rank, "as": as_}[command](*arguments)
print(json.dumps(MessageToDict(answer, preserving_proto_field_name=True)))
