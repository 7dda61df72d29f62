"""Writing the folder of a release with imported models."""

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
from jobs.import_model.requests import RECORDED_REQUESTS, item_texts, make_requests
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
    """The release that provides everything that is not imported."""

    folder: Path
    manifest: Manifest
    encoder: Encoder


def write(
    given: Mapping[str, Given], base: Base, data: DataSet, identity: str, target: Path, reporter: Reporter
) -> dict[str, float]:
    """Write the release `identity` to the folder `target`.

    Returns:
        The largest difference between ONNX Runtime and Paddle Inference, by model.

    Raises:
        ReleaseError: A model cannot be converted or fails a check.
    """
    texts = item_texts(base.encoder, data)
    for imported in given.values():
        checks.known_values(imported.mapping, _values(imported.mapping, data, texts), imported.place)
    shutil.copytree(base.folder, target, ignore=shutil.ignore_patterns(MANIFEST, METRICS_FILE, PAGE_FILE))
    _write_mappings(given, texts, target / FEATURES)
    encoder = Encoder.load(target)
    requests = make_requests(encoder, data, seed=1)
    written: list[Written] = []
    if RANKER in given:
        with reporter.step("ranker: conversion and checks"):
            written.append(write_ranker(given[RANKER], encoder, requests, target))
    if USER_TOWER in given:
        with reporter.step("towers: conversion, checks and item vectors"):
            written.append(write_towers(given, encoder, requests, texts, target))
    differences = {name: value for models in written for name, value in models.differences.items()}
    described = _described(given, base.manifest, identity, differences)
    for models in written:
        described |= models.described
    write_manifest(target, base.manifest.model_copy(update=described))
    return differences


def _values(mapping: ModelMapping, data: DataSet, texts: Texts) -> dict[str, Sequence[str | None]]:
    """The values in the data set, by source."""
    return {
        slot.source: data.users[slot.field].cast(pl.String).to_list() if slot.side == "user" else texts[slot.field]
        for _, slot in mapping.slots()
        if slot.source
    }


def _write_mappings(given: Mapping[str, Given], texts: Texts, features: Path) -> None:
    """Write the mappings of all imported models, including those of the base, and the precomputed inputs of items."""
    mappings = Imported.load(features).model_copy(update={name: imported.mapping for name, imported in given.items()})
    mappings.save(features)
    made: dict[str, Array] = {}
    for name, mapping in ((RANKER, mappings.ranker), (USER_TOWER, mappings.user_tower)):
        if mapping:
            made |= tables(name, mapping, texts)
    np.savez(features / TABLES, **made)  # type: ignore[arg-type]


def _described(
    given: Mapping[str, Given], base: Manifest, release: str, differences: Mapping[str, float]
) -> dict[str, Any]:
    """The manifest without metrics: what the imported models were trained on is unknown, so none of it is held out."""
    models = {name: imported.model.sha256 for name, imported in given.items()}
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
            "recorded_inputs": RECORDED_REQUESTS,
        },
    }
