"""Scores items for a user, independently of the transport."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from recmesh import spans
from recmesh.contract import MAX_RANKED_ITEMS
from recmesh.errors import InvalidRequest
from recmesh.features import Encoder
from recmesh.features.mapping import ITEM_ID
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
        scored = await self._score(release, query, ids, deadline)
        if scored.missing:
            spans.annotate({spans.DEGRADED: tuple(scored.missing)})
        return _best(ids, scored, query, release_id)

    async def _score(self, release: RankRelease, query: ScoreQuery, ids: Sequence[str], deadline: Deadline) -> Scored:
        """A score for each id, in the order of `ids`."""
        encoded = await self._gate.run(
            lambda: _EncodedQuery(release, query, ids), in_thread=len(ids) > MAX_ITEMS_ON_LOOP
        )
        if encoded.inputs is None:
            return Scored(_falling_scores(len(ids)))
        output = DEBIASED_SCORE if query.debiased else SCORE
        scored = await release.backend.score(encoded.inputs, deadline.remaining(), output)
        scores = np.empty(len(ids), np.float32)
        scores[encoded.order] = scored.scores
        return Scored(scores, scored.missing)


class _EncodedQuery:
    """The ranker's inputs for a query.

    Attributes:
        inputs: One row for each id; None if the query is ordered and the release has no ranker for its segment.
        order: The position of each row in the query.
    """

    def __init__(self, release: RankRelease, query: ScoreQuery, ids: Sequence[str]) -> None:
        encoder = release.encoder
        user, vector = release.user_features.encode(query.user)
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


def _best(ids: Sequence[str], scored: Scored, query: ScoreQuery, release_id: str) -> ScoreList:
    scores, missing = scored
    order = np.argsort(-scores, kind="stable")[: query.size or len(ids)]
    return ScoreList(take(ids, order), scores[order].tolist(), release_id, missing)
