"""recall and rank for the folder of one release, in this process: as they are served, except for Milvus."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import AsyncMock

import numpy as np
import numpy.typing as npt
import polars as pl

from jobs.ingest.histories import Histories
from recmesh.dataset import read
from recmesh.features import Encoder, FeatureSpec
from recmesh.features.encoder import FEATURES
from recmesh.pb.item_info_pb2 import ItemInfo
from recmesh.pb.rank_pb2 import RankRequest, RankResponse
from recmesh.pb.recall_pb2 import RecallRequest, RecallResponse
from recmesh.pb.user_info_pb2 import History, UserInfo
from recmesh.retrieval import Retriever
from recmesh.retrieval.scenarios import Scenarios
from recmesh.serving import deadline
from recmesh.serving.compute_gate import ComputeGate
from recmesh.serving.drift import Drift
from recmesh.serving.models import UnknownValues, UserFeatureCache
from recmesh.stores.wire import item_encoder, user_encoder
from services.rank.backend import RANKER, SCORE, Inputs, OnnxBackend, Scored
from services.rank.core import RankCore, RankRelease
from services.rank.servicer import RankServicer
from services.recall.core import RecallCore, RecallRelease
from services.recall.item_fields import ItemFields
from services.recall.new_items import LatestNewItems
from services.recall.servicer import RecallServicer
from services.recall.trending import Trending

Vector = npt.NDArray[np.float32]
_TIMEOUT = 60.0


class ExactSearch:
    """An exact search in place of Milvus."""

    def __init__(self, encoder: Encoder, vectors: Vector) -> None:
        self._encoder, self._vectors = encoder, vectors

    async def search(self, vector: Vector, limit: int, timeout: float) -> tuple[Sequence[str], Vector]:
        """Return the best items, ties in the order of the catalogue."""
        scores = self._vectors @ vector
        order = np.lexsort((np.arange(len(scores)), -scores))[:limit]
        return [self._encoder.catalogue.sku_ids[item] for item in order.tolist()], scores[order]


@dataclass
class RecordingRanker:
    """A ranker that records its inputs. Without a model, it scores every row 0."""

    model: OnnxBackend | None
    received: list[Inputs] = field(default_factory=list)

    async def score(self, inputs: Inputs, timeout: float, output: str = SCORE) -> Scored:
        """Record the inputs and score them."""
        self.received.append(inputs)
        if self.model is None:
            return Scored(np.zeros(len(inputs["dense"]), np.float32))
        return await self.model.score(inputs, timeout, output)

    def warm(self, inputs: Inputs) -> None:
        """Do nothing."""

    async def ready(self) -> None:
        """Return at once."""


class Serving:
    """recall and rank of one release.

    Every message is serialised and parsed. Users and histories are given as serialised messages.

    Attributes:
        encoder: The encoder of the release.
        user_features: Encodes users.
        ranker: Records the inputs of the ranker.
        new_items: The items that were ingested after the training.

    Args:
        release: Folder of the release.
        altered: Changes the feature spec of the release.
    """

    def __init__(self, release: Path, altered: Callable[[FeatureSpec], FeatureSpec] = lambda spec: spec) -> None:
        gate = ComputeGate()
        self.encoder = Encoder.load(release)
        self.encoder.spec = altered(self.encoder.spec)
        self.user_features = UserFeatureCache(self.encoder, release)
        self.ranker = RecordingRanker(OnnxBackend(release, gate) if (release / RANKER).exists() else None)
        unknown = UnknownValues("test", self.encoder)
        vectors: Any = ExactSearch(self.encoder, np.load(release / "item_vectors.npy"))
        new_items = LatestNewItems(self.encoder)
        recall = RecallRelease(
            self.encoder,
            Retriever(self.encoder, Scenarios.load(release / FEATURES, len(self.encoder.catalogue))),
            self.user_features,
            unknown,
            vectors,
            new_items,
            Trending(self.encoder, new_items),
            Drift(self.encoder),
            AsyncMock(),
            ItemFields(self.encoder, new_items),
        )
        self.new_items = recall.new_items
        rank = RankRelease(self.encoder, self.user_features, unknown, self.ranker)
        self._recall = RecallServicer(RecallCore(_only(recall), gate, _TIMEOUT))
        self._rank = RankServicer(RankCore(_only(rank), gate))

    async def candidates(self, user: bytes, history: bytes, new_only: bool, channel: str = "") -> list[str]:
        """Return the ids that recall answers, best first."""
        request = RecallRequest(new_only=new_only, recall_type=channel)
        request.user_info.ParseFromString(user)
        request.history.ParseFromString(history)
        return await self.recalled(request)

    async def recalled(self, request: RecallRequest) -> list[str]:
        """Return the ids that recall answers, best first: as many as `as` asks for."""
        request.request_num, request.columnar = self.encoder.spec.candidates, True
        deadline.start(_TIMEOUT)
        answer = await self._recall.recall(RecallRequest.FromString(request.SerializeToString()), None)
        return list(RecallResponse.FromString(answer.SerializeToString()).candidates.ids)

    async def ranked(
        self, user: bytes, history: bytes, new_only: bool, ids: Sequence[str], items: Sequence[bytes] = ()
    ) -> list[tuple[str, float]]:
        """Return ids and scores that rank answers for items given by id and by fields, best first."""
        request = RankRequest(item_ids=ids, item_infos=map(ItemInfo.FromString, items), new_only=new_only, ordered=True)
        request.user_info.ParseFromString(user)
        request.history.ParseFromString(history)
        deadline.start(_TIMEOUT)
        answer = await self._rank.rank_predict(RankRequest.FromString(request.SerializeToString()), None)
        pairs = RankResponse.FromString(answer.SerializeToString()).score_pairs
        return [(pair.nid, pair.score) for pair in pairs]

    def tower(self, user: bytes, history: bytes) -> tuple[dict[str, npt.NDArray[Any]], Vector]:
        """Return the inputs and the output of the user tower."""
        request_user: Any = SimpleNamespace(profile=UserInfo.FromString(user), history=History.FromString(history))
        encoded, vector = self.user_features.encode(request_user)
        assert vector is not None
        return self.encoder.tower_inputs(encoded), vector


class Stored:
    """What um and cm hold after the ingestion of a data set.

    Attributes:
        histories: Serialised histories by user id.
        users: Serialised users by id.
        items: Serialised items by id.
        seen: The items that each user acted on.

    Args:
        folder: The data set.
        rejects: File for the rejects.
        before: Ignore actions from this time on, in ms since 1970.
    """

    def __init__(self, folder: Path, rejects: Path, before: int | None = None) -> None:
        data = read(folder, rejects=rejects)
        if before is not None:
            data = replace(data, actions=data.actions.filter(pl.col("time") < before))
        histories = Histories(data)
        self.histories = dict(zip(histories.user_ids, histories.encode(range(len(histories))), strict=True))
        rows = data.actions.select(pl.col("user_id", "sku_id").cast(pl.String)).group_by("user_id").agg("sku_id")
        self.seen = {user_id: set(sku_ids) for user_id, sku_ids in rows.iter_rows()}
        encode = user_encoder(list(data.schema.user.fields))
        self.users = {str(row[0]): encode(row) for row in data.users.iter_rows()}
        encode_item = item_encoder(list(data.schema.item.fields))
        self.items = {str(row[0]): encode_item(row) for row in data.items.iter_rows()}


def _only(release: Any) -> Any:
    return SimpleNamespace(get=lambda _="": ("release", release))
