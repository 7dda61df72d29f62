"""Writing the files of the imported models into the folder of the new release, and checking them."""

import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from paddle import nn

from jobs.import_model import checks
from jobs.import_model.given import ITEM_TOWER, RANKER, USER_TOWER, Given
from jobs.import_model.paddle_model import PaddleModel, first_line
from jobs.import_model.requests import RECORDED_REQUESTS, Request
from jobs.import_model.wrapped import WrappedRanker, WrappedTower, layout, specs
from jobs.train.export import reference
from jobs.train.export.paddle_models import Inputs, check_equal, export, session_of
from jobs.train.models.deepfm import RANKER_OUTPUTS
from recmesh.errors import ReleaseError
from recmesh.features import SEGMENTS, Encoder
from recmesh.features.encoder import FEATURES, ITEM_VECTORS, SPEC
from recmesh.features.mapped_inputs import Texts
from recmesh.features.mapping import ModelMapping
from recmesh.features.spec import Floats
from recmesh.releases.agreement import disagreement, typical_scale

_PADDLE_NAME = "imported"
_BATCH_ROWS = 512


@dataclass(frozen=True)
class Written:
    """The models that were written.

    Attributes:
        described: Their part of the manifest.
        differences: The largest difference between ONNX Runtime and Paddle Inference, by model.
    """

    described: Mapping[str, Any]
    differences: Mapping[str, float]


def write_ranker(given: Given, encoder: Encoder, requests: Sequence[Request], target: Path) -> Written:
    """Write the ranker in both formats, and its reference request. It orders the candidates of all segments.

    Raises:
        ReleaseError: The ranker cannot be converted or fails a check.
    """
    shutil.rmtree(target / RANKER)
    path = target / f"{RANKER}.onnx"
    prefix = _export(WrappedRanker, given, RANKER_OUTPUTS, path, target / RANKER)
    recorded: list[Inputs] = [encoder.ranker_inputs(r.user, r.items, r.new_only, r.unlisted) for r in requests]
    session = session_of(path)
    checks.ids_fit(session, given.mapping, given.place)
    checks.scores(session, recorded, given.mapping, given.place)
    difference = checks.same_answers(given, session, recorded, ranked=True)
    check_equal(prefix, path, recorded)
    reference.record(prefix, recorded, target)
    segments = dict.fromkeys(encoder.spec.channels or SEGMENTS, True)
    encoder.spec.model_copy(update={"rankers": segments}).save(target / FEATURES / SPEC)
    described = {"ranker": reference.describe(target, prefix), "rankers": dict.fromkeys(segments, _PADDLE_NAME)}
    return Written(described, {RANKER: difference})


def write_towers(
    given: Mapping[str, Given], encoder: Encoder, requests: Sequence[Request], texts: Texts, target: Path
) -> Written:
    """Write both towers, and the vectors of all items.

    Raises:
        ReleaseError: A tower cannot be converted or fails a check.
    """
    users: list[Inputs] = [encoder.tower_inputs(request.user) for request in requests]

    def item(number: int) -> Inputs:
        fields = {name: value for name, values in texts.items() if (value := values[number]) is not None}
        return encoder.item_tower_inputs(fields, encoder.catalogue.sku_ids[number])

    count = len(encoder.catalogue)
    sample = [item(number) for number in np.random.default_rng(1).permutation(count)[:RECORDED_REQUESTS].tolist()]
    user_tower, user_difference = _write_tower(USER_TOWER, given, users, target)
    item_tower, item_difference = _write_tower(ITEM_TOWER, given, sample, target)
    _vectors(user_tower, users.__getitem__, len(users), given[USER_TOWER])
    vectors = _vectors(item_tower, item, count, given[ITEM_TOWER])
    np.save(target / ITEM_VECTORS, vectors)
    described = {"dim": vectors.shape[1], "vectors": ITEM_TOWER}
    return Written(described, {USER_TOWER: user_difference, ITEM_TOWER: item_difference})


def _write_tower(
    name: str, given: Mapping[str, Given], recorded: Sequence[Inputs], target: Path
) -> tuple[onnxruntime.InferenceSession, float]:
    """Write a tower. Returns its session and the largest difference between ONNX Runtime and Paddle Inference."""
    tower, path = given[name], target / f"{name}.onnx"
    # Towers are served by ONNX only. The name begins with that of `target`, so that a later import removes both if this
    # one is killed.
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f"{target.name}.") as scratch:
        _export(WrappedTower, tower, ("vector",), path, Path(scratch))
    session = session_of(path)
    checks.ids_fit(session, tower.mapping, tower.place)
    return session, checks.same_answers(tower, session, recorded, ranked=False)


def _export(
    wrapped: Callable[[PaddleModel, ModelMapping], nn.Layer],
    given: Given,
    outputs: Sequence[str],
    path: Path,
    folder: Path,
) -> Path:
    inputs = specs(layout(given.mapping, given.model))
    try:
        return export(wrapped(given.model, given.mapping), inputs, outputs, path, folder, _PADDLE_NAME)
    except Exception as error:  # Paddle and its converter raise exceptions of any class
        raise ReleaseError(f"{given.model.prefix}.pdmodel cannot be converted to ONNX: {first_line(error)}") from error


def _vectors(session: onnxruntime.InferenceSession, row: Callable[[int], Inputs], count: int, given: Given) -> Floats:
    """Compute and check the vectors of `count` rows, float32 [count, dim].

    Rows are computed one by one if the model has a fixed batch size, as some models of PaddleRec have.
    """
    size = _BATCH_ROWS if _accepts_batches(session, row(0), row(count - 1), given.place) else 1
    batches = ([row(number) for number in range(at, min(at + size, count))] for at in range(0, count, size))
    vectors: Floats = np.concatenate([checks.answer(session, _joined(batch), given.place) for batch in batches])
    checks.vectors(vectors, given.place)
    return vectors


def _accepts_batches(session: onnxruntime.InferenceSession, first: Inputs, second: Inputs, place: str) -> bool:
    """Whether two rows in one batch get the same answers as on their own."""
    alone = np.concatenate([checks.answer(session, row, place) for row in (first, second)])
    try:
        both = checks.answer(session, _joined([first, second]), place)
    except ReleaseError:
        return False
    return not disagreement(alone, both, scale=typical_scale([alone]))


def _joined(rows: Sequence[Inputs]) -> Inputs:
    return {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}
