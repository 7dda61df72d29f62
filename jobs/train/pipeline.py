"""Training from end to end: windows, the statistics, towers and rows of each window, the ranker, and the release."""

import hashlib
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from jobs.train.data import counts, leaks, statistics
from jobs.train.data.prepare import Prepared, prepare
from jobs.train.data.rows import Snapshot, candidates, retrieved, sampled, segments_of
from jobs.train.data.trending import trending_at
from jobs.train.data.windows import Plan, Role, Window, plan
from jobs.train.export import release
from jobs.train.models import debiased_score
from jobs.train.models.towers import Towers
from jobs.train.models.two_tower import TwoTower, user_vectors
from jobs.train.report import document
from jobs.train.report.document import Sources
from jobs.train.report.incumbent import Incumbent
from jobs.train.report.observer import Observer
from jobs.train.selection import fit
from jobs.train.selection.budget import Budget
from jobs.train.selection.quotas import STRONG, quotas
from jobs.train.selection.scenarios import ScenarioTraining
from jobs.train.selection.trials import Lists
from recmesh.contract import TRENDING
from recmesh.dataset import read
from recmesh.dataset.merging import merged
from recmesh.errors import ReleaseError
from recmesh.features import CHANNELS, Encoder, FeatureSpec, Segment, Statistics
from recmesh.features.encoder import padded
from recmesh.features.spec import Channel, Floats
from recmesh.progress import Reporter
from recmesh.releases import ModelStore, SegmentMetrics, TrainingFacts
from recmesh.releases.abandoned import claimed, remove_abandoned
from recmesh.releases.versions import release_ids

TRAINING_USERS, HELD_OUT_USERS = 600, 1500
"""Users of a window whose lists are made."""

EVALUATION_USERS = 400
"""Users of a window with the role EARLY or FOLD on whose lists options are evaluated, and whose results decide the
quotas of the channels."""

WINDOWS_AHEAD = 2
"""Windows whose statistics are computed in advance."""


@dataclass(frozen=True)
class Outcome:
    """The result of a training.

    Attributes:
        release: The id of the release.
        current: Whether the store already held it.
        metrics: Held-out metrics, by segment.
    """

    release: str
    current: bool
    metrics: Mapping[str, SegmentMetrics]


def train(
    folder: Path,
    store: ModelStore,
    work: Path,
    seed: int,
    reporter: Reporter,
    budget: Budget | None = None,
    archive: str = "",
) -> Outcome:
    """Train on a data set and put the release into the store.

    Args:
        folder: The data set.
        store: The model store. Its active release is compared with the new one.
        work: Folder for rejects.csv and temporary files.
        seed: Random seed.
        reporter: Shows the progress.
        budget: With a time limit, further ways to rank are tried while it lasts.
        archive: URL of the archive of feed's log, which continues the data set; empty for none.

    Raises:
        DataError: The data set cannot be used, or is too small.
        ReleaseError: The two formats of an exported model differ.
        LeakError: Features depend on the labels that they must predict.
    """
    began, budget = time.monotonic(), budget or Budget()
    work.mkdir(parents=True, exist_ok=True)
    remove_abandoned(work)
    with reporter.step("reading the data set"):
        dataset, positions, _ = merged(read(folder, rejects=work / "rejects.csv"), archive)
    reporter.warn(dataset.report.warnings)
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
        f"{len(windows.windows)} windows, split by {'date' if windows.clock else 'position in each history'}"
    )
    incumbent = Incumbent.of(store, work / "active", dataset, data)
    trained = _train(data, windows, incumbent, seed, reporter, budget)
    with claimed(work / identity) as target:
        target.mkdir()
        with reporter.step("exporting and comparing the models"):
            differences = release.write_artifacts(trained, target, seed)
        with reporter.step("report"):
            sources = Sources(dataset, windows, trained, incumbent.facts(), seed, began)
            report = document.write(sources, target, identity)
        schema_hash = hashlib.sha256(dataset.schema.dump().encode()).hexdigest()
        read_rows = dataset.report.tally("actions").outcomes
        facts = TrainingFacts(seconds=round(time.monotonic() - began, 1), rows=read_rows, log=dict(positions))
        release.seal(trained, report, differences, target, dataset.fingerprint, schema_hash, facts)
        store.put(target)
    return Outcome(identity, False, trained.metrics)


def _stored(store: ModelStore, identity: str) -> Mapping[str, SegmentMetrics] | None:
    try:
        return store.manifest(identity).metrics
    except ReleaseError:
        return None


def _train(
    data: Prepared, windows: Plan, incumbent: Incumbent, seed: int, reporter: Reporter, budget: Budget
) -> release.Trained:
    spec = feature_spec(data, windows)
    models = Towers(data, spec.tower, windows, seed, reporter)
    lists, scenarios = Lists(), ScenarioTraining(data, windows.windows, seed)
    fitted: list[Segment] = []
    for window, known in _statistics(data, spec, windows, reporter):
        towers = models.of(window)
        leaks.check_towers(data, window, towers.shown)
        vectors = towers.item_vectors()
        snapshot = _snapshot(data, spec, window, known, towers, vectors)
        new = [segment for segment in segments_of(data, window) if segment not in fitted]
        if new:
            spec = _with_quotas(data, spec, snapshot, new, lists, seed)
            fitted += new
            snapshot = _snapshot(data, spec, window, known, towers, vectors)
        _collect(data, snapshot, lists, incumbent, seed, reporter)
        if scenarios.uses(window):
            with reporter.step(f"{window.name}: scenarios"):
                scenarios.observe(snapshot)
    ranked = fit.fit(spec, lists, seed, reporter, budget)
    spec = ranked.spec
    explained = {"wide": ranked.weights, "deep_share": ranked.shares, "affinity_auc": ranked.debiased_auc}
    with reporter.step("release: statistics"):
        known = statistics.build(data, spec, data.start[1:], spec.as_of)
    with reporter.step("release: scenarios"):
        of_scenarios = scenarios.finish()
    towers = models.of_release()
    vectors = towers.item_vectors()
    encoder = Encoder(spec, data.user_vocabularies, data.item_vocabularies, data.catalogue, known, padded(vectors))
    return release.Trained(
        data,
        encoder,
        towers,
        vectors,
        ranked.model,
        ranked.metrics,
        explained,
        lists.observed,
        ranked.judged,
        of_scenarios,
        scenarios.measured,
    )


def _statistics(
    data: Prepared, spec: FeatureSpec, windows: Plan, reporter: Reporter
) -> Iterator[tuple[Window, Statistics]]:
    """Yield each window with its statistics, which have passed the leak check.

    The statistics of the next windows are built at the same time in another thread. Most of the work is in libraries
    that release the interpreter lock, so on two cores it takes almost no extra time.
    """

    def built(window: Window) -> Statistics:
        known = statistics.build(data, spec, window.known, window.as_of, with_lists=not window.cold)
        leaks.check_statistics(data, spec, window, known)
        return known

    for window in windows.windows:
        leaks.check_window(data, windows, window)
    waiting = deque(windows.windows)
    with ThreadPoolExecutor(1, "statistics") as thread:
        ahead = deque(thread.submit(built, waiting.popleft()) for _ in range(min(WINDOWS_AHEAD, len(waiting))))
        for window in windows.windows:
            with reporter.step(f"{window.name}: statistics"):
                known = ahead.popleft().result()
            if waiting:
                ahead.append(thread.submit(built, waiting.popleft()))
            yield window, known


def _snapshot(
    data: Prepared, spec: FeatureSpec, window: Window, known: Statistics, towers: TwoTower, vectors: Floats
) -> Snapshot:
    encoder = Encoder(spec, data.user_vocabularies, data.item_vocabularies, data.catalogue, known, padded(vectors))
    to_vectors = user_vectors(towers.exported_user_tower(vectors), encoder)
    return Snapshot(window, encoder, vectors, to_vectors, trending_at(data, spec, window))


def _with_quotas(
    data: Prepared, spec: FeatureSpec, snapshot: Snapshot, segments: Sequence[Segment], lists: Lists, seed: int
) -> FeatureSpec:
    """Return the spec with quotas for the channels of some segments, chosen on their first training window."""
    users = np.random.default_rng(seed).permutation(snapshot.window.labelled())[:EVALUATION_USERS]
    channels = dict(spec.channels)
    for segment in segments:
        found = list(retrieved(data, snapshot, users, segment))
        if found:
            channels[segment], decisions = quotas(
                found, tuple(channels[segment]), spec.candidates, snapshot.encoder.scratch, snapshot.rates
            )
            lists.decisions[segment] += decisions
    return spec.model_copy(update={"channels": channels})


def feature_spec(data: Prepared, windows: Plan) -> FeatureSpec:
    """Return the spec of a training: its channels all have the same quota, and no segment has a ranker yet."""
    channels: dict[Segment, dict[str, Channel]] = {
        "cold": dict.fromkeys(("two_tower", "popular", "new"), STRONG),
        "novel": dict.fromkeys(("two_tower", "neighbours", "popular", "new"), STRONG),
    }
    if data.spec.repeats:
        channels["repeat"] = dict.fromkeys((name for name in CHANNELS if name != TRENDING), STRONG)
    return counts.feature_spec(data, clock=windows.clock, channels=channels, rankers={})


def _collect(
    data: Prepared, snapshot: Snapshot, lists: Lists, incumbent: Incumbent, seed: int, reporter: Reporter
) -> None:
    """Make the lists of a window, and add what training needs of them to `lists`."""
    window = snapshot.window
    users = np.random.default_rng(seed).permutation(window.labelled())
    users = users[: HELD_OUT_USERS if window.held_out else TRAINING_USERS]
    for segment in segments_of(data, window):
        found, pairs, rng = [], [], np.random.default_rng(seed)
        observer = Observer(data, snapshot, segment, incumbent) if window.held_out else None
        with reporter.bar(f"{window.name}: lists of {segment}", len(users)) as advance:
            for candidate_list in candidates(data, snapshot, users, segment):
                leaks.check_history(data, window, candidate_list)
                found.append(candidate_list)
                pairs.append(debiased_score.pairs(snapshot, candidate_list, rng))
                if observer:
                    observer.record(candidate_list)
                advance(1)
        lists.rows[segment].append((window, sampled(found, segment, seed)))
        lists.pairs[segment].append((window, debiased_score.joined(pairs)))
        if observer:
            lists.tested[segment] = found
            lists.observed[segment] = observer.observed(found)
            lists.popularity[segment] = observer.popularity(found)
        elif window.role is Role.EARLY:
            lists.early[segment] += found[:EVALUATION_USERS]
        elif window.role is Role.FOLD:
            lists.folds[segment].append((window, found[:EVALUATION_USERS]))
