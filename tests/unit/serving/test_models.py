"""Users as models see them, and their cache."""

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from recmesh.pb.user_info_pb2 import History, UserInfo
from recmesh.serving import models
from recmesh.serving.models import UnknownValues, UserFeatureCache, encode_user, session
from recmesh.serving.stages import RequestUser
from tests.unit.metric import added
from tests.unit.retrieval.test_new import with_new_items


class _Tower:
    """A user tower that counts its runs."""

    def __init__(self) -> None:
        self.runs = 0

    def run(self, outputs: object, inputs: object) -> list[Any]:
        self.runs += 1
        return [np.array([[self.runs, 0, 0]], np.float32)]


class _Encoder:
    """An encoder whose features are what it was asked for."""

    def __init__(self) -> None:
        self.asked: list[tuple[Any, ...]] = []

    def user(self, *arguments: Any) -> Any:
        self.asked.append(tuple(arguments[0].items()) if len(arguments) == 1 else arguments)
        return object()

    def tower_inputs(self, user: object) -> object:
        return user


def cache(monkeypatch: pytest.MonkeyPatch, folder: Path, size: int = 0) -> tuple[UserFeatureCache, _Tower, list[Path]]:
    tower, opened = _Tower(), list[Path]()

    def open_session(path: Path) -> _Tower:
        opened.append(path)
        return tower

    monkeypatch.setattr(models, "session", open_session)
    encoder: Any = _Encoder()
    return UserFeatureCache(encoder, folder, size), tower, opened


USERS = [RequestUser(UserInfo(user_id=str(n)), History()) for n in range(3)]


def test_the_latest_users_are_encoded_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "user_tower.onnx").touch()
    features, tower, opened = cache(monkeypatch, tmp_path, size=2)
    first, second = features.encode(USERS[0]), features.encode(USERS[1])
    assert [vector.tolist() for _, vector in (first, second) if vector is not None] == [[1, 0, 0], [2, 0, 0]]
    assert features.encode(USERS[0]) == first
    assert features.encode(USERS[1]) == second
    assert tower.runs == 2
    features.encode(USERS[2])
    assert features.encode(USERS[1]) == second
    assert tower.runs == 3
    features.encode(USERS[0])
    assert tower.runs == 4
    assert opened == [tmp_path / "user_tower.onnx"]


def test_without_a_cache_every_call_encodes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "user_tower.onnx").touch()
    features, tower, _ = cache(monkeypatch, tmp_path)
    features.encode(USERS[0])
    features.encode(USERS[0])
    assert (tower.runs, len(features._latest)) == (2, 0)


def test_without_a_tower_there_is_no_vector(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    features, _, opened = cache(monkeypatch, tmp_path)
    assert (features.encode(USERS[0])[1], opened) == (None, [])


def test_a_user_has_the_fields_and_the_actions_of_the_request() -> None:
    encoder: Any = _Encoder()
    profile = UserInfo(user_id="5", age="3", attributes={"hobby": "chess"})
    history = History(
        sku_ids=["b", "a", "c"],
        times=[3, 2, 1],
        types=[1, 0, 2],
        type_names=["view", "order"],
        values=[1, 2, 3],
        older_sku_ids=["d"],
    )
    encode_user(encoder, RequestUser(profile, history))
    ((fields, skus, times, types, values, older),) = encoder.asked
    assert fields == {"user_id": "5", "age": "3", "hobby": "chess"}
    assert (list(skus), list(times), types) == (["b", "a", "c"], [3, 2, 1], ["order", "view", ""])
    assert (list(values), list(older)) == ([1, 2, 3], ["d"])


def test_unknown_values_are_counted_from_the_start_of_the_release() -> None:
    encoder = with_new_items()
    encoder.user({"age": "unheard of"})
    unknown = UnknownValues("encoding", encoder)
    counted = added("recmesh_unknown_values_total", service="encoding", field="user.age")
    unknown.count()
    assert counted() == 0
    encoder.user({"age": "unheard of"})
    encoder.user({"age": "another"})
    unknown.count()
    unknown.count()
    assert counted() == 2


def test_a_session_has_one_thread_that_does_not_spin(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[tuple[str, Any, list[str]]] = []

    def open_session(path: str, options: Any, providers: list[str]) -> None:
        opened.append((path, options, providers))

    monkeypatch.setattr(onnxruntime, "InferenceSession", open_session)
    session(Path("r1/ranker.onnx"))
    ((path, options, providers),) = opened
    assert (path, providers) == ("r1/ranker.onnx", ["CPUExecutionProvider"])
    assert (options.intra_op_num_threads, options.inter_op_num_threads) == (1, 1)
    assert options.execution_mode == onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"
    assert options.log_severity_level == 3
