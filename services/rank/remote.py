"""The backend that runs the ranker in Paddle Serving, and in this process if Paddle Serving fails."""

import asyncio
import time
from dataclasses import dataclass

import structlog

from recmesh.errors import InvalidRequest, RecmeshError, Unavailable
from recmesh.releases import ReferenceRequest
from recmesh.serving import metrics
from recmesh.serving.deadline import Deadline
from services.rank.backend import SCORE, Backend, Inputs, ScoreArray, Scored
from services.rank.breaker import Breaker
from services.rank.paddle_serving.client import PaddleServing
from services.rank.paddle_serving.wire import NotHeld

PADDLE_SERVING = "paddle-serving"
"""Name of the backend in metrics and in `degraded`."""

# Paddle Serving gets at most this share of the remaining time; the rest is enough for the ranker in this process.
_TIME_SHARE = 0.5
_READY_POLL_SECONDS = 0.1

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class RemoteOptions:
    """How rank uses Paddle Serving. Times are in seconds.

    Attributes:
        timeout: For one call; at most half of the time that the request has left.
        wait: How long a new release waits until Paddle Serving serves it too.
        tolerance: See `ReferenceRequest.check`.
        optional: Whether answers without Paddle Serving count as degraded only after its first success.
    """

    timeout: float
    wait: float
    tolerance: float
    optional: bool


class RemoteBackend:
    """The ranker of one release."""

    def __init__(
        self,
        release: str,
        reference: ReferenceRequest | None,
        remote: PaddleServing,
        local: Backend,
        options: RemoteOptions,
    ) -> None:
        """Start with a closed circuit breaker.

        Args:
            release: Id of the release.
            reference: Of the release. Releases of format 1 have none, and are scored in this process only.
            remote: Called first.
            local: Called if `remote` gives no scores.
            options: See `RemoteOptions`.
        """
        self._release = release
        self._reference = reference
        self._remote = remote
        self._local = local
        self._options = options
        self._breaker = Breaker(PADDLE_SERVING, self._probe)
        self._missing = () if options.optional else (PADDLE_SERVING,)
        self._seconds = metrics.BACKEND_SECONDS.labels(PADDLE_SERVING)

    async def score(self, inputs: Inputs, timeout: float, output: str = SCORE) -> Scored:
        """See `Backend.score`."""
        deadline = Deadline(timeout)
        if self._reference is not None and self._breaker.allows():
            try:
                return Scored(await self._score(inputs, min(self._options.timeout, _TIME_SHARE * timeout), output))
            except RecmeshError as error:
                self._failed(error)
        scored = await self._local.score(inputs, deadline.remaining(), output)
        return Scored(scored.scores, self._missing)

    def warm(self, inputs: Inputs) -> None:
        """See `Backend.warm`."""
        self._local.warm(inputs)

    async def ready(self) -> None:
        """Wait until Paddle Serving serves this release, so that both switch together.

        If it does not in time, the circuit breaker opens.
        """
        if self._reference is None:
            log.warning("release has no reference request: Paddle Serving cannot serve it", release=self._release)
            return
        deadline = Deadline(self._options.wait)
        while True:
            try:
                await self._probe()
                return
            except RecmeshError as error:
                # If Paddle Serving is optional, wait only while it is running and about to switch.
                switching = isinstance(error, NotHeld)
                if not deadline.remaining() or (self._options.optional and not switching):
                    self._breaker.open(str(error))
                    return
                await asyncio.sleep(_READY_POLL_SECONDS)

    async def _score(self, inputs: Inputs, timeout: float, output: str) -> ScoreArray:
        started = time.perf_counter()
        outputs = await self._remote.infer(self._release, inputs, timeout)
        scores = outputs.get(output)
        if scores is None or len(scores) != len(inputs["dense"]):
            raise Unavailable(f"Paddle Serving: output {output} is missing or has the wrong length")
        self._answered()
        self._seconds.observe(time.perf_counter() - started)
        return scores

    async def _probe(self) -> None:
        assert self._reference is not None
        outputs = await self._remote.infer(self._release, self._reference.inputs, self._options.timeout)
        self._reference.check(outputs, self._options.tolerance)
        self._answered()

    def _answered(self) -> None:
        self._breaker.succeeded()
        self._missing = (PADDLE_SERVING,)

    def _failed(self, error: RecmeshError) -> None:
        metrics.BACKEND_FAILURES.labels(PADDLE_SERVING, type(error).__name__).inc()
        if not isinstance(error, InvalidRequest):
            self._breaker.failed(error)
