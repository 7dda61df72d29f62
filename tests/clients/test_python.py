"""recmesh.client runs with every version of grpcio and protobuf that the distribution allows."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import pytest
import tomli
from google.protobuf.message import Message

from recmesh.pb import as_pb2, cm_pb2, feed_pb2, item_info_pb2, rank_pb2, recall_pb2, um_pb2, user_info_pb2
from tests.clients.conftest import AsServer
from tests.servers import ROOT

_DEPENDENCIES = tomli.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
_OLDEST = dict(dependency.split(">=") for dependency in _DEPENDENCIES)
_NEWEST = {name: version(name) for name in ("grpcio", "protobuf")}
_RUNTIMES = [_OLDEST, {"grpcio": "1.68.1", "protobuf": "5.29.6"}, {"grpcio": "1.76.0", "protobuf": "6.33.6"}, _NEWEST]


@dataclass(frozen=True)
class Runtime:
    """Installed versions of grpcio and protobuf, and their folder."""

    folder: Path
    versions: dict[str, str]


_USER = user_info_pb2.UserInfo(user_id="8888", age="5.0", attributes={"segment": "a"})
_ITEM = item_info_pb2.ItemInfo(sku_id="99654", cate="70", rank_score=0.5, attributes={"price": "12", "colour": "red"})
_HISTORY = user_info_pb2.History(
    sku_ids=["99654"], times=[1_517_443_200_000], types=[0], values=[1.5], type_names=["view"], older_sku_ids=["12048"]
)
_MESSAGES: dict[str, Message] = {
    "as_pb2.ASRequest": as_pb2.ASRequest(log_id=2**64 - 1, user_info=_USER, exclude_ids=["1"], new_only=True),
    "as_pb2.ASResponse": as_pb2.ASResponse(
        error=as_pb2.ASResponse.Error(code=200),
        item_infos=[_ITEM],
        reasons=[{"sku_id": "99654", "channels": [{"channel": "popular", "score": 0.25}]}],
    ),
    "cm_pb2.CMResponse": cm_pb2.CMResponse(item_infos=[_ITEM], missing_ids=["2"]),
    "feed_pb2.FeedResponse": feed_pb2.FeedResponse(accepted=1, rejected=[{"position": 1, "reason": "sku_id is empty"}]),
    "feed_pb2.PutItemsRequest": feed_pb2.PutItemsRequest(
        items=[{"sku_id": "99654", "fields": {"cate": "70", "price": ""}}]
    ),
    "feed_pb2.RecordActionsRequest": feed_pb2.RecordActionsRequest(
        log_id=2**64 - 1, actions=[{"user_id": "8888", "sku_id": "99654", "time": 2**62, "value": 0, "event_id": "e"}]
    ),
    "rank_pb2.RankRequest": rank_pb2.RankRequest(user_info=_USER, item_infos=[_ITEM], history=_HISTORY, size=5),
    "rank_pb2.RankResponse": rank_pb2.RankResponse(score_pairs=[{"nid": "99654", "score": -1.5}]),
    "recall_pb2.RecallResponse": recall_pb2.RecallResponse(
        channels=[{"name": "two_tower", "positions": [0, 2], "scores": [0.5, 0.25]}],
        candidates={"ids": ["99654", "12048"], "scores": [2.0, 1.0]},
    ),
    "um_pb2.UserModelResponse": um_pb2.UserModelResponse(user_info=_USER, history=_HISTORY),
}


@pytest.fixture(scope="module", params=_RUNTIMES, ids=lambda runtime: f"protobuf {runtime['protobuf']}")
def runtime(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Runtime:
    """A folder with one version of grpcio and of protobuf, and nothing that they do not need."""
    versions: dict[str, str] = request.param
    folder = tmp_path_factory.mktemp("runtime")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--only-binary", ":all:", "--no-compile"]
    packages = [f"{name}=={number}" for name, number in versions.items()]
    subprocess.run([*pip, "--target", str(folder), *packages], check=True)
    return Runtime(folder, versions)


@pytest.mark.parametrize("environment", [{}, {"PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION": "python"}], ids=["", "no upb"])
def test_client_runs(runtime: Runtime, environment: dict[str, str], as_server: AsServer) -> None:
    messages = {name: message.SerializeToString(deterministic=True).hex() for name, message in _MESSAGES.items()}
    path = os.pathsep.join([str(runtime.folder), str(ROOT)])
    # Without site (-S), Python sees none of the packages of .venv.
    command = [sys.executable, "-S", str(Path(__file__).with_name("python_client.py")), as_server.target, "8888"]
    result = subprocess.run(
        command,
        input=json.dumps(messages),
        env={**os.environ, **environment, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )

    assert result.returncode == 0, result.stderr
    expected_ids = [f"8888-{position}" for position in range(10)]
    assert json.loads(result.stdout) == {
        **runtime.versions,
        "messages": messages,
        "client": expected_ids,
        "feed": [[1_000, 1], [1, 0]],
        "stub": expected_ids,
    }
    assert [(request.user_id, request.size) for request in as_server.requests] == [("8888", 10)] * 2
