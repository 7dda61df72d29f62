"""What a starter, which has no ranker, scores items by: counts."""

from collections.abc import Mapping
from typing import Any

import numpy.typing as npt

from recmesh.features import FeatureSpec
from recmesh.features.spec import Floats


class CountedRanker:
    """Has the outputs of a ranker, and is called like an ONNX Runtime session.

    `score` is the log of the item's share of all actions, plus the votes of the history as the ranker gets them.
    `affinity` is the votes alone.
    """

    def __init__(self, spec: FeatureSpec) -> None:
        """Score the dense inputs of a release with this spec."""
        self._popularity = spec.dense.index("popularity_all")
        self._votes = spec.dense.index("cosine")

    def run(self, outputs: list[str], inputs: Mapping[str, npt.NDArray[Any]]) -> list[Floats]:
        """Return the named outputs, float32 [items] each."""
        votes: Floats = inputs["dense"][:, self._votes]
        scores = {"score": inputs["dense"][:, self._popularity] + votes, "affinity": votes}
        return [scores[name] for name in outputs]
