"""The interface of ranker backends, and the backend in this process."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from recmesh.features import FeatureSpec
from recmesh.serving import metrics
from recmesh.serving.compute_gate import ComputeGate
from recmesh.serving.counted import CountedRanker
from recmesh.serving.models import run_span, session

SCORE = "score"
"""The ranker's output that orders lists."""

DEBIASED_SCORE = "affinity"
"""The ranker's output that judges pairs: how much more the user is drawn to an item than its popularity suggests."""

ONNX = "onnx"
"""Name of the backend in this process, in metrics."""

RANKER = "ranker.onnx"
"""File of the ranker in a release."""

MAX_ITEMS_ON_LOOP = 500
"""Computations for more items run in a thread: they would delay health checks."""

Inputs = Mapping[str, npt.NDArray[Any]]
ScoreArray = npt.NDArray[np.float32]


class Scored(NamedTuple):
    """The result of a backend.

    Attributes:
        scores: float32 [items].
        missing: Names of the backends that should have given the scores and did not.
    """

    scores: ScoreArray
    missing: Sequence[str] = ()


class Backend(Protocol):
    """Runs the ranker of one release."""

    async def score(self, inputs: Inputs, timeout: float, output: str = SCORE) -> Scored:
        """One of the ranker's outputs.

        Args:
            inputs: `dense` float32 [items, features] and `sparse` int64 [items, features].
            timeout: In seconds.
            output: `SCORE` or `DEBIASED_SCORE`.
        """
        ...

    def warm(self, inputs: Inputs) -> None:
        """Run the parts in this process once. Called in a thread, before the first request."""
        ...

    async def ready(self) -> None:
        """Wait until the backend can answer, or until it is clear that it must work without its remote part."""
        ...


class OnnxBackend:
    """Runs the ranker in this process with ONNX Runtime."""

    def __init__(self, folder: Path, gate: ComputeGate) -> None:
        """Load the ranker of the release in `folder`; `gate` runs it."""
        self._session = session(folder / RANKER)
        self._gate = gate
        self._seconds = metrics.BACKEND_SECONDS.labels(ONNX)

    async def score(self, inputs: Inputs, timeout: float, output: str = SCORE) -> Scored:
        """See `Backend.score`."""
        rows = len(inputs["dense"])
        span = run_span("ranker", rows)  # Here, because a thread does not know the request.

        def run() -> ScoreArray:
            with span:
                return self._run(inputs, output)

        return Scored(await self._gate.run_model(run, in_thread=rows > MAX_ITEMS_ON_LOOP))

    def warm(self, inputs: Inputs) -> None:
        """See `Backend.warm`."""
        self._run(inputs, SCORE)

    async def ready(self) -> None:
        """See `Backend.ready`; this backend is always ready."""

    def _run(self, inputs: Inputs, output: str) -> ScoreArray:
        started = time.perf_counter()
        scores: ScoreArray = self._session.run([output], dict(inputs))[0]
        self._seconds.observe(time.perf_counter() - started)
        return scores


class CountsBackend:
    """Scores the items of a starter, which has no ranker, by counts."""

    def __init__(self, spec: FeatureSpec) -> None:
        """Score the inputs of a release with this spec."""
        self._ranker = CountedRanker(spec)

    async def score(self, inputs: Inputs, timeout: float, output: str = SCORE) -> Scored:
        """See `Backend.score`."""
        return Scored(self._ranker.run([output], inputs)[0])

    def warm(self, inputs: Inputs) -> None:
        """See `Backend.warm`; there is nothing to run."""

    async def ready(self) -> None:
        """See `Backend.ready`; this backend is always ready."""
