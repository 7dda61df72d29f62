"""Writes the folder of a release: features, vectors, models in both formats, and finally the manifest."""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from paddle.static import InputSpec

from jobs.train.data.prepare import Prepared
from jobs.train.data.rows import history_of
from jobs.train.export import reference
from jobs.train.export.fused import FusedDeepFM
from jobs.train.export.paddle_models import Inputs, check_equal, export
from jobs.train.models.deepfm import RANKER_OUTPUTS, DeepFM
from jobs.train.models.two_tower import TwoTower, user_vectors
from jobs.train.selection.held_out import Judged, Observed
from jobs.train.selection.scenarios import Measured
from recmesh.evaluation import Report
from recmesh.features import CHANNELS, Encoder, Segment, User
from recmesh.features.encoder import FEATURES, ITEM_VECTORS
from recmesh.features.spec import Floats
from recmesh.features.user import NO_ITEMS
from recmesh.features.vocabulary import MISSING, UNSEEN
from recmesh.releases.manifest import (
    FORMAT,
    Compared,
    Difference,
    Manifest,
    SegmentMetrics,
    TrainingFacts,
    write_manifest,
)
from recmesh.releases.versions import training_versions
from recmesh.retrieval import Retriever
from recmesh.retrieval.channels import two_tower
from recmesh.retrieval.scenarios import Scenarios

RECORDED_REQUESTS = 1000
"""Requests on which the two formats of the ranker must agree."""

RECORDED_TOWER_INPUTS = 200
"""Inputs on which the two formats of each tower must agree."""

LONG_LIST = 300
"""Candidates of a recorded request, unless it has a single one."""

_RANKER_FOLDER = "ranker"


@dataclass(frozen=True)
class Trained:
    """The results of a training.

    Attributes:
        data: The data set.
        encoder: Encodes users and items as the release will.
        towers: The two-tower model.
        vectors: float32 [items, dim], the item vectors.
        ranker: The ranker.
        metrics: Held-out metrics, by segment.
        explained: Facts about the ranker for the manifest.
        observed: The held-out lists, by segment, for the report.
        judged: What the ranker made of the held-out lists, by segment, for the report.
        scenarios: What the release will know of scenarios.
        measured: The held-out lists, by scenario, for the report.
    """

    data: Prepared
    encoder: Encoder
    towers: TwoTower
    vectors: Floats
    ranker: DeepFM
    metrics: Mapping[str, SegmentMetrics]
    explained: Mapping[str, object]
    observed: Mapping[Segment, Observed]
    judged: Mapping[Segment, Judged]
    scenarios: Scenarios
    measured: Mapping[str, Measured]


def write_artifacts(trained: Trained, folder: Path, seed: int) -> dict[str, float]:
    """Write everything that serving needs, except the manifest.

    Returns:
        The largest difference between both formats, by model.

    Raises:
        ReleaseError: The formats of a model differ.
    """
    trained.encoder.save(folder)
    trained.scenarios.save(folder / FEATURES)
    np.save(folder / ITEM_VECTORS, trained.vectors)
    return _write_models(trained, folder, seed)


def seal(
    trained: Trained,
    report: Report,
    differences: Mapping[str, float],
    folder: Path,
    fingerprint: str,
    schema_hash: str,
    training: TrainingFacts,
) -> Manifest:
    """Write the manifest. It covers every file in the folder, so it must be written last.

    Args:
        trained: The results of the training.
        report: The report of the release.
        differences: From `write_artifacts`.
        folder: Folder of the release.
        fingerprint: Identifies the data set.
        schema_hash: Identifies the schema of the data set.
        training: What the training read.
    """
    spec = trained.encoder.spec
    manifest = Manifest(
        format=FORMAT,
        id=report.release,
        fingerprint=fingerprint,
        schema_hash=schema_hash,
        as_of=spec.as_of,
        repeats=spec.repeats,
        items=len(trained.encoder.catalogue),
        dim=trained.vectors.shape[1],
        ranker=reference.describe(folder, folder / _RANKER_FOLDER / "deepfm"),
        rankers={segment: "deepfm" if used else "merge" for segment, used in spec.rankers.items()},
        metrics=dict(trained.metrics),
        compared=_comparison(report),
        training=training,
        code_version=training_versions()[0],
        extra={**trained.explained, "export_difference": dict(differences), "recorded_inputs": RECORDED_REQUESTS},
    )
    return write_manifest(folder, manifest)


def _comparison(report: Report) -> Compared | None:
    gains = {
        name: Difference(
            users=segment.compared_users,
            mean={metric: gain.mean for metric, gain in segment.compared.gain.items()},
            error={metric: gain.error for metric, gain in segment.compared.gain.items()},
        )
        for name, segment in report.segments.items()
        if segment.compared
    }
    return Compared(release=report.active.release, segments=gains) if report.active and gains else None


def _write_models(trained: Trained, folder: Path, seed: int) -> dict[str, float]:
    tower = trained.towers.exported_user_tower(trained.vectors)
    users, items, ranked = _recorded(trained, seed)
    spec = trained.encoder.spec
    long = {name: InputSpec([None, None], "int64", name) for name in ("items", "fields")}
    plans = (
        (
            "user_tower",
            tower,
            (long["items"], InputSpec([None, None], "float32", "weights"), long["fields"]),
            ("vector",),
            users,
        ),
        ("item_tower", trained.towers.items, (InputSpec([None], "int64", "item"), long["fields"]), ("vector",), items),
        (
            "ranker",
            FusedDeepFM(trained.ranker),
            (
                InputSpec([None, len(spec.dense)], "float32", "dense"),
                InputSpec([None, len(spec.columns)], "int64", "sparse"),
            ),
            RANKER_OUTPUTS,
            ranked,
        ),
    )
    differences = {}
    # Its name begins with that of `folder`, so that a later training removes both if this one is killed.
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f"{folder.name}.") as discarded:
        for name, model, inputs, outputs, recorded in plans:
            onnx_path = folder / f"{name}.onnx"
            is_ranker = name == "ranker"
            # The towers are served from ONNX only.
            place, prefix_name = (folder / _RANKER_FOLDER, "deepfm") if is_ranker else (Path(discarded), name)
            prefix = export(model, inputs, outputs, onnx_path, place, prefix_name)
            differences[name] = check_equal(prefix, onnx_path, recorded)
            if is_ranker:
                reference.record(prefix, ranked, folder)
    return differences


def _recorded(trained: Trained, seed: int) -> tuple[list[Inputs], list[Inputs], list[Inputs]]:
    """Record requests of users of the data set: with and without a history, missing and unseen values, 1 and 300 items.

    Returns:
        Inputs of the user tower, of the item tower and of the ranker.
    """
    rng = np.random.default_rng(seed)
    encoder = trained.encoder
    retriever = Retriever(encoder)
    users = [_recorded_user(trained, number, rng) for number in range(RECORDED_REQUESTS)]
    vectors = user_vectors(trained.towers.exported_user_tower(trained.vectors), encoder)(users)
    strange = {item_field.name: "never seen" for item_field in encoder.spec.item_fields}
    ranked: list[Inputs] = []
    for number, (user, vector) in enumerate(zip(users, vectors, strict=True)):
        new_only = bool(number % 2)
        found = retriever.in_memory(user, CHANNELS, new_only=new_only, user_vector=vector)
        found["two_tower"] = two_tower(trained.encoder, vector, trained.vectors, NO_ITEMS, LONG_LIST)
        merged = retriever.merge(found, encoder.segment(user, new_only), size=1 if number % 3 == 0 else LONG_LIST)
        ranked.append(encoder.ranker_inputs(user, merged.items, new_only, [strange] * (number % 7 == 0), vector))
    towers = users[:RECORDED_TOWER_INPUTS]
    rows = rng.integers(len(encoder.catalogue), size=RECORDED_TOWER_INPUTS)
    items: list[Inputs] = [
        encoder.item_tower_row(int(row)) if row % 7 else encoder.item_tower_inputs(strange) for row in rows
    ]
    return [encoder.tower_inputs(user) for user in towers], items, ranked


def _recorded_user(trained: Trained, number: int, rng: np.random.Generator) -> User:
    data = trained.data
    row = int(rng.integers(len(data.start) - 1))
    codes = data.user_codes[row].copy()
    if number % 5 < 2:
        codes[rng.random(len(codes)) < 0.5] = (MISSING, UNSEEN)[number % 5]
    begin, end = int(data.start[row]), int(data.start[row + 1])
    return trained.encoder.known_user(codes, history_of(data, begin, begin if number % 4 == 0 else end))
