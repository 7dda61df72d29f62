"""ONNX Runtime sessions of a release, and who is asking as its models see it."""

from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime

from recmesh.features import Encoder, User
from recmesh.features.mapping import USER_ID
from recmesh.serving import metrics
from recmesh.serving.stages import RequestUser
from recmesh.stores.wire import user_fields

USER_TOWER = "user_tower.onnx"
Vector = npt.NDArray[np.float32]


def session(path: Path) -> Any:
    """An inference session with one thread that does not spin: one model call takes less than handing it out."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


class UserFeatureCache:
    """Encodes who is asking: the user's features, and the user tower's vector of them.

    Args:
        encoder: of the release.
        folder: of the release; a release without towers gives no vectors.
        remember: how many of the latest user_features are kept, where two stages of one process need the same one.
    """

    def __init__(self, encoder: Encoder, folder: Path, remember: int = 0) -> None:
        self._encoder = encoder
        path = folder / USER_TOWER
        self._tower = session(path) if path.exists() else None
        self._remember = remember
        # By identity; the request_user is kept with its encoding, so that its id stays its own.
        self._latest: OrderedDict[int, tuple[RequestUser, User, Vector | None]] = OrderedDict()

    def encode(self, request_user: RequestUser) -> tuple[User, Vector | None]:
        """The user and the tower's vector float32 [dim]; the vector is None in a release without towers."""
        if self._remember and (kept := self._latest.get(id(request_user))):
            return kept[1], kept[2]
        user = encode_user(self._encoder, request_user)
        vector = None
        if self._tower is not None:
            vector = self._tower.run(None, self._encoder.tower_inputs(user))[0][0]
        if self._remember:
            self._latest[id(request_user)] = (request_user, user, vector)
            if len(self._latest) > self._remember:
                self._latest.popitem(last=False)
        return user, vector


class UnknownValues:
    """Moves an encoder's count of values outside its vocabularies into the metric."""

    def __init__(self, service: str, encoder: Encoder) -> None:
        self._encoder = encoder
        self._counted = encoder.unknown_values
        self._metric = metrics.UNKNOWN_VALUES.labels(service)

    def count(self) -> None:
        """Add what came since the last time."""
        total = self._encoder.unknown_values
        if total > self._counted:
            self._metric.inc(total - self._counted)
            self._counted = total


def encode_user(encoder: Encoder, request_user: RequestUser) -> User:
    """The user from the wire's profile and history."""
    history = request_user.history
    names = history.type_names
    return encoder.user(
        {USER_ID: request_user.info.user_id, **user_fields(request_user.info)},
        history.sku_ids,
        history.times,
        [names[t] if t < len(names) else "" for t in history.types],
        history.values,
        history.older_sku_ids,
    )
