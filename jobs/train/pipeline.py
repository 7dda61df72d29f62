"""The training from end to end: prepare, windows, statistics and towers of each moment, rows, ranker, evaluation,
release."""

import hashlib
import shutil
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from jobs.train.data import leaks, statistics
from jobs.train.data.prepare import Prepared, prepare
from jobs.train.data.rows import Moment, candidates, retrieved, sampled, segments_of
from jobs.train.data.windows import Plan, Window, plan
from jobs.train.export import release
from jobs.train.models import affinity
from jobs.train.models.towers import Towers
from jobs.train.models.two_tower import TwoTower, user_vectors
from jobs.train.report import document
from jobs.train.report.document import Sources
from jobs.train.report.incumbent import Incumbent
from jobs.train.report.observer import Observer
from jobs.train.selection import ranking
from jobs.train.selection.budget import Budget
from jobs.train.selection.quotas import STRONG, quotas
from jobs.train.selection.ranking import Lists
from recmesh.dataset import read
from recmesh.errors import ReleaseError
from recmesh.features import CHANNELS, Encoder, FeatureSpec, Segment, Statistics
from recmesh.features.encoder import padded
from recmesh.features.ranker_inputs import column_sizes, dense_names
from recmesh.features.spec import Channel, Floats
from recmesh.progress import Reporter
from recmesh.releases import ModelStore, SegmentMetrics
from recmesh.releases.versions import release_ids

_TRAINED_USERS, _TESTED_USERS = 600, 1500
_LOOKED_AT = 400
_AHEAD = 2


@dataclass(frozen=True)
class Outcome:
    """What a training made. `current`: the store had it already."""

    release: str
    current: bool
    metrics: Mapping[str, SegmentMetrics]


def train(
    folder: Path, store: ModelStore, work: Path, seed: int, reporter: Reporter, budget: Budget | None = None
) -> Outcome:
    """Train on a data set folder and put the release into the store; with a budget, more is tried while it lasts.

    Raises DataError when the data set cannot be used or is too small, ReleaseError when the exported models disagree,
    LeakError when features have seen what they are to predict.
    """
    began, budget = time.monotonic(), budget or Budget()
    work.mkdir(parents=True, exist_ok=True)
    with reporter.step("reading the data set"):
        dataset = read(folder, rejects=work / "rejects.csv")
    identities = release_ids(dataset.fingerprint, seed, budget.seconds)
    for identity in identities:
        known = _stored(store, identity)
        if known is not None:
            return Outcome(identity, True, known)
    identity = identities[0]
    with reporter.step("preparing"):
        data = prepare(dataset)
        windows = plan(data, seed)
    reporter.say(
        f"{len(data.start) - 1:,} users, {len(data.catalogue):,} items, {len(data.items):,} actions; "
        f"{len(windows.windows)} windows, by {'the calendar' if windows.clock else 'the order of each user'}"
    )
    active = Incumbent.of(store, work / "active", dataset, data)
    trained = _train(data, windows, active, seed, reporter, budget)
    target = work / identity
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    try:
        with reporter.step("exporting and comparing the models"):
            differences = release.write_artifacts(trained, target, seed)
        with reporter.step("report"):
            sources = Sources(dataset, windows, trained, active.facts(), seed, began)
            report = document.write(sources, target, identity)
        schema_hash = hashlib.sha256(dataset.schema.dump().encode()).hexdigest()
        release.seal(trained, report, differences, target, dataset.fingerprint, schema_hash)
        store.put(target)
    finally:
        shutil.rmtree(target, ignore_errors=True)
    return Outcome(identity, False, trained.metrics)


def _stored(store: ModelStore, identity: str) -> Mapping[str, SegmentMetrics] | None:
    try:
        return store.manifest(identity).metrics
    except ReleaseError:
        return None


def _train(
    data: Prepared, windows: Plan, active: Incumbent, seed: int, reporter: Reporter, budget: Budget
) -> release.Trained:
    spec = _spec(data, windows)
    models = Towers(data, spec.tower, windows, seed, reporter)
    lists = Lists()
    fitted: list[Segment] = []
    for window, known in _statistics(data, spec, windows, reporter):
        towers = models.of(window, known)
        leaks.check_towers(data, window, towers.shown)
        vectors = towers.item_vectors()
        moment = _moment(data, spec, window, known, towers, vectors)
        new = [segment for segment in segments_of(data, window) if segment not in fitted]
        if new:
            spec = _with_quotas(data, spec, moment, new, lists, seed)
            fitted += new
            moment = _moment(data, spec, window, known, towers, vectors)
        _collect(data, moment, lists, active, seed, reporter)
    ranked = ranking.fit(spec, lists, seed, reporter, budget)
    spec = ranked.spec
    explained = {"wide": ranked.weights, "deep_share": ranked.alphas, "affinity_auc": ranked.affinity_auc}
    with reporter.step("release: statistics"):
        known = statistics.build(data, spec, data.start[1:], spec.as_of)
    towers = models.of_release()
    vectors = towers.item_vectors()
    encoder = Encoder(spec, data.user_vocabularies, data.item_vocabularies, data.catalogue, known, padded(vectors))
    return release.Trained(
        data, encoder, towers, vectors, ranked.model, ranked.metrics, explained, lists.observed, ranked.judged
    )


def _statistics(
    data: Prepared, spec: FeatureSpec, windows: Plan, reporter: Reporter
) -> Iterator[tuple[Window, Statistics]]:
    """Each window with its checked statistics. Those of the next are built while one is in use: most of the building
    is in libraries that leave the interpreter to others, and on two cores it then costs next to no time."""

    def built(window: Window) -> Statistics:
        known = statistics.build(data, spec, window.known, window.as_of, with_lists=not window.cold)
        leaks.check_statistics(data, spec, window, known)
        return known

    for window in windows.windows:
        leaks.check_window(data, windows, window)
    waiting = deque(windows.windows)
    with ThreadPoolExecutor(1, "statistics") as thread:
        ahead = deque(thread.submit(built, waiting.popleft()) for _ in range(min(_AHEAD, len(waiting))))
        for window in windows.windows:
            with reporter.step(f"{window.name}: statistics"):
                known = ahead.popleft().result()
            if waiting:
                ahead.append(thread.submit(built, waiting.popleft()))
            yield window, known


def _moment(
    data: Prepared, spec: FeatureSpec, window: Window, known: Statistics, towers: TwoTower, vectors: Floats
) -> Moment:
    encoder = Encoder(spec, data.user_vocabularies, data.item_vocabularies, data.catalogue, known, padded(vectors))
    return Moment(window, encoder, vectors, user_vectors(towers.exported_user_tower(vectors), encoder))


def _with_quotas(
    data: Prepared, spec: FeatureSpec, moment: Moment, segments: Sequence[Segment], lists: Lists, seed: int
) -> FeatureSpec:
    """The spec with the depths and weights of the channels of some segments, as a first look at a training window
    suggests."""
    users = np.random.default_rng(seed).permutation(moment.window.labelled())[:_LOOKED_AT]
    channels = dict(spec.channels)
    for segment in segments:
        found = list(retrieved(data, moment, users, segment))
        if found:
            channels[segment], decisions = quotas(
                found, tuple(channels[segment]), spec.candidates, moment.encoder.scratch
            )
            lists.decisions[segment] += decisions
    return spec.model_copy(update={"channels": channels})


def _spec(data: Prepared, windows: Plan) -> FeatureSpec:
    channels: dict[Segment, dict[str, Channel]] = {
        "cold": dict.fromkeys(("two_tower", "popular"), STRONG),
        "novel": dict.fromkeys(("two_tower", "neighbours", "popular"), STRONG),
    }
    if data.spec.repeats:
        channels["repeat"] = dict.fromkeys(CHANNELS, STRONG)
    popularities = statistics.CALENDAR if windows.clock else statistics.OWN_ORDER
    spec = data.spec.model_copy(update={"clock": windows.clock, "popularities": popularities, "channels": channels})
    sizes = ([v.size for v in data.user_vocabularies], [v.size for v in data.item_vocabularies])
    return spec.model_copy(update={"dense": dense_names(spec), "columns": column_sizes(spec, *sizes)})


def _collect(data: Prepared, moment: Moment, lists: Lists, active: Incumbent, seed: int, reporter: Reporter) -> None:
    window = moment.window
    users = np.random.default_rng(seed).permutation(window.labelled())
    users = users[: _TESTED_USERS if window.held_out else _TRAINED_USERS]
    for segment in segments_of(data, window):
        found, pairs, rng = [], [], np.random.default_rng(seed)
        observer = Observer(data, moment, segment, active) if window.held_out else None
        with reporter.bar(f"{window.name}: lists of {segment}", len(users)) as advance:
            for one in candidates(data, moment, users, segment):
                leaks.check_history(data, window, one)
                found.append(one)
                pairs.append(affinity.pairs(moment, one, rng))
                if observer:
                    observer.see(one)
                advance(1)
        lists.rows[segment].append((window, sampled(found, segment, seed)))
        lists.pairs[segment].append((window, affinity.joined(pairs)))
        if observer:
            lists.tested[segment] = found
            lists.observed[segment] = observer.observed(found)
            lists.popularity[segment] = observer.popularity(found)
        elif window.early:
            lists.early[segment] += found[:_LOOKED_AT]
        elif window.apart:
            lists.apart[segment].append((window, found[:_LOOKED_AT]))
