"""Where the ranker runs: one small interface, so that the core does not know."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from recmesh.serving.models import session
from recmesh.serving.turns import Turns

RANKER = "ranker.onnx"
SCORE, AFFINITY = "score", "affinity"
LARGE = 500
"""Requests of more items than this compute in a thread: they take longer than health checks should wait."""

Inputs = Mapping[str, npt.NDArray[Any]]
ScoreArray = npt.NDArray[np.float32]


class Backend(Protocol):
    """Runs the ranker of one release."""

    async def score(self, inputs: Inputs, output: str = SCORE) -> ScoreArray:
        """`dense` float32 [N, D] and `sparse` int64 [N, C] -> float32 [N], one of the ranker's outputs.

        Raises Unavailable when it is away.
        """
        ...


class OnnxBackend:
    """The ranker in this process, by ONNX Runtime."""

    def __init__(self, folder: Path, turns: Turns) -> None:
        self._session = session(folder / RANKER)
        self._turns = turns

    async def score(self, inputs: Inputs, output: str = SCORE) -> ScoreArray:
        """See `Backend`."""
        large = len(inputs["dense"]) > LARGE
        return await self._turns.run_model(lambda: self.score_now(inputs, output), in_thread=large)

    def score_now(self, inputs: Inputs, output: str = SCORE) -> ScoreArray:
        """The same at once, for warming."""
        scores: ScoreArray = self._session.run([output], dict(inputs))[0]
        return scores
