"""The training from end to end: prepare, windows, statistics and towers of each moment, rows, ranker, evaluation, release."""

import hashlib
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from jobs.train import deepfm, release, statistics, wide
from jobs.train.deepfm import Buckets, DeepFM
from jobs.train.evaluate import metrics
from jobs.train.prepare import Prepared, prepare
from jobs.train.progress import Reporter
from jobs.train.rows import Candidates, Moment, Rows, candidates, joined, sampled, segments_of
from jobs.train.two_tower import FULL_SOFTMAX, Effort, TwoTower, user_vectors
from jobs.train.wide import Wide
from jobs.train.windows import Plan, Window, plan
from recmesh.dataset import read
from recmesh.errors import ReleaseError
from recmesh.features import CHANNELS, SEGMENTS, Encoder, FeatureSpec, Segment
from recmesh.features.encoder import padded
from recmesh.features.ranker_inputs import column_sizes, dense_names, never_negative
from recmesh.features.spec import Channel, Floats, Ints, Longs
from recmesh.releases import ModelStore, SegmentMetrics

ALPHAS = (0.0, 0.25, 0.5, 1.0)
"""Shares of the deep part that are tried on the held-out window."""

_TRAINED_USERS, _TESTED_USERS = 1200, 1500
_EPOCHS = 3


@dataclass(frozen=True)
class Outcome:
    """What a training made. `current`: the store had it already."""

    release: str
    current: bool
    metrics: Mapping[str, SegmentMetrics]


@dataclass
class _Lists:
    """Lists of the ranker by segment: rows of the training windows, rows and whole lists of the held-out one."""

    training: dict[Segment, list[Rows]] = field(default_factory=lambda: {segment: [] for segment in SEGMENTS})
    held_out: dict[Segment, list[Rows]] = field(default_factory=lambda: {segment: [] for segment in SEGMENTS})
    tested: dict[Segment, list[Candidates]] = field(default_factory=lambda: {segment: [] for segment in SEGMENTS})
    popularity: dict[Segment, dict[str, float]] = field(default_factory=dict)


def train(folder: Path, store: ModelStore, work: Path, seed: int, reporter: Reporter) -> Outcome:
    """Train on a data set folder and put the release into the store.

    Raises DataError when the data set cannot be used or is too small, ReleaseError when the exported models disagree.
    """
    work.mkdir(parents=True, exist_ok=True)
    with reporter.step("reading the data set"):
        dataset = read(folder, rejects=work / "rejects.csv")
    identity = release.release_id(dataset.fingerprint, seed)
    known = _stored(store, identity)
    if known is not None:
        return Outcome(identity, True, known)
    with reporter.step("preparing"):
        data = prepare(dataset)
        windows = plan(data, seed)
    reporter.say(f"{len(data.start) - 1:,} users, {len(data.catalogue):,} items, {len(data.items):,} actions; "
                 f"{len(windows.windows)} windows, by {'the calendar' if windows.clock else 'the order of each user'}")
    trained = _train(data, windows, seed, reporter)
    target = work / identity
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    try:
        with reporter.step("exporting and comparing the models"):
            schema_hash = hashlib.sha256(dataset.schema.dump().encode()).hexdigest()
            release.write(trained, target, identity, dataset.fingerprint, schema_hash, seed)
        store.put(target)
    finally:
        shutil.rmtree(target, ignore_errors=True)
    return Outcome(identity, False, trained.metrics)


def _stored(store: ModelStore, identity: str) -> Mapping[str, SegmentMetrics] | None:
    try:
        return store.manifest(identity).metrics
    except ReleaseError:
        return None


def _train(data: Prepared, windows: Plan, seed: int, reporter: Reporter) -> release.Trained:
    spec = _spec(data, windows)
    towers: TwoTower | None = None
    lists = _Lists()
    steps = 200 if len(data.catalogue) <= FULL_SOFTMAX else 80
    vectors: Floats = np.empty((0, 0), np.float32)
    for window in windows.windows:
        with reporter.step(f"{window.name}: statistics"):
            known = statistics.build(data, spec, window.known, window.as_of, with_lists=not window.cold)
        if not window.cold:
            visible = np.where(windows.hidden, data.start[:-1], window.known)
            first = towers is None
            towers = towers or TwoTower(data, spec.tower, known.popularity[:, 0], seed)
            _fit(towers, data, visible, Effort(steps) if first else Effort(steps // 4, 2e-3), f"{window.name}: two-tower", reporter)
            vectors = towers.item_vectors()
        assert towers is not None  # every plan begins with a warm window
        encoder = Encoder(spec, data.user_vocabularies, data.item_vocabularies, data.catalogue, known, padded(vectors))
        moment = Moment(window, encoder, vectors, user_vectors(towers.exported_user_tower(vectors), encoder))
        _collect(data, moment, lists, seed, reporter)
    assert towers is not None
    ranker, spec, results = _rank(spec, lists, seed, reporter)
    with reporter.step("release: statistics"):
        known = statistics.build(data, spec, data.start[1:], spec.as_of)
    _fit(towers, data, data.start[1:], Effort(steps // 2, 2e-3), "release: two-tower", reporter)
    vectors = towers.item_vectors()
    encoder = Encoder(spec, data.user_vocabularies, data.item_vocabularies, data.catalogue, known, padded(vectors))
    return release.Trained(data, encoder, towers, vectors, ranker, results)


def _spec(data: Prepared, windows: Plan) -> FeatureSpec:
    channels: dict[Segment, dict[str, Channel]] = {
        "cold": {name: Channel() for name in ("two_tower", "popular")},
        "novel": {name: Channel() for name in ("two_tower", "neighbours", "popular")},
    }
    if data.spec.repeats:
        channels["repeat"] = {name: Channel() for name in CHANNELS}
    popularities = statistics.CALENDAR if windows.clock else statistics.OWN_ORDER
    spec = data.spec.model_copy(update={"clock": windows.clock, "popularities": popularities, "channels": channels})
    sizes = ([v.size for v in data.user_vocabularies], [v.size for v in data.item_vocabularies])
    return spec.model_copy(update={"dense": dense_names(spec), "columns": column_sizes(spec, *sizes)})


def _fit(towers: TwoTower, data: Prepared, known: Longs, effort: Effort, name: str, reporter: Reporter) -> None:
    done = 0
    with reporter.bar(name, effort.steps) as advance:

        def progress(step: int, _: float) -> None:
            nonlocal done
            advance(step - done)
            done = step

        towers.fit(data, known, effort, progress)


def _collect(data: Prepared, moment: Moment, lists: _Lists, seed: int, reporter: Reporter) -> None:
    window = moment.window
    users = np.random.default_rng(seed).permutation(window.labelled())
    users = users[: _TESTED_USERS if window.held_out else _TRAINED_USERS]
    for segment in segments_of(data, window):
        number = SEGMENTS.index(segment)
        found = []
        with reporter.bar(f"{window.name}: lists of {segment}", len(users)) as advance:
            for one in candidates(data, moment, users, segment):
                found.append(one)
                advance(1)
        rows = sampled(found, number, seed)
        if window.held_out:
            lists.held_out[segment].append(rows)
            lists.tested[segment] += found
            lists.popularity[segment] = _popularity(moment, found)
        else:
            lists.training[segment].append(rows)


def _popularity(moment: Moment, found: Sequence[Candidates]) -> dict[str, float]:
    order = moment.encoder.statistics.order
    heads = (order[: 100 + len(one.excluded)] for one in found)
    return metrics((head[~np.isin(head, one.excluded)], one.wanted) for head, one in zip(heads, found, strict=True))


def _rank(
    spec: FeatureSpec, lists: _Lists, seed: int, reporter: Reporter
) -> tuple[DeepFM, FeatureSpec, dict[str, SegmentMetrics]]:
    """Fit the ranker on the training windows, decide on the held-out one, then refit the wide part on all of them."""
    bounded = never_negative(spec)
    rows = {segment: joined(lists.training[segment]) for segment in SEGMENTS}
    with reporter.step("ranker: wide part"):
        wides = {segment: wide.fit(rows[segment], bounded) for segment in SEGMENTS}
    ranker, alphas = _deep(spec, wides, rows, lists, seed, reporter)
    results: dict[str, SegmentMetrics] = {}
    rankers: dict[Segment, bool] = {}
    for segment in SEGMENTS:
        tested = lists.tested[segment]
        merged = metrics((one.merged.items, one.wanted) for one in tested)
        ranked = metrics(_ordered(ranker, one) for one in tested)
        rankers[segment] = _value(ranked) >= _value(merged)
        if tested:
            results[segment] = SegmentMetrics(
                users=len(tested),
                chain=ranked if rankers[segment] else merged,
                popularity=lists.popularity[segment],
                channels=_channels(tested) | {"merged": merged},
            )
    with reporter.step("ranker: wide part, all windows"):
        every = {segment: joined([*lists.training[segment], *lists.held_out[segment]]) for segment in SEGMENTS}
        ranker.set_wide({segment: wide.fit(every[segment], bounded) for segment in SEGMENTS}, alphas)
    logits = [rows[segment].dense[:, spec.dense.index("tower")] for segment in SEGMENTS if len(rows[segment].labels)]
    neutral = float(np.concatenate(logits).mean()) if logits else 0.0
    return ranker, spec.model_copy(update={"rankers": rankers, "neutral_logit": neutral}), results


def _deep(
    spec: FeatureSpec,
    wides: Mapping[Segment, Wide],
    rows: Mapping[Segment, Rows],
    lists: _Lists,
    seed: int,
    reporter: Reporter,
) -> tuple[DeepFM, dict[Segment, float]]:
    """Train the residual until an epoch helps no segment, and choose each segment's share of it on the held-out lists."""
    every = joined([rows[segment] for segment in SEGMENTS])
    dense = every.dense if len(every.labels) else np.zeros((1, len(spec.dense)), np.float32)
    buckets = Buckets.of(dense)
    model = DeepFM(wides, buckets, spec.columns, seed)
    alphas: dict[Segment, float] = dict.fromkeys(SEGMENTS, 0.0)
    if not len(every.labels):
        return model, alphas
    index = model.index(buckets, every.dense, every.sparse)
    fixed = np.concatenate([wides[segment](rows[segment].dense) for segment in SEGMENTS if len(rows[segment].labels)])
    optimizer = deepfm.optimizer_of(model)
    best = sum(_value(_with(model, lists.tested[segment], 0.0)) for segment in SEGMENTS)
    state = model.state_dict()
    for epoch in range(_EPOCHS):
        with reporter.bar(f"ranker: DeepFM, epoch {epoch + 1}", len(every.weight)) as advance:
            deepfm.train_epoch(model, index, fixed, every, optimizer, seed + epoch, advance)
        chosen = {segment: _best_alpha(model, lists.tested[segment]) for segment in SEGMENTS}
        value = sum(_value(_with(model, lists.tested[segment], alpha)) for segment, alpha in chosen.items())
        if value <= best:
            break
        best, alphas = value, chosen
        state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    model.set_state_dict(state)
    model.set_wide(wides, alphas)
    reporter.say("ranker: share of the deep part " + ", ".join(f"{segment} {alpha:g}" for segment, alpha in alphas.items()))
    return model, alphas


def _best_alpha(model: DeepFM, tested: Sequence[Candidates]) -> float:
    return max(ALPHAS, key=lambda alpha: (_value(_with(model, tested, alpha)), -alpha))


def _with(model: DeepFM, tested: Sequence[Candidates], alpha: float) -> dict[str, float]:
    model.set_alpha(dict.fromkeys(SEGMENTS, alpha))
    return metrics(_ordered(model, one) for one in tested)


def _ordered(model: DeepFM, one: Candidates) -> tuple[Ints, Ints]:
    order = np.argsort(-model.scores(one.dense, one.sparse), kind="stable")
    return one.merged.items[order], one.wanted


def _value(figures: Mapping[str, float]) -> float:
    """What a choice is made by: the head of the list, by hits and by their places."""
    return figures["recall@10"] + figures["ndcg@10"]


def _channels(tested: Sequence[Candidates]) -> dict[str, dict[str, float]]:
    names = dict.fromkeys(name for one in tested for name in one.channels)
    return {name: metrics((one.channels[name].items, one.wanted) for one in tested) for name in names}
