"""The starter: a release that is only counted, so that a new installation serves before its first training ends.

It has what counting gives: popular items, also by profile, and items that users have in common. Nothing is fitted, held
out or compared, so it has no models and no metrics, and it never takes the place of a trained release.
"""

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np

from jobs.ingest.neighbours import SHRINKAGE, cosine_lists
from jobs.train.data.counts import count_actions, feature_spec, sample_of_heavy_users
from jobs.train.data.prepare import Prepared, prepare
from jobs.train.data.windows import plan
from recmesh.contract import BOUGHT_BEFORE, NEIGHBOURS, POPULAR
from recmesh.dataset import DataSet
from recmesh.features import SEGMENTS, Encoder, Lists, Segment
from recmesh.features.encoder import FEATURES, ITEM_VECTORS, padded
from recmesh.features.spec import Channel
from recmesh.progress import Reporter
from recmesh.releases import STARTER_FORMAT, Index, Manifest, ModelStore, loads, replaces_no_trained, write_manifest
from recmesh.releases.abandoned import claimed, remove_abandoned
from recmesh.releases.versions import code_digest, training_versions
from recmesh.retrieval.scenarios import (
    LIST_CHANNELS,
    LIST_SCENARIOS,
    Formula,
    ListSettings,
    RepeatSettings,
    Scenarios,
    ScenarioSettings,
)

CHANNELS: dict[Segment, dict[str, Channel]] = {
    "cold": {POPULAR: Channel()},
    "novel": {NEIGHBOURS: Channel(), POPULAR: Channel()},
    "repeat": {NEIGHBOURS: Channel(), POPULAR: Channel(), BOUGHT_BEFORE: Channel(weight=2)},
}
"""The channels of each segment; docs/adr/048 says what other weights give."""

_CODE = ("jobs/ingest/starter.py", "jobs/ingest/neighbours.py", "jobs/train/data", "recmesh/features")
_SEED = 1


def serve_starter(models: ModelStore, data: DataSet, cache: Path, reporter: Reporter) -> None:
    """Make and activate the starter of a data set, unless the store has a trained release.

    A starter of another state of the data set is replaced, because it may offer items that are gone.

    Args:
        models: The model store.
        data: The data set.
        cache: Folder for copies of releases.
        reporter: Shows the progress.

    Raises:
        DataError: The data set is too small to train on.
        ReleaseError: A trained release has become active meanwhile.
    """
    releases = models.list()
    # What cannot be read may be a trained release.
    unreadable = models.active() is not None and models.active_manifest() is None
    if unreadable or any(not release.starter for release in releases):
        return
    identity = starter_id(data)
    if identity not in {release.id for release in releases}:
        with reporter.step("counting a starter"):
            _put(models, data, identity, cache)
    if models.active() != identity:
        checks = (replaces_no_trained(models.active_manifest), loads(lambda manifest: models.fetch(manifest.id, cache)))
        models.activate(identity, checks)
        reporter.say(f"Release {identity} is active: popular items and neighbours, until there is a trained release")


def starter_id(data: DataSet) -> str:
    """Return the id of the starter of a data set. Equal data and code give equal ids."""
    digest = hashlib.sha256(f"{data.fingerprint} {code_digest(*_CODE)}".encode()).hexdigest()
    return f"starter-{digest[:8]}"


def _put(models: ModelStore, data: DataSet, identity: str, cache: Path) -> None:
    cache.mkdir(parents=True, exist_ok=True)
    remove_abandoned(cache)
    with claimed(cache / identity) as folder:
        folder.mkdir()
        write_starter(data, identity, folder)
        models.put(folder)


def write_starter(data: DataSet, identity: str, folder: Path) -> Manifest:
    """Write the starter of a data set.

    Args:
        data: The data set.
        identity: The id of the release.
        folder: An empty folder.

    Raises:
        DataError: The data set is too small to train on.
    """
    prepared = prepare(data)
    encoder = _encoder(prepared)
    encoder.save(folder)
    _scenarios(encoder).save(folder / FEATURES)
    np.save(folder / ITEM_VECTORS, np.empty((len(encoder.catalogue), 0), np.float32))
    spec = encoder.spec
    manifest = Manifest(
        format=STARTER_FORMAT,
        kind="starter",
        id=identity,
        fingerprint=data.fingerprint,
        schema_hash=hashlib.sha256(data.schema.dump().encode()).hexdigest(),
        as_of=spec.as_of,
        repeats=spec.repeats,
        items=len(encoder.catalogue),
        dim=0,
        index=Index(kind="FLAT"),
        rankers=dict.fromkeys(spec.channels, "merge"),
        code_version=training_versions()[0],
    )
    return write_manifest(folder, manifest)


def _encoder(data: Prepared) -> Encoder:
    """Return the features of a data set, from all of its actions."""
    segments = [segment for segment in SEGMENTS if segment != "repeat" or data.spec.repeats]
    spec = feature_spec(
        data,
        clock=plan(data, _SEED).clock,
        channels={segment: CHANNELS[segment] for segment in segments},
        rankers=dict.fromkeys(segments, False),
    )
    counted = count_actions(data, spec, data.start[1:], spec.as_of)
    users, items = len(data.start) - 1, len(data.catalogue)
    kept = sample_of_heavy_users(counted.users, counted.items, users, items)
    neighbours = cosine_lists(counted.users[kept], counted.items[kept], users, items)
    known = replace(counted.statistics, cosine=neighbours)
    vectors = padded(np.empty((items, 0), np.float32))
    return Encoder(spec, data.user_vocabularies, data.item_vocabularies, data.catalogue, known, vectors)


def _scenarios(encoder: Encoder) -> Scenarios:
    """Return lists for all scenarios: the neighbours for what goes with an item, the frequency for `repeat`."""
    lists: Lists = encoder.statistics.cosine
    formula = Formula(exponent=0.5, shrinkage=SHRINKAGE)
    settings = {
        scenario: ListSettings(
            groups="history",
            formula=formula,
            channels={LIST_CHANNELS[scenario]: Channel(), POPULAR: Channel(weight=0)},
        )
        for scenario in LIST_SCENARIOS
    }
    repeat = RepeatSettings() if encoder.spec.repeats else None
    intervals = np.zeros(len(encoder.catalogue) + 1, np.float32)
    return Scenarios(ScenarioSettings(lists=settings, repeat=repeat), dict.fromkeys(LIST_SCENARIOS, lists), intervals)
