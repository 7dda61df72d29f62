"""A user's program: `python_client.py TARGET USER_ID`, run with other versions of grpcio and protobuf than .venv has.

It reads a JSON object of serialized messages from stdin: hexadecimal texts, keyed by module and class. It parses them,
calls `as` through recmesh.client and through the generated stub, and prints the results as a JSON object.
"""

import asyncio
import importlib
import json
import sys

import google.protobuf
import grpc

from recmesh.client import Action, Item, Mesh, Recorded, Targets
from recmesh.client.testing import FakeMesh
from recmesh.pb.as_pb2 import ASRequest
from recmesh.pb.as_pb2_grpc import ASServiceStub

_, TARGET, USER_ID = sys.argv


def reserialize(name: str, serialized: str) -> str:
    """Parse a message, drop what was not understood, and serialize the rest."""
    module, message_class = name.split(".")
    message = getattr(importlib.import_module(f"recmesh.pb.{module}"), message_class).FromString(
        bytes.fromhex(serialized)
    )
    message.DiscardUnknownFields()
    result: str = message.SerializeToString(deterministic=True).hex()
    return result


async def recommend() -> list[str]:
    """Recommend through recmesh.client."""
    async with Mesh(Targets({"as": TARGET})) as mesh:
        return [item.sku_id for item in (await mesh.recommend(USER_ID, size=10)).items]


async def record() -> tuple[Recorded, Recorded]:
    """Record 1,001 actions and put an item, with the messages that would go to feed."""
    async with FakeMesh() as mesh:
        recorded = await mesh.record([Action(USER_ID, f"{k or ''}", value=0.5) for k in range(1_001)])
        return recorded, await mesh.put_items([Item("99654", {"cate": "70"})])


def recommend_by_stub() -> list[str]:
    """Recommend through the generated stub."""
    with grpc.insecure_channel(TARGET) as channel:
        response = ASServiceStub(channel).as_call(ASRequest(user_id=USER_ID, size=10))
        return [item.sku_id for item in response.item_infos]


print(
    json.dumps(
        {
            "grpcio": grpc.__version__,
            "protobuf": google.protobuf.__version__,
            "messages": {name: reserialize(name, text) for name, text in json.load(sys.stdin).items()},
            "client": asyncio.run(recommend()),
            "feed": [[each.accepted, len(each.rejected)] for each in asyncio.run(record())],
            "stub": recommend_by_stub(),
        }
    )
)
