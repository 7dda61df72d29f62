"""From an existing release and models from elsewhere to a new release."""

import hashlib
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from jobs.import_model.given import Given, read_models
from jobs.import_model.writer import Base, write
from recmesh.dataset import DataSet, read
from recmesh.errors import ReleaseError
from recmesh.features import Encoder, FeatureSpec
from recmesh.progress import Reporter
from recmesh.releases import Manifest, ModelStore, read_manifest
from recmesh.releases.versions import TRAINING_VERSION, code_digest


@dataclass(frozen=True)
class Outcome:
    """The id of the release. `current`: the store had it already. `differences`: the largest between ONNX and Paddle's
    own inference, by model."""

    release: str
    current: bool
    differences: Mapping[str, float] = field(default_factory=dict)


def import_models(
    store: ModelStore,
    base: str,
    dataset: Path,
    ranker: Path | None,
    towers: Path | None,
    home: Path,
    reporter: Reporter,
) -> Outcome:
    """Make a release of `base` (default: the active one) with the ranker or the towers of these folders.

    Raises ReleaseError when a model or its mapping is not right, DataError when the data set cannot be used.
    """
    base = base or store.active() or ""
    if not base:
        raise ReleaseError(f"model store {store.url}: no release is active: give --base, or train first")
    folder = store.fetch(base, home / "releases")
    encoder = Encoder.load(folder)
    with reporter.step("reading the models"):
        given = read_models(ranker, towers, encoder.spec)
    with reporter.step("reading the data set"):
        data = read(dataset, rejects=home / "import" / "rejects.csv")
    _check_fields(data, encoder.spec, dataset)
    manifest = read_manifest(folder)
    identity = _identity(manifest, data.fingerprint, given)
    if any(release.id == identity for release in store.list()):
        return Outcome(identity, True)
    if data.fingerprint != manifest.fingerprint:
        reporter.say(f"release {base} was trained on another state of {dataset}; items that it lacks have no fields")
    target = home / "import" / identity
    shutil.rmtree(target, ignore_errors=True)
    try:
        differences = write(given, Base(folder, manifest, encoder), data, target, reporter)
        store.put(target)
    finally:
        shutil.rmtree(target, ignore_errors=True)
    return Outcome(identity, False, differences)


def _check_fields(data: DataSet, spec: FeatureSpec, dataset: Path) -> None:
    for table, fields in ((data.users, spec.user_fields), (data.items, spec.item_fields)):
        for one in fields:
            if one.name not in table.columns:
                raise ReleaseError(f"{dataset}: no field {one.name}, which the base release was trained with")


def _identity(base: Manifest, fingerprint: str, given: Mapping[str, Given]) -> str:
    """The same models, mappings, base, data and code are the same release."""
    digest = hashlib.sha256(f"{base.id} {fingerprint} {TRAINING_VERSION} {code_digest('jobs/import_model')}".encode())
    for name, one in given.items():
        digest.update(f"{name} {one.model.sha256} {one.mapping.model_dump_json()}".encode())
    return f"{base.fingerprint[:8]}-{digest.hexdigest()[:8]}"
