"""Making a new release of an existing release and imported models."""

import dataclasses
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from jobs.import_model.given import Given, read_models
from jobs.import_model.writer import Base, write
from recmesh.dataset import DataSet, Schema, read
from recmesh.errors import ReleaseError
from recmesh.features import Encoder, FeatureSpec
from recmesh.progress import Reporter
from recmesh.releases import Manifest, ModelStore, read_manifest
from recmesh.releases.abandoned import claimed, remove_abandoned
from recmesh.releases.versions import TRAINING_VERSION, code_digest


@dataclass(frozen=True)
class Outcome:
    """The result of an import.

    Attributes:
        release: Id of the release.
        current: Whether the store already had it.
        differences: The largest difference between ONNX Runtime and Paddle Inference, by model.
    """

    release: str
    current: bool
    differences: Mapping[str, float] = dataclasses.field(default_factory=dict)


def import_models(
    store: ModelStore,
    base: str,
    dataset: Path,
    ranker: Path | None,
    towers: Path | None,
    home: Path,
    reporter: Reporter,
) -> Outcome:
    """Make a release of `base` and the ranker, the towers or both in the given folders.

    Args:
        store: The model store.
        base: Id of the release that provides everything else; empty for the active one.
        dataset: Folder of the data set, whose users and items the models are tested on.
        ranker: Folder of the ranker, if there is one.
        towers: Folder of the towers, if there are any.
        home: Folder for the cache of releases and temporary files.
        reporter: Prints the progress.

    Raises:
        ReleaseError: A model or its mapping is wrong.
        DataError: The data set cannot be used.
    """
    work = home / "import"
    work.mkdir(parents=True, exist_ok=True)
    remove_abandoned(work)
    base = base or store.active() or ""
    if not base:
        raise ReleaseError(f"model store {store.url}: no release is active: pass --base, or train first")
    folder = store.fetch(base, home / "releases")
    manifest = read_manifest(folder)
    if manifest.starter:
        raise ReleaseError(f"release {base} is a starter, which has no models: pass --base, or train first")
    encoder = Encoder.load(folder)
    with reporter.step("reading the models"):
        given = read_models(ranker, towers, Schema.load(dataset))
    with reporter.step("reading the data set"):
        data = read(dataset, rejects=work / "rejects.csv")
    reporter.warn(data.report.warnings)
    _check_fields(data, encoder.spec, dataset)
    identity = _identity(manifest, data.fingerprint, given)
    if any(release.id == identity for release in store.list()):
        return Outcome(identity, True)
    if data.fingerprint != manifest.fingerprint:
        reporter.say(
            f"release {base} was trained on another state of {dataset}; its items that are missing there get no fields"
        )
    with claimed(work / identity) as target:
        differences = write(given, Base(folder, manifest, encoder), data, identity, target, reporter)
        store.put(target)
    return Outcome(identity, False, differences)


def _check_fields(data: DataSet, spec: FeatureSpec, dataset: Path) -> None:
    for table, fields in ((data.users, spec.user_fields), (data.items, spec.item_fields)):
        for field in fields:
            if field.name not in table.columns:
                raise ReleaseError(f"{dataset}: no field {field.name}, but the base release was trained with it")


def _identity(base: Manifest, fingerprint: str, given: Mapping[str, Given]) -> str:
    """Equal models, mappings, base, data and code give equal ids."""
    digest = hashlib.sha256(f"{base.id} {fingerprint} {TRAINING_VERSION} {code_digest('jobs/import_model')}".encode())
    for name, imported in given.items():
        digest.update(f"{name} {imported.model.sha256} {imported.mapping.model_dump_json()}".encode())
    return f"{base.fingerprint[:8]}-{digest.hexdigest()[:8]}"
