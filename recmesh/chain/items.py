"""Serialized items: those of answers end with their scores."""

import struct
from collections.abc import Iterable, Sequence

from recmesh.chain.model import Item
from recmesh.conditions import Condition, item_values
from recmesh.contract import RANK_SCORE_FIELD
from recmesh.pb.item_info_pb2 import ItemInfo
from recmesh.serving.stages import CandidateList
from recmesh.stores.wire import item_fields

# A tag and a float, appended to a serialized ItemInfo, set its field rank_score (docs/adr/017-raw-protobuf-fields.md).
_RANK_SCORE = struct.Struct("<Bf")
_WIRE_TYPE_32_BITS = 5
_RANK_SCORE_TAG = RANK_SCORE_FIELD << 3 | _WIRE_TYPE_32_BITS


def meets(conditions: Iterable[Condition], item: ItemInfo, found: CandidateList) -> bool:
    """Whether an item meets all conditions."""
    values = item_values(item.sku_id, item_fields(item), found.separators, found.missing)
    return all(condition.met_by(values) for condition in conditions)


def bare(sku_id: str) -> bytes:
    """A serialized item without fields."""
    return ItemInfo(sku_id=sku_id).SerializeToString()


def with_scores(ids: Sequence[str], scores: Sequence[float], infos: Iterable[bytes | None]) -> list[Item]:
    """The items that exist."""
    pack = _RANK_SCORE.pack
    return [
        Item(sku_id, info + pack(_RANK_SCORE_TAG, score))
        for sku_id, score, info in zip(ids, scores, infos, strict=True)
        if info is not None
    ]


def score_of(item: Item) -> float:
    """The score with which an item ends."""
    score: float = _RANK_SCORE.unpack(item.info[-_RANK_SCORE.size :])[1]
    return score
