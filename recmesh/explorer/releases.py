"""Releases of the model store in this process: the features of items, and recall and rank by a release not served."""

import asyncio
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from recmesh.features import Encoder
from recmesh.features.ranker_inputs import dense_names
from recmesh.features.spec import Floats
from recmesh.releases import Manifest, ModelStore, read_manifest
from recmesh.retrieval import Merged, Retriever
from recmesh.serving.counted import CountedRanker
from recmesh.serving.models import UserFeatureCache, session
from recmesh.serving.stages import CandidateList, CandidateQuery, ChannelScores, RequestUser, ScoreList, ScoreQuery

_RANKER = "ranker.onnx"
_SCORE, _DEBIASED_SCORE = "score", "affinity"
_MAX_LOADED = 3


class LocalRelease:
    """A release as recall and rank hold it, but with an exact two-tower search instead of Milvus.

    Attributes:
        id: Its id.
        encoder: Computes its features.
    """

    def __init__(self, folder: Path) -> None:
        """Load a copy of a release."""
        manifest = read_manifest(folder)
        self.id = manifest.id
        self.encoder = Encoder.load(folder)
        self._retriever = Retriever(self.encoder)
        self._users = UserFeatureCache(self.encoder, folder)
        self._ranker = CountedRanker(self.encoder.spec) if manifest.starter else session(folder / _RANKER)

    async def recall(self, query: CandidateQuery, timeout: float) -> CandidateList:
        """See `recmesh.serving.stages.CandidateStage.recall`."""
        return await asyncio.to_thread(self._recall, query)

    async def rank(self, query: ScoreQuery, timeout: float) -> ScoreList:
        """See `recmesh.serving.stages.RankStage.rank`."""
        return await asyncio.to_thread(self._rank, query)

    def features(self, user: RequestUser, sku_ids: Sequence[str], new_only: bool) -> dict[str, Floats]:
        """The ranker's dense inputs for items, float32 [items] by name. Imported rankers have numbers for names."""
        columns = self._inputs(user, sku_ids, new_only)["dense"].T
        names = dense_names(self.encoder.spec)
        if len(names) != len(columns):
            names = tuple(f"input {number}" for number in range(len(columns)))
        return dict(zip(names, columns, strict=True))

    def _recall(self, query: CandidateQuery) -> CandidateList:
        merged = self._merged(query)
        sku_ids = self.encoder.catalogue.sku_ids
        return CandidateList(
            ids=[sku_ids[item] for item in merged.items.tolist()],
            scores=merged.scores.tolist(),
            release=self.id,
            new_only=query.new_only or not self.encoder.spec.repeats,
            channels={name: ChannelScores(*part) for name, part in merged.channels.items()},
            missing=self.encoder.spec.missing,
        )

    def _merged(self, query: CandidateQuery) -> Merged:
        user, vector = self._users.encode(query.user)
        segment = self.encoder.segment(user, query.new_only)
        exclude = self._retriever.excluded(user, query.new_only, query.exclude)
        if query.channel:
            only = self._retriever.in_memory(user, [query.channel], exclude, query.size, query.new_only, vector)
            return Merged(only[query.channel].items, only[query.channel].scores, only)
        if vector is None:
            channels = tuple(self._retriever.quotas[segment])
            found = self._retriever.in_memory(user, channels, exclude, new_only=query.new_only)
        else:
            vectors = self.encoder.item_vectors[:-1]
            found = self._retriever.exact(user, vector, vectors, exclude, query.new_only)
        return self._retriever.merge(found, segment, size=query.size)

    def _rank(self, query: ScoreQuery) -> ScoreList:
        scores = self._scores(query)
        order = np.argsort(-scores, kind="stable")[: query.size or len(scores)]
        return ScoreList([query.ids[row] for row in order.tolist()], scores[order].tolist(), self.id)

    def _scores(self, query: ScoreQuery) -> Floats:
        user, _ = self._users.encode(query.user)
        if query.ordered and not self.encoder.spec.rankers.get(self.encoder.segment(user, query.new_only), True):
            return np.linspace(1, 1 / max(len(query.ids), 1), len(query.ids), dtype=np.float32)
        output = _DEBIASED_SCORE if query.debiased else _SCORE
        scores: Floats = self._ranker.run([output], dict(self._inputs(query.user, query.ids, query.new_only)))[0]
        return scores

    def _inputs(self, request_user: RequestUser, sku_ids: Sequence[str], new_only: bool) -> Mapping[str, Floats]:
        user, vector = self._users.encode(request_user)
        return self.encoder.ranker_inputs(user, self.encoder.catalogue.encode(sku_ids), new_only, (), vector)


class ReleaseShelf:
    """The releases of a model store; those that were used last stay loaded."""

    def __init__(self, store: ModelStore, folder: Path) -> None:
        """Copy releases of a store into a folder when they are needed."""
        self.store = store
        self._folder = folder
        self._loaded: OrderedDict[str, LocalRelease] = OrderedDict()
        self._lock = asyncio.Lock()

    async def list(self) -> list[Manifest]:
        """All releases, newest first.

        Raises:
            RecmeshError: The store does not answer.
        """
        return await asyncio.to_thread(self.store.list)

    async def get(self, release_id: str) -> LocalRelease:
        """A release, loaded.

        Raises:
            RecmeshError: There is no such release, or it is damaged.
        """
        async with self._lock:
            if release_id not in self._loaded:
                self._loaded[release_id] = await asyncio.to_thread(self._load, release_id)
            self._loaded.move_to_end(release_id)
            if len(self._loaded) > _MAX_LOADED:
                self._loaded.popitem(last=False)
            return self._loaded[release_id]

    def _load(self, release_id: str) -> LocalRelease:
        return LocalRelease(self.store.fetch(release_id, self._folder))
