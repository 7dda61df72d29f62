"""Writes the folder of a release with models from elsewhere."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from jobs.import_model import checks
from jobs.import_model.given import RANKER, USER_TOWER, Given
from jobs.import_model.model_files import Written, write_ranker, write_towers
from jobs.import_model.requests import RECORDED, item_texts, requests
from recmesh.dataset import DataSet
from recmesh.evaluation import METRICS_FILE, PAGE_FILE
from recmesh.features import Encoder
from recmesh.features.encoder import FEATURES
from recmesh.features.mapped_inputs import TABLES, Texts, tables
from recmesh.features.mapping import Imported, ModelMapping
from recmesh.features.spec import Array
from recmesh.progress import Reporter
from recmesh.releases import Manifest
from recmesh.releases.manifest import FORMAT, IMPORTED_FROM, MANIFEST, Index, write_manifest


@dataclass(frozen=True)
class Base:
    """The release that everything else is taken from."""

    folder: Path
    manifest: Manifest
    encoder: Encoder


def write(given: Mapping[str, Given], base: Base, data: DataSet, target: Path, reporter: Reporter) -> dict[str, float]:
    """Write the release that `target` is named by. Returns how far ONNX and Paddle's own inference differ, by model.

    Raises ReleaseError when a model is not right.
    """
    texts = item_texts(base.encoder, data)
    for one in given.values():
        checks.known_values(one.mapping, _values(one.mapping, data, texts), one.place)
    shutil.copytree(base.folder, target, ignore=shutil.ignore_patterns(MANIFEST, METRICS_FILE, PAGE_FILE))
    _write_mappings(given, texts, target / FEATURES)
    encoder = Encoder.load(target)
    asked = requests(encoder, data, seed=1)
    written: list[Written] = []
    if RANKER in given:
        with reporter.step("ranker: converting, checking"):
            written.append(write_ranker(given[RANKER], encoder, asked, target))
    if USER_TOWER in given:
        with reporter.step("towers: converting, checking, item vectors"):
            written.append(write_towers(given, encoder, asked, texts, target))
    differences = {name: value for models in written for name, value in models.differences.items()}
    described = _described(given, base.manifest, target.name, differences)
    for models in written:
        described |= models.described
    write_manifest(target, base.manifest.model_copy(update=described))
    return differences


def _values(mapping: ModelMapping, data: DataSet, texts: Texts) -> dict[str, Sequence[str | None]]:
    """The values that the data has, by source."""
    return {
        slot.source: data.users[slot.field].cast(pl.String).to_list() if slot.side == "user" else texts[slot.field]
        for _, slot in mapping.slots()
        if slot.source
    }


def _write_mappings(given: Mapping[str, Given], texts: Texts, features: Path) -> None:
    """The mappings of all imported models, those of the base among them, and what is computed ahead for items."""
    mappings = Imported.load(features).model_copy(update={name: one.mapping for name, one in given.items()})
    mappings.save(features)
    made: dict[str, Array] = {}
    for name, mapping in ((RANKER, mappings.ranker), (USER_TOWER, mappings.user_tower)):
        if mapping:
            made |= tables(name, mapping, texts)
    np.savez(features / TABLES, **made)  # type: ignore[arg-type]


def _described(
    given: Mapping[str, Given], base: Manifest, release: str, differences: Mapping[str, float]
) -> dict[str, Any]:
    """Nothing says how good the new release is on held-out data: what its models were trained on is not known."""
    models = {name: one.model.sha256 for name, one in given.items()}
    return {
        "format": FORMAT if RANKER in given else base.format,
        "id": release,
        "created": datetime.now(timezone.utc),
        "index": Index(),
        "metrics": {},
        "compared": None,
        "extra": {
            IMPORTED_FROM: {"base": base.id, "models": models},
            "export_difference": dict(differences),
            "recorded_inputs": RECORDED,
        },
    }
