"""Scores items for a user, independently of the transport."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from recmesh import spans
from recmesh.contract import MAX_RANKED_ITEMS
from recmesh.errors import InvalidRequest
from recmesh.features import Encoder
from recmesh.features.mapping import ITEM_ID
from recmesh.features.spec import Longs
from recmesh.serving import metrics
from recmesh.serving.compute_gate import ComputeGate
from recmesh.serving.deadline import Deadline, within
from recmesh.serving.lazy_ids import catalogue_positions, take
from recmesh.serving.models import UnknownValues, UserFeatureCache
from recmesh.serving.stages import ScoreList, ScoreQuery
from recmesh.serving.warm import Releases
from recmesh.stores.wire import item_fields
from services.rank.backend import DEBIASED_SCORE, MAX_ITEMS_ON_LOOP, SCORE, Backend, Inputs, ScoreArray, Scored


@dataclass(frozen=True)
class RankRelease:
    """One release, as rank holds it."""

    encoder: Encoder
    user_features: UserFeatureCache
    unknown_values: UnknownValues
    backend: Backend


class RankCore:
    """Scores items: the local `RankStage`."""

    def __init__(self, releases: Releases[RankRelease], gate: ComputeGate) -> None:
        """Answer from the releases that are ready; `gate` runs the computations."""
        self._releases = releases
        self._gate = gate
        self.congestion = gate.congestion

    async def rank(self, query: ScoreQuery, timeout: float) -> ScoreList:
        """See `recmesh.serving.stages.RankStage`.

        Raises:
            DeadlineExceeded: The scores were not ready within `timeout` seconds.
            InvalidRequest: The query has too many items.
            Unavailable: No release is ready.
        """
        return await within(timeout, "rank", self._rank(query, Deadline(timeout)))

    async def _rank(self, query: ScoreQuery, deadline: Deadline) -> ScoreList:
        count = len(query.ids) + len(query.items)
        if count > MAX_RANKED_ITEMS:
            raise InvalidRequest(f"{count} items to rank: at most {MAX_RANKED_ITEMS}")
        metrics.RANKED_ITEMS.observe(count)
        release_id, release = self._releases.get(query.release)
        ids = [*query.ids, *(item.sku_id for item in query.items)] if query.items else query.ids
        if not ids:
            return ScoreList((), (), release_id)
        spans.annotate({spans.RELEASE: release_id, spans.CANDIDATES: count})
        encoded = await self._gate.run(
            lambda: _EncodedQuery(release, query, ids), in_thread=len(ids) > MAX_ITEMS_ON_LOOP
        )
        scored = await self._score(release, query, encoded, deadline)
        if scored.missing:
            spans.annotate({spans.DEGRADED: tuple(scored.missing)})
        best = np.argsort(-scored.scores, kind="stable")[: query.size or len(ids)]
        scores = scored.scores[best]
        effects = await self._effects(release, query, encoded, best, scores, deadline) if query.explain else {}
        best_ids = take(ids, best)
        vectors = _vectors(release.encoder, best_ids) if query.vectors else b""
        return ScoreList(best_ids, scores.tolist(), release_id, scored.missing, effects, vectors)

    async def _score(
        self, release: RankRelease, query: ScoreQuery, encoded: "_EncodedQuery", deadline: Deadline
    ) -> Scored:
        """A score for each item, in the order of the query."""
        if encoded.inputs is None:
            return Scored(_falling_scores(encoded.count))
        scored = await release.backend.score(encoded.inputs, deadline.remaining(), _output(query))
        scores = np.empty(encoded.count, np.float32)
        scores[encoded.order] = scored.scores
        return Scored(scores, scored.missing)

    async def _effects(
        self,
        release: RankRelease,
        query: ScoreQuery,
        encoded: "_EncodedQuery",
        best: Longs,
        scores: ScoreArray,
        deadline: Deadline,
    ) -> dict[str, list[float]]:
        """How much each group of features moved the scores of the best items."""
        if encoded.inputs is None or not release.encoder.feature_groups:
            return {}
        rows = np.argsort(encoded.order)[best]
        inputs = {name: values[rows] for name, values in encoded.inputs.items()}
        average = encoded.inputs["dense"].mean(axis=0)
        effects = {}
        for group in release.encoder.feature_groups:
            without = await release.backend.score(group.without(inputs, average), deadline.remaining(), _output(query))
            effects[group.name] = (scores - without.scores).tolist()
        return effects


class _EncodedQuery:
    """The ranker's inputs for a query.

    Attributes:
        count: Number of items.
        inputs: One row for each id; None if the query is ordered and the release has no ranker for its segment.
        order: The position of each row in the query.
    """

    def __init__(self, release: RankRelease, query: ScoreQuery, ids: Sequence[str]) -> None:
        encoder = release.encoder
        user, vector = release.user_features.encode(query.user)
        self.count = len(ids)
        self.inputs: Inputs | None = None
        if query.ordered and not encoder.spec.rankers.get(encoder.segment(user, query.new_only), True):
            return
        items = catalogue_positions(ids, encoder.catalogue)
        unlisted = np.flatnonzero(items < 0)
        listed = np.flatnonzero(items >= 0)
        self.order = np.concatenate([listed, unlisted])
        fields = [{ITEM_ID: ids[position], **_fields(query, position)} for position in unlisted.tolist()]
        self.inputs = encoder.ranker_inputs(user, items[listed], query.new_only, fields, vector)
        release.unknown_values.count()


def _fields(query: ScoreQuery, position: int) -> dict[str, str]:
    """The fields of the item at a position of the query; empty for items that the query names by id."""
    position -= len(query.ids)
    return item_fields(query.items[position]) if position >= 0 else {}


def _falling_scores(count: int) -> ScoreArray:
    """Scores from 1 down to 1 / count, which keep the order of the items."""
    return np.linspace(1, 1 / max(count, 1), count, dtype=np.float32)


def _output(query: ScoreQuery) -> str:
    return DEBIASED_SCORE if query.debiased else SCORE


def _vectors(encoder: Encoder, sku_ids: Sequence[str]) -> bytes:
    """The vectors of items, as `RankResponse.vectors` has them."""
    if not encoder.item_vectors.size:
        return b""
    # The last row, of zeros, is that of items outside the catalogue.
    return encoder.item_vectors[encoder.catalogue.encode(sku_ids)].astype("<f4").tobytes()
