"""Finds candidates for a user, independently of the transport: asks the channels and merges their candidates."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import cast

import numpy as np

from recmesh import spans
from recmesh.contract import BOUGHT_BEFORE, NEW, POPULAR, REPEAT, TRENDING, TWO_TOWER
from recmesh.errors import InvalidRequest, RecmeshError, Unavailable
from recmesh.features import CHANNELS, Encoder
from recmesh.features.encoder import MAX_UNLISTED_ITEMS
from recmesh.features.spec import Channel, Ints, Mask
from recmesh.releases import Manifest
from recmesh.retrieval import Merged, Retriever, Scored, below, merge
from recmesh.retrieval.channels import next_popular, two_tower
from recmesh.retrieval.scenarios import LIST_CHANNELS, ListScenario, Scenarios
from recmesh.serving import metrics
from recmesh.serving.compute_gate import ComputeGate
from recmesh.serving.deadline import Deadline, within
from recmesh.serving.drift import Drift
from recmesh.serving.health import Check
from recmesh.serving.lazy_ids import LazyIds
from recmesh.serving.models import UnknownValues, UserFeatureCache, Vector
from recmesh.serving.stages import ANONYMOUS, CandidateList, CandidateQuery, ChannelScores
from recmesh.serving.warm import Releases
from recmesh.stores.milvus import MilvusReader
from services.recall.coalescer import Coalescer
from services.recall.item_fields import ItemFields
from services.recall.new_items import LatestNewItems
from services.recall.trending import Trending

# The channels together give about as many candidates as the ranker is trained on. Popular items are added only if the
# caller asks for more than that, or if the channels give fewer than the chain needs for its longest answer.
_MIN_CANDIDATES = 250

# Milvus gets at most this share of the remaining time, so that there is time left to answer without it.
_SEARCH_TIME_SHARE = 0.6
# Excluded items make a search longer, in steps of this many: only searches with equal limits go into one request.
_LIMIT_STEP = 64
_DROPPED_MARGIN = 2
_FILTERED_MARGIN = 2
_CANDIDATES = {channel: metrics.CHANNEL_CANDIDATES.labels(channel) for channel in (*CHANNELS, *LIST_CHANNELS.values())}

# Up to this many passing items, an exact search is faster than one in Milvus that finds enough of them (docs/adr/035).
_MAX_EXACT = 50_000

_SINGLE_CHANNELS = {REPEAT: BOUGHT_BEFORE, TRENDING: TRENDING}
"""The scenarios whose lists are those of one channel."""

_CHECK_TIMEOUT_SECONDS = 0.5
"""For each call of a health check, which has a second."""


class NoChannelAnswered(Unavailable):
    """None of the channels that were asked could answer."""


@dataclass(frozen=True)
class RecallRelease:
    """One release, as recall holds it.

    Attributes:
        milvus_serves: Passes if Milvus serves the collection of the release: see `CollectionSearch.check`.
    """

    encoder: Encoder
    retriever: Retriever
    user_features: UserFeatureCache
    unknown_values: UnknownValues
    vectors: Coalescer
    new_items: LatestNewItems
    trending: Trending
    drift: Drift
    milvus_serves: Check
    item_fields: ItemFields

    @classmethod
    def warmed(
        cls,
        manifest: Manifest,
        encoder: Encoder,
        user_features: UserFeatureCache,
        unknown_values: UnknownValues,
        milvus: MilvusReader,
        gate: ComputeGate,
        new_items: LatestNewItems,
        scenarios: Scenarios,
        trending: Trending,
    ) -> "RecallRelease":
        """A release with a loaded encoder, warmed up by one query that runs every part except Milvus."""
        collection = milvus.collection(manifest.collection, manifest.index)
        vectors = Coalescer(collection.search, gate.idle)
        serves = partial(collection.check, manifest.dim, _CHECK_TIMEOUT_SECONDS) if manifest.dim else _nothing_to_serve
        drift, fields, retriever = Drift(encoder), ItemFields(encoder, new_items), Retriever(encoder, scenarios)
        release = cls(
            encoder, retriever, user_features, unknown_values, vectors, new_items, trending, drift, serves, fields
        )
        retrieval = _Retrieval(manifest.id, release, CandidateQuery(ANONYMOUS, size=encoder.spec.candidates))
        retrieval.candidates(manifest.id, retrieval.in_memory(), ())
        return release


async def _nothing_to_serve() -> None:
    """The check of a release without vectors: it has no collection."""


class RecallCore:
    """Finds candidates: the local `CandidateStage`."""

    def __init__(self, releases: Releases[RecallRelease], gate: ComputeGate, channel_timeout: float) -> None:
        """Answer from the releases that are ready.

        Args:
            releases: The releases.
            gate: Runs the computations.
            channel_timeout: The limit for Milvus, in seconds.
        """
        self._releases = releases
        self._gate = gate
        self.congestion = gate.congestion
        self._channel_timeout = channel_timeout

    async def recall(self, query: CandidateQuery, timeout: float) -> CandidateList:
        """See `recmesh.serving.stages.CandidateStage`.

        Raises:
            DeadlineExceeded: The candidates were not ready within `timeout` seconds.
            InvalidRequest: There is no such channel or item field, or the release has no lists for the scenario.
            NoChannelAnswered: No channel that was asked could answer.
            Unavailable: No release is ready, or there are conditions and the fields of the items are not read yet.
        """
        return await within(timeout, "recall", self._recall(query, Deadline(timeout)))

    async def _recall(self, query: CandidateQuery, deadline: Deadline) -> CandidateList:
        release_id, release = self._releases.get(query.release)
        retrieval = await self._gate.run(lambda: _Retrieval(release_id, release, query))
        if not query.scenario:
            release.drift.count(retrieval.user)
        search = self._search(retrieval, deadline) if retrieval.asks_milvus else None
        try:
            # Let the search leave before this thread computes: Milvus works meanwhile.
            await asyncio.sleep(0)
            found = await self._gate.run(retrieval.in_memory)
            degraded: tuple[str, ...] = ()
            if search is not None:
                try:
                    nearest = await search
                    found[TWO_TOWER] = await self._gate.run(retrieval.nearest) if nearest is None else nearest
                except RecmeshError as error:
                    spans.annotate({spans.DEGRADED: (TWO_TOWER,)})
                    if not found:
                        raise NoChannelAnswered(str(error)) from error
                    degraded = (TWO_TOWER,)
            for channel, scored in found.items():
                _CANDIDATES[channel].observe(len(scored.items))
            candidates = retrieval.candidates(release_id, found, degraded)
            segment = retrieval.segment
            spans.annotate({spans.RELEASE: release_id, spans.SEGMENT: segment, spans.CANDIDATES: len(candidates.ids)})
            return candidates
        finally:
            if search is not None:
                search.cancel()

    def _search(self, retrieval: "_Retrieval", deadline: Deadline) -> "asyncio.Task[Scored | None]":
        timeout = min(self._channel_timeout, deadline.share(_SEARCH_TIME_SHARE))
        return asyncio.create_task(retrieval.search(timeout))


class _Retrieval:
    """The retrieval for one query: the encoded user, the channels to ask, and the items to exclude."""

    def __init__(self, release_id: str, release: RecallRelease, query: CandidateQuery) -> None:
        self._release = release
        self._query = query
        self._spec = release.encoder.spec
        self._check_scenario(release_id)
        self.user, self._vector = release.user_features.encode(query.user)
        release.unknown_values.count()
        self.segment = release.encoder.segment(self.user, query.new_only)
        self._selection = release.item_fields.select(query.conditions) if query.conditions else None
        self._quotas = self._quotas_for_query()
        self._exclude = release.retriever.excluded(self.user, query.new_only, [*query.exclude, *query.context])
        self._margin = len(self._exclude)
        if len(dropped := release.new_items.dropped):
            self._exclude = np.union1d(self._exclude, dropped)
            # Not all of the dropped items are among the best: twice their share of the catalogue is.
            self._margin += int(_DROPPED_MARGIN * query.size * len(dropped) / len(release.encoder.catalogue))
        self.channels = self._channels()
        self._exact = self._selection is not None and self._selection.count <= _MAX_EXACT
        self.asks_milvus = TWO_TOWER in self.channels and not self._exact
        # Ids that the catalogue does not contain, from Milvus or new. Their numbers continue those of the catalogue.
        self._unlisted: dict[str, int] = {}

    def _check_scenario(self, release_id: str) -> None:
        """Refuse a scenario that the release does not serve.

        Raises:
            InvalidRequest: It does not.
        """
        settings, scenario = self._release.retriever.scenarios.settings, self._query.scenario
        if scenario == TRENDING:
            return
        if scenario == REPEAT and not self._spec.repeats:
            raise InvalidRequest(f"release {release_id} has no scenario 'repeat': its data set has no repeated actions")
        if scenario and (settings.repeat is None if scenario == REPEAT else scenario not in settings.lists):
            raise InvalidRequest(f"release {release_id} has no lists for {scenario}: train again")

    def _quotas_for_query(self) -> Mapping[str, Channel]:
        if not self._query.scenario:
            return self._release.retriever.quotas[self.segment]
        if self._query.scenario == REPEAT:
            return {BOUGHT_BEFORE: Channel()}
        if self._query.scenario == TRENDING:
            return {TRENDING: Channel(), POPULAR: Channel()}
        return self._release.retriever.scenarios.settings.lists[self._list_scenario].channels

    @property
    def _list_scenario(self) -> ListScenario:
        return cast(ListScenario, self._query.scenario)

    def _channels(self) -> Sequence[str]:
        known = self._quotas if self._query.scenario else CHANNELS
        if self._query.channel and self._query.channel not in known:
            raise InvalidRequest(f"recall_type {self._query.channel!r} is unknown: use one of {', '.join(known)}")
        names = [self._query.channel] if self._query.channel else list(self._quotas)
        return [name for name in names if name != TWO_TOWER or self._vector is not None]

    @property
    def _allowed(self) -> Mask | None:
        return None if self._selection is None else self._selection.allowed

    def _depth(self, channel: str) -> int:
        return self._query.size if self._query.channel else self._quotas[channel].depth

    def nearest(self) -> Scored:
        """The candidates of the channel `two_tower`, by an exact search of the items that the filter lets pass."""
        encoder = self._release.encoder
        assert self._vector is not None
        vectors, depth = encoder.item_vectors[: len(encoder.catalogue)], self._depth(TWO_TOWER)
        return two_tower(encoder, self._vector, vectors, self._exclude, depth, self._allowed)

    async def search(self, timeout: float) -> Scored | None:
        """The candidates of the channel `two_tower`, without excluded items.

        None if a filter is set, and too few of the items that Milvus finds pass it.
        """
        depth, selection = self._depth(TWO_TOWER), self._selection
        wanted = depth + self._margin
        if selection is not None:
            # Of the best items, about as many pass as of all items. With twice as many, that is rarely too few.
            wanted = _FILTERED_MARGIN * wanted * len(selection.allowed) // selection.count
        limit = min(depth + -(-(wanted - depth) // _LIMIT_STEP) * _LIMIT_STEP, MAX_UNLISTED_ITEMS)
        assert self._vector is not None
        with spans.span(TWO_TOWER):  # Waits for other searches, then for Milvus.
            ids, scores = await self._release.vectors.search(self._vector, limit, timeout)
        if not len(ids):
            raise Unavailable("Milvus: the collection of the release is empty; run the ingestion again")
        items = self._release.encoder.catalogue.encode(ids)
        if (items < 0).any():
            items, scores = self._with_unlisted(ids, items, scores)
        if len(self._exclude):
            allowed = ~np.isin(items, self._exclude)
            items, scores = items[allowed], scores[allowed]
        if selection is not None:
            # The numbers of items outside the catalogue are not those of the selection: the channel `new` has them.
            listed = items < len(selection.allowed)
            items, scores = items[listed], scores[listed]
            passing = selection.allowed[items]
            items, scores = items[passing], scores[passing]
            if len(items) < depth and len(ids) == limit:
                return None
        return Scored(items[:depth], scores[:depth])

    def _with_unlisted(self, ids: Sequence[str], items: Ints, scores: Vector) -> tuple[Ints, Vector]:
        """Number the ids that the catalogue does not contain, and drop those that are excluded."""
        excluded = self._excluded_ids
        for position in np.flatnonzero(items < 0).tolist():
            if ids[position] not in excluded:
                items[position] = self._number(ids[position])
        return items[items >= 0], scores[items >= 0]

    @cached_property
    def _excluded_ids(self) -> set[str]:
        """What must not be recommended: for items outside the catalogue."""
        history = self._query.user.history
        excluded = {*self._query.exclude, *self._query.context, *self._release.new_items.withdrawn}
        if self._new_only:
            excluded.update(history.sku_ids, history.older_sku_ids)
        if self._selection is not None:
            excluded.update(sku_id for sku_id in self._release.new_items.items.sku_ids if sku_id not in self._selection)
        return excluded

    def _number(self, sku_id: str) -> int:
        """The number of an id outside the catalogue; -1 if there are too many."""
        known = self._unlisted.get(sku_id)
        if known is None and len(self._unlisted) < MAX_UNLISTED_ITEMS:
            known = self._unlisted[sku_id] = len(self._release.encoder.catalogue) + len(self._unlisted)
        return -1 if known is None else known

    @property
    def _new_only(self) -> bool:
        return self._query.new_only or not self._spec.repeats

    def in_memory(self) -> dict[str, Scored]:
        """The candidates of the other channels, by channel."""
        if self._query.scenario == REPEAT:
            size = self._query.size
            again = self._release.retriever.acted_on_again(self.user, self._exclude, size, self._allowed)
            return {BOUGHT_BEFORE: again}
        if self._query.scenario in LIST_CHANNELS:
            return self._going_with_context()
        depth = self._query.size if self._query.channel or self._query.scenario else None
        found = self._release.retriever.in_memory(
            self.user,
            self.channels,
            self._exclude,
            depth=depth,
            new_only=self._query.new_only,
            user_vector=self._vector,
            allowed=self._allowed,
            rates=self._rates() if TRENDING in self.channels else Scored.none(),
        )
        if TWO_TOWER in self.channels and self._exact:
            found[TWO_TOWER] = self.nearest()
        return found

    def _rates(self) -> Scored:
        """The items that are acted on most at the moment, without those outside the catalogue that are excluded."""
        ranked = self._release.trending.latest
        if not (ranked.items < 0).any():
            return Scored(ranked.items, ranked.rates)
        return Scored(*self._with_unlisted(ranked.sku_ids, ranked.items.copy(), ranked.rates))

    def _going_with_context(self) -> dict[str, Scored]:
        """The candidates of the channels of a scenario with context items."""
        retriever, scenario, new = self._release.retriever, self._list_scenario, self._release.new_items.items
        given = list(dict.fromkeys(self._query.context))
        items = self._release.encoder.catalogue.encode(given)
        unlisted = {sku_id for sku_id, item in zip(given, items.tolist(), strict=True) if item < 0}
        rows = [row for row, sku_id in enumerate(new.sku_ids) if sku_id in unlisted] if unlisted else []
        vectors = new.vectors[rows] if rows else self._release.encoder.item_vectors[:0]
        context = retriever.represented(scenario, items[items >= 0], vectors)
        found = retriever.going_with(scenario, context, self._exclude, self._allowed)
        return {name: scored for name, scored in found.items() if name in self.channels}

    def _with_ingested(self, listed: Scored) -> Scored:
        """The best of the catalogue's new items and of those that were ingested after the training."""
        depth = self._depth(NEW)
        ingested = self._release.new_items.items
        if not len(ingested.sku_ids) or self._vector is None:
            return listed
        scores, excluded = ingested.vectors @ self._vector, self._excluded_ids
        order = np.argsort(-scores, kind="stable")[: depth + len(excluded)].tolist()
        chosen = [row for row in order if ingested.sku_ids[row] not in excluded][:depth]
        numbers = np.array([self._number(ingested.sku_ids[row]) for row in chosen], np.int32)
        items = np.concatenate([listed.items, numbers[numbers >= 0]])
        both = np.concatenate([listed.scores, scores[chosen][numbers >= 0]])
        best = np.argsort(-both, kind="stable")[:depth]
        return Scored(items[best], both[best].astype(np.float32))

    def candidates(self, release_id: str, found: dict[str, Scored], degraded: Sequence[str]) -> CandidateList:
        """The merged list, or the candidates of the one channel that was asked."""
        if NEW in found:
            found = {**found, NEW: self._with_ingested(found[NEW])}
        merged = self._merge(found)
        ids, unlisted = self._ids_of(merged.items)
        return CandidateList(
            ids=ids,
            scores=merged.scores.tolist(),
            release=release_id,
            new_only=self._new_only,
            channels=_explained(merged) if self._query.explain else {},
            unlisted=unlisted,
            degraded=degraded,
            missing=self._spec.missing,
            now=self.user.now,
            separators=self._release.item_fields.separators,
        )

    def _ids_of(self, items: Ints) -> tuple[Sequence[str], Sequence[str]]:
        """The ids of items, and those of them that the catalogue does not contain."""
        catalogue = self._release.encoder.catalogue
        if not self._unlisted:
            return LazyIds(catalogue, items), ()
        sku_ids, unlisted = catalogue.sku_ids, list(self._unlisted)
        listed = len(sku_ids)
        ids = [sku_ids[item] if item < listed else unlisted[item - listed] for item in items.tolist()]
        return ids, [sku_id for item, sku_id in zip(items.tolist(), ids, strict=True) if item >= listed]

    def _merge(self, found: dict[str, Scored]) -> Merged:
        size, usual = self._query.size, self._spec.candidates
        if single := self._query.channel or _SINGLE_CHANNELS.get(self._query.scenario, ""):
            only = found.get(single, Scored.none())
            merged = Merged(only.items[:size], only.scores[:size], {single: only})
            if self._query.scenario == TRENDING and not self._query.channel:
                return self._filled(merged, size, found[POPULAR].items)
            if single != POPULAR or self._selection is None:
                return merged
        else:
            scratch = self._release.encoder.scratch
            merged = merge(found, self._quotas, min(size, usual), scratch)
            if size > usual:
                # A longer list begins like the usual one, which pages of `as` rely on.
                merged = _continued(merged, merge(found, self._quotas, size, scratch).items[:size])
        all_wanted = size > usual or self._selection is not None
        minimum = size if all_wanted else min(size, _MIN_CANDIDATES)
        return merged if len(merged.items) >= minimum else self._filled(merged, minimum)

    def _filled(self, merged: Merged, size: int, popular_items: Ints | None = None) -> Merged:
        """The merged candidates, and after them popular items up to `size`: the given ones, or the most popular ones.

        With a filter, the passing items outside the catalogue follow.
        """
        excluded, missing = np.concatenate([self._exclude, merged.items]), size - len(merged.items)
        if popular_items is None:
            added = next_popular(self._release.encoder, excluded, missing, self._allowed)
        else:
            added = popular_items[~np.isin(popular_items, excluded)][:missing]
        if self._selection is not None:
            added = np.concatenate([added, self._further(merged.items)[: missing - len(added)]])
        scores = below(merged.scores, len(added))
        given = merged.given.get(POPULAR, Scored.none())
        popular = Scored(np.concatenate([given.items, added]), np.concatenate([given.scores, scores]))
        return Merged(
            np.concatenate([merged.items, added]),
            np.concatenate([merged.scores, scores]),
            {**merged.given, POPULAR: popular},
        )

    def _further(self, known: Ints) -> Ints:
        """The numbers of the items outside the catalogue that pass the filter, without those in `known`."""
        excluded = self._excluded_ids
        passing = [sku_id for sku_id in self._release.new_items.items.sku_ids if sku_id not in excluded]
        numbers = np.array([self._number(sku_id) for sku_id in passing], np.int32)
        return numbers[(numbers >= 0) & ~np.isin(numbers, known)]


def _continued(merged: Merged, items: Ints) -> Merged:
    """The merged candidates, and further items after them."""
    added = items[~np.isin(items, merged.items)][: max(len(items) - len(merged.items), 0)]
    scores = np.concatenate([merged.scores, below(merged.scores, len(added))])
    return Merged(np.concatenate([merged.items, added]), scores, merged.given)


def _explained(merged: Merged) -> dict[str, ChannelScores]:
    return {name: ChannelScores(*part) for name, part in merged.channels.items()}
