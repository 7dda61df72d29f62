"""Scores of items for a user, without any transport."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from recmesh.errors import InvalidRequest
from recmesh.features import Encoder
from recmesh.features.mapping import ITEM_ID
from recmesh.serving import metrics
from recmesh.serving.compute_gate import ComputeGate
from recmesh.serving.deadline import Deadline, within
from recmesh.serving.lazy_ids import ids_at, numbers
from recmesh.serving.models import UnknownValues, UserFeatureCache
from recmesh.serving.stages import ScoreList, ScoreQuery
from recmesh.stores.wire import item_fields
from services.rank.backend import AFFINITY, LARGE, SCORE, Backend, Inputs, ScoreArray, Scored
from services.rank.limits import MOST


@dataclass(frozen=True)
class RankRelease:
    """What rank holds of one release."""

    encoder: Encoder
    user_features: UserFeatureCache
    unknown_values: UnknownValues
    backend: Backend


class Releases(Protocol):
    """The releases that are ready."""

    def get(self, release: str = "") -> tuple[str, RankRelease]:
        """The asked-for release if it is held, else the active one; raises Unavailable when none is ready."""
        ...


class RankCore:
    """Scores items; the local form of the stage `RankStage`."""

    def __init__(self, releases: Releases, gate: ComputeGate) -> None:
        self._releases = releases
        self._gate = gate

    async def rank(self, query: ScoreQuery, timeout: float) -> ScoreList:
        """See `recmesh.serving.stages.RankStage`.

        Raises:
            DeadlineExceeded: the answer was not ready within `timeout` seconds.
            InvalidRequest: too many items.
            Unavailable: no release is ready.
        """
        return await within(timeout, "rank", self._rank(query, Deadline(timeout)))

    async def _rank(self, query: ScoreQuery, deadline: Deadline) -> ScoreList:
        count = len(query.ids) + len(query.items)
        if count > MOST:
            raise InvalidRequest(f"{count} items to rank: at most {MOST}")
        metrics.RANKED_ITEMS.observe(count)
        release_id, release = self._releases.get(query.release)
        ids = [*query.ids, *(item.sku_id for item in query.items)] if query.items else query.ids
        if not ids:
            return ScoreList((), (), release_id)
        scored = await self._scores(release, query, ids, deadline)
        return _best(ids, scored, query, release_id)

    async def _scores(self, release: RankRelease, query: ScoreQuery, ids: Sequence[str], deadline: Deadline) -> Scored:
        asked = await self._gate.run(lambda: _Ask(release, query, ids), in_thread=len(ids) > LARGE)
        if asked.inputs is None:
            return Scored(falling(len(ids)))
        output = AFFINITY if query.affinity else SCORE
        scored = await release.backend.score(asked.inputs, deadline.remaining(), output)
        scores = np.empty(len(ids), np.float32)
        scores[asked.order] = scored.scores
        return Scored(scores, scored.missing)


class _Ask:
    """The ranker's inputs of one request, and the place in the query of each of their rows."""

    def __init__(self, release: RankRelease, query: ScoreQuery, ids: Sequence[str]) -> None:
        encoder = release.encoder
        user, vector = release.user_features.encode(query.user)
        self.inputs: Inputs | None = None
        if query.ordered and not encoder.spec.rankers.get(encoder.segment(user, query.new_only), True):
            return
        items = numbers(ids, encoder.catalogue)
        unlisted = np.flatnonzero(items < 0)
        listed = np.flatnonzero(items >= 0)
        self.order = np.concatenate([listed, unlisted])
        fields = [{ITEM_ID: ids[position], **_fields(query, position)} for position in unlisted.tolist()]
        self.inputs = encoder.ranker_inputs(user, items[listed], query.new_only, fields, vector)
        release.unknown_values.count()


def _fields(query: ScoreQuery, position: int) -> dict[str, str]:
    """What the query says of the item at a position; nothing where it came by its id alone."""
    position -= len(query.ids)
    return item_fields(query.items[position]) if position >= 0 else {}


def falling(count: int) -> ScoreArray:
    """Scores that keep an order: from 1 down to 1 / count."""
    return np.linspace(1, 1 / max(count, 1), count, dtype=np.float32)


def _best(ids: Sequence[str], scored: Scored, query: ScoreQuery, release_id: str) -> ScoreList:
    scores, missing = scored
    if not query.size and not query.ids:
        return ScoreList(ids, scores.tolist(), release_id, missing)
    order = np.argsort(-scores, kind="stable")[: query.size or len(ids)]
    return ScoreList(ids_at(ids, order), scores[order].tolist(), release_id, missing)
