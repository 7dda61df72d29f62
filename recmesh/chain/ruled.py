"""What the chain gathers for rules: the ranked items that cm knows, and pinned ones that recall has not proposed."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from recmesh.conditions import field_values
from recmesh.contract import ITEM_FIELDS
from recmesh.pb.item_info_pb2 import ItemInfo
from recmesh.serving.stages import CandidateList, ChannelScores, RequestUser, ScoreList


class KnownItems:
    """Ranked items, best first, and pinned ones."""

    def __init__(self) -> None:
        """Hold no items."""
        self._ids: list[str] = []
        self._scores: list[float] = []
        self._infos: list[bytes] = []
        self._vectors: list[npt.NDArray[np.float32]] = []
        self._pinned: dict[str, bytes] = {}

    @property
    def ranked(self) -> int:
        """The number of ranked items."""
        return len(self._ids)

    def add(self, ranked: ScoreList, infos: Sequence[bytes | None]) -> None:
        """Append ranked items, without those that have no info."""
        kept = [position for position, info in enumerate(infos) if info is not None]
        self._ids += [ranked.ids[position] for position in kept]
        self._scores += [ranked.scores[position] for position in kept]
        self._infos += [info for info in infos if info is not None]
        if (vectors := _vectors(ranked)) is not None:
            self._vectors.append(vectors[kept])

    def pin(self, ids: Sequence[str], infos: Sequence[bytes | None]) -> None:
        """Add items that only a pin shows, without those that have no info."""
        self._pinned.update((sku_id, info) for sku_id, info in zip(ids, infos, strict=True) if info is not None)

    def columns(self) -> tuple[list[str], list[float], list[bytes]]:
        """Ids, scores and infos: of the ranked items, then of the others, whose score is 0."""
        listed = set(self._ids)
        others = {sku_id: info for sku_id, info in self._pinned.items() if sku_id not in listed}
        return [*self._ids, *others], [*self._scores, *([0.0] * len(others))], [*self._infos, *others.values()]

    def vectors(self) -> npt.NDArray[np.float32] | None:
        """The vectors of the ranked items, float32 [ranked, dim]; None unless all are known."""
        complete = self._vectors and sum(map(len, self._vectors)) == len(self._ids)
        return np.concatenate(self._vectors) if complete else None


def item_columns(
    names: Iterable[str], infos: Iterable[bytes], found: CandidateList
) -> dict[str, list[tuple[str, ...]]]:
    """The values of some fields for each serialized item."""
    items = [ItemInfo.FromString(info) for info in infos]
    return {
        name: [field_values(_text(item, name), found.separators.get(name), found.missing) for item in items]
        for name in names
    }


def _text(item: ItemInfo, name: str) -> str:
    text: str = getattr(item, name) if name in ITEM_FIELDS else item.attributes.get(name, "")
    return text


def pinnable(pinned: Sequence[str], exclude: Sequence[str], user: RequestUser, found: CandidateList) -> list[str]:
    """The pinned items that a request allows.

    An item of the history is shown again if a pin says so, unless all items of the list must be new to the user.
    """
    excluded = set(exclude)
    if found.new_only:
        excluded.update(user.history.sku_ids, user.history.older_sku_ids)
    return [sku_id for sku_id in pinned if sku_id not in excluded]


def part_of(ranked: ScoreList, start: int, stop: int | None = None) -> ScoreList:
    """Some of the items, in their order."""
    places, count = slice(start, stop), len(ranked.ids)
    vectors = ranked.vectors
    if vectors:
        width = len(vectors) // count
        vectors = vectors[start * width : (count if stop is None else stop) * width]
    return replace(ranked, ids=ranked.ids[places], scores=ranked.scores[places], vectors=vectors)


def _vectors(ranked: ScoreList) -> npt.NDArray[np.float32] | None:
    """The vectors of ranked items; None if they have none, or none that fit."""
    if not ranked.vectors or len(ranked.vectors) % (4 * len(ranked.ids)):
        return None
    return np.frombuffer(ranked.vectors, "<f4").reshape(len(ranked.ids), -1)


def joined(found: CandidateList, more: CandidateList) -> CandidateList:
    """Candidates, followed by other ones."""
    channels = {name: ChannelScores(list(part.positions), list(part.scores)) for name, part in found.channels.items()}
    for name, part in more.channels.items():
        positions, scores = channels.get(name, ChannelScores([], []))
        channels[name] = ChannelScores(
            [*positions, *(len(found.ids) + position for position in part.positions)], [*scores, *part.scores]
        )
    ids, scores = [*found.ids, *more.ids], [*found.scores, *more.scores]
    return replace(found, ids=ids, scores=scores, channels=channels, unlisted=[*found.unlisted, *more.unlisted])
