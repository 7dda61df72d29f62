"""Where the ranker runs: one small interface, so that the core does not know."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from recmesh.serving import metrics
from recmesh.serving.compute_gate import ComputeGate
from recmesh.serving.models import session

SCORE, AFFINITY = "score", "affinity"
ONNX = "onnx"
RANKER = "ranker.onnx"
LARGE = 500
"""Requests of more items than this compute in a thread: they take longer than health checks should wait."""

Inputs = Mapping[str, npt.NDArray[Any]]
ScoreArray = npt.NDArray[np.float32]


class Scored(NamedTuple):
    """Scores float32 [N], and the backends that should have given them and did not."""

    scores: ScoreArray
    missing: Sequence[str] = ()


class Backend(Protocol):
    """Runs the ranker of one release."""

    async def score(self, inputs: Inputs, timeout: float, output: str = SCORE) -> Scored:
        """`dense` float32 [N, D] and `sparse` int64 [N, C] -> one of the ranker's outputs, within `timeout` seconds."""
        ...

    def warm(self, inputs: Inputs) -> None:
        """Run what runs in this process once; in a thread, before anything is asked."""
        ...

    async def ready(self) -> None:
        """Wait until it can be asked; not for ever, where it can do without what it waits for."""
        ...


class OnnxBackend:
    """The ranker in this process, by ONNX Runtime."""

    def __init__(self, folder: Path, gate: ComputeGate) -> None:
        self._session = session(folder / RANKER)
        self._gate = gate
        self._seconds = metrics.BACKEND_SECONDS.labels(ONNX)

    async def score(self, inputs: Inputs, timeout: float, output: str = SCORE) -> Scored:
        """See `Backend`."""
        large = len(inputs["dense"]) > LARGE
        return Scored(await self._gate.run_model(lambda: self._run(inputs, output), in_thread=large))

    def warm(self, inputs: Inputs) -> None:
        """See `Backend`."""
        self._run(inputs, SCORE)

    async def ready(self) -> None:
        """See `Backend`: it always is."""

    def _run(self, inputs: Inputs, output: str) -> ScoreArray:
        began = time.perf_counter()
        scores: ScoreArray = self._session.run([output], dict(inputs))[0]
        self._seconds.observe(time.perf_counter() - began)
        return scores
