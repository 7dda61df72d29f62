"""Candidates for a user, without any transport: ask the channels, merge what they give."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from recmesh.errors import InvalidRequest, RecmeshError, Unavailable
from recmesh.features import CHANNELS, Encoder
from recmesh.features.encoder import MOST_UNLISTED
from recmesh.features.spec import Ints
from recmesh.releases import Manifest
from recmesh.retrieval import Merged, Retriever, Scored
from recmesh.serving.compute_gate import ComputeGate
from recmesh.serving.deadline import Deadline, within
from recmesh.serving.lazy_ids import LazyIds
from recmesh.serving.models import UnknownValues, UserFeatureCache, Vector
from recmesh.serving.stages import ANONYMOUS, CandidateList, CandidateQuery, ChannelScores
from recmesh.stores.milvus import MilvusReader
from services.recall.coalescer import Coalescer

TWO_TOWER, POPULAR = "two_tower", "popular"

# The channels give about as many candidates as the ranker is trained on. More follow only where the caller asks for
# more than that, or where they give fewer than the chain needs for the largest answer.
_ENOUGH = 250

# Of what a caller gives us, Milvus gets at most this part: there must be time left to answer without it.
_SEARCH_SHARE = 0.6
# What must not come makes a search longer, in steps of this many: searches of equal limits can go together.
_LIMIT_STEP = 64


class AllChannelsAway(Unavailable):
    """None of the channels that were asked could answer."""


@dataclass(frozen=True)
class RecallRelease:
    """What recall holds of one release."""

    encoder: Encoder
    retriever: Retriever
    user_features: UserFeatureCache
    unknown_values: UnknownValues
    vectors: Coalescer

    @classmethod
    def warmed(
        cls,
        manifest: Manifest,
        encoder: Encoder,
        user_features: UserFeatureCache,
        unknown_values: UnknownValues,
        milvus: MilvusReader,
        gate: ComputeGate,
    ) -> "RecallRelease":
        """Around an encoder that is loaded already; every part has run once."""
        vectors = Coalescer(milvus.collection(manifest.collection, manifest.index).search, gate.idle)
        release = cls(encoder, Retriever(encoder), user_features, unknown_values, vectors)
        ask = _Ask(release, CandidateQuery(ANONYMOUS, size=encoder.spec.candidates))
        ask.answer(manifest.id, ask.in_memory(), ())
        return release


class Releases(Protocol):
    """The releases that are ready."""

    def get(self, release: str = "") -> tuple[str, RecallRelease]:
        """The asked-for release if it is held, else the active one; raises Unavailable when none is ready."""
        ...


class RecallCore:
    """Asks the channels; the local form of the stage `CandidateStage`.

    Args:
        releases: that are ready.
        gate: for what is computed here.
        channel_timeout: seconds that Milvus has at most.
    """

    def __init__(self, releases: Releases, gate: ComputeGate, channel_timeout: float) -> None:
        self._releases = releases
        self._gate = gate
        self._channel_timeout = channel_timeout

    async def recall(self, query: CandidateQuery, timeout: float) -> CandidateList:
        """See `recmesh.serving.stages.CandidateStage`.

        Raises:
            DeadlineExceeded: the answer was not ready within `timeout` seconds.
            InvalidRequest: there is no such channel.
            AllChannelsAway: no channel that was asked could answer.
            Unavailable: no release is ready.
        """
        return await within(timeout, "recall", self._recall(query, Deadline(timeout)))

    async def _recall(self, query: CandidateQuery, deadline: Deadline) -> CandidateList:
        if query.channel and query.channel not in CHANNELS:
            raise InvalidRequest(f"recall_type {query.channel!r} is no channel: use one of {', '.join(CHANNELS)}")
        release_id, release = self._releases.get(query.release)
        ask = await self._gate.run(lambda: _Ask(release, query))
        search = self._search(ask, deadline) if TWO_TOWER in ask.channels else None
        try:
            # Lets the search leave before this thread computes: Milvus works meanwhile.
            await asyncio.sleep(0)
            found = await self._gate.run(ask.in_memory)
            degraded: tuple[str, ...] = ()
            if search is not None:
                try:
                    found[TWO_TOWER] = await search
                except RecmeshError as error:
                    if not found:
                        raise AllChannelsAway(str(error)) from error
                    degraded = (TWO_TOWER,)
            return ask.answer(release_id, found, degraded)
        finally:
            if search is not None:
                search.cancel()

    def _search(self, ask: "_Ask", deadline: Deadline) -> "asyncio.Task[Scored]":
        return asyncio.create_task(ask.search(min(self._channel_timeout, deadline.share(_SEARCH_SHARE))))


class _Ask:
    """One request: who is asking, which channels serve it, and what must not come."""

    def __init__(self, release: RecallRelease, query: CandidateQuery) -> None:
        self._release = release
        self._query = query
        self._spec = release.encoder.spec
        self.user, self._vector = release.user_features.encode(query.user)
        release.unknown_values.count()
        self._segment = release.encoder.segment(self.user, query.new_only)
        self._quotas = release.retriever.quotas[self._segment]
        self._exclude = release.retriever.excluded(self.user, query.new_only, query.exclude)
        self.channels = self._channels()
        # Ids found in Milvus that are younger than the release; numbered on from the end of the catalogue.
        self._unlisted: list[str] = []

    def _channels(self) -> Sequence[str]:
        wanted = [self._query.channel] if self._query.channel else list(self._quotas)
        return [name for name in wanted if name != TWO_TOWER or self._vector is not None]

    async def search(self, timeout: float) -> Scored:
        """The channel `two_tower`, without what must not come."""
        depth = self._query.size if self._query.channel else self._quotas[TWO_TOWER].depth
        limit = min(depth + -(-len(self._exclude) // _LIMIT_STEP) * _LIMIT_STEP, MOST_UNLISTED)
        assert self._vector is not None
        ids, scores = await self._release.vectors.search(self._vector, limit, timeout)
        items = self._release.encoder.catalogue.encode(ids)
        if (items < 0).any():
            items, scores = self._with_unlisted(ids, items, scores)
        if len(self._exclude):
            allowed = ~np.isin(items, self._exclude)
            items, scores = items[allowed], scores[allowed]
        return Scored(items[:depth], scores[:depth])

    def _with_unlisted(self, ids: Sequence[str], items: Ints, scores: Vector) -> tuple[Ints, Vector]:
        history = self._query.user.history
        unwanted = set(self._query.exclude)
        if self._new_only:
            unwanted.update(history.sku_ids, history.older_sku_ids)
        kept = items >= 0
        for position in np.flatnonzero(items < 0).tolist():
            if ids[position] not in unwanted:
                kept[position] = True
                items[position] = len(self._release.encoder.catalogue) + len(self._unlisted)
                self._unlisted.append(ids[position])
        return items[kept], scores[kept]

    @property
    def _new_only(self) -> bool:
        return self._query.new_only or not self._spec.repeats

    def in_memory(self) -> dict[str, Scored]:
        """The other channels."""
        depth = self._query.size if self._query.channel else None
        return self._release.retriever.in_memory(
            self.user, self.channels, self._exclude, depth=depth, new_only=self._query.new_only
        )

    def answer(self, release_id: str, found: dict[str, Scored], degraded: Sequence[str]) -> CandidateList:
        """The merged list, or what the one channel gave."""
        merged = self._merge(found)
        ids, unlisted = self._named(merged.items)
        return CandidateList(
            ids=ids,
            scores=merged.scores.tolist(),
            release=release_id,
            new_only=self._new_only,
            channels=_explained(merged) if self._query.explain else {},
            unlisted=unlisted,
            degraded=degraded,
        )

    def _named(self, items: Ints) -> tuple[Sequence[str], Sequence[str]]:
        """The ids of items, and of those the ones that the catalogue does not hold."""
        catalogue = self._release.encoder.catalogue
        if not self._unlisted:
            return LazyIds(catalogue, items), ()
        sku_ids = catalogue.sku_ids
        listed = len(sku_ids)
        ids = [sku_ids[item] if item < listed else self._unlisted[item - listed] for item in items.tolist()]
        return ids, [sku_id for item, sku_id in zip(items.tolist(), ids, strict=True) if item >= listed]

    def _merge(self, found: dict[str, Scored]) -> Merged:
        size = self._query.size
        if self._query.channel:
            only = found.get(self._query.channel, Scored.none())
            items, scores = only.items[:size], only.scores[:size]
            return Merged(items, scores, {self._query.channel: only})
        merged = self._release.retriever.merge(found, self._segment, size=size)
        enough = size if size > self._spec.candidates else min(size, _ENOUGH)
        return merged if len(merged.items) >= enough else self._filled(merged, enough)

    def _filled(self, merged: Merged, size: int) -> Merged:
        """More was asked for than the channels give by their quotas: the next popular items follow."""
        order = self._release.encoder.statistics.order
        unwanted = np.concatenate([self._exclude, merged.items])
        pool = order[: size + len(unwanted)]
        more = pool[~np.isin(pool, unwanted)][: size - len(merged.items)]
        # Below every merged score, and falling on.
        lowest = merged.scores[-1] if len(merged.scores) else np.float32(1)
        tail = (lowest / np.arange(2, len(more) + 2)).astype(np.float32)
        given = merged.given.get(POPULAR, Scored.none())
        popular = Scored(np.concatenate([given.items, more]), np.concatenate([given.scores, tail]))
        return Merged(
            np.concatenate([merged.items, more]),
            np.concatenate([merged.scores, tail]),
            {**merged.given, POPULAR: popular},
        )


def _explained(merged: Merged) -> dict[str, ChannelScores]:
    return {name: ChannelScores(*part) for name, part in merged.channels.items()}
