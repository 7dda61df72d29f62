"""ONNX Runtime sessions of a release, and the features of the requesting user."""

from collections import OrderedDict
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime

from recmesh import spans
from recmesh.features import Encoder, User
from recmesh.features.item_tower import ITEM_TOWER
from recmesh.features.mapping import USER_ID
from recmesh.serving import metrics
from recmesh.serving.stages import RequestUser
from recmesh.stores.wire import user_fields

USER_TOWER = "user_tower.onnx"
Vector = npt.NDArray[np.float32]

_LOG_ERRORS_ONLY = 3


def session(path: Path) -> Any:
    """An inference session with one thread that does not spin: other threads would take longer to wake than the call.

    Returns:
        An `onnxruntime.InferenceSession`; ONNX Runtime has no type information.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = _LOG_ERRORS_ONLY
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def item_tower(folder: Path) -> Any:
    """The session of the item tower of a release; None if the release has no towers."""
    path = folder / ITEM_TOWER
    return session(path) if path.exists() else None


def run_span(model: str, rows: int = 1) -> AbstractContextManager[None]:
    """A span for one run of a model in ONNX Runtime, of `rows` users or items."""
    return spans.span(f"run {model}", {spans.MODEL: model, spans.RUNTIME: "onnxruntime", spans.ROWS: rows})


class UserFeatureCache:
    """Encodes users of requests, and caches the latest for the next stage in the same process."""

    def __init__(self, encoder: Encoder, folder: Path, size: int = 0) -> None:
        """Load the user tower of a release, if it has one.

        Args:
            encoder: Of the release.
            folder: Of the release.
            size: Number of users in the cache; 0 disables it.
        """
        self._encoder = encoder
        path = folder / USER_TOWER
        self._tower = session(path) if path.exists() else None
        self._size = size
        # Keyed by identity. Each entry keeps its RequestUser alive, so that no other object can get the same id.
        self._latest: OrderedDict[int, tuple[RequestUser, User, Vector | None]] = OrderedDict()

    def encode(self, request_user: RequestUser) -> tuple[User, Vector | None]:
        """The user's features, and the vector float32 [dim] of the user tower; None if the release has no towers."""
        if self._size and (cached := self._latest.get(id(request_user))):
            return cached[1], cached[2]
        user = encode_user(self._encoder, request_user)
        vector = None
        if self._tower is not None:
            inputs = self._encoder.tower_inputs(user)
            with run_span("user_tower"):
                vector = self._tower.run(None, inputs)[0][0]
        if self._size:
            self._latest[id(request_user)] = (request_user, user, vector)
            if len(self._latest) > self._size:
                self._latest.popitem(last=False)
        return user, vector


class UnknownValues:
    """Copies an encoder's counts of values outside its vocabularies into the metric."""

    def __init__(self, service: str, encoder: Encoder) -> None:
        """Start at the encoder's present counts; `service` is a label of the metric."""
        self._vocabularies = encoder.vocabularies
        self._counted = {field: vocabulary.unknown for field, vocabulary in self._vocabularies.items()}
        self._metrics = {field: metrics.UNKNOWN_VALUES.labels(service, field) for field in self._vocabularies}

    def count(self) -> None:
        """Add the values encountered since the last call."""
        for field, vocabulary in self._vocabularies.items():
            if new := vocabulary.unknown - self._counted[field]:
                self._metrics[field].inc(new)
                self._counted[field] = vocabulary.unknown


def encode_user(encoder: Encoder, request_user: RequestUser) -> User:
    """The features of a user, from the messages of the request."""
    profile, history = request_user.profile, request_user.history
    names = history.type_names
    return encoder.user(
        {USER_ID: profile.user_id, **user_fields(profile)},
        history.sku_ids,
        history.times,
        [names[code] if code < len(names) else "" for code in history.types],
        history.values,
        history.older_sku_ids,
    )
