"""The ranker in Paddle Serving, and in this process while that is away or slow."""

import asyncio
import time
from dataclasses import dataclass

import structlog

from recmesh.errors import InvalidRequest, RecmeshError, Unavailable
from recmesh.releases import ReferenceRequest
from recmesh.serving import metrics
from recmesh.serving.deadline import Deadline
from services.rank.backend import SCORE, Inputs, OnnxBackend, ScoreArray, Scored
from services.rank.breaker import Breaker
from services.rank.paddle_serving.client import PaddleServing
from services.rank.paddle_serving.wire import NotHeld

PADDLE_SERVING = "paddle-serving"
# Of the time that a request has left: what remains is enough for the ranker in this process.
_SHARE = 0.5
_READY_POLL = 0.1

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class RemoteOptions:
    """How rank deals with Paddle Serving. Times are in seconds.

    Attributes:
        timeout: for one request; half of the time that the request has left, where that is less.
        wait: how long a new release waits for Paddle Serving to serve it as well.
        tolerance: see `ReferenceRequest.check`.
        optional: its absence is no degradation until it has answered for the first time.
    """

    timeout: float
    wait: float
    tolerance: float
    optional: bool


class RemoteBackend:
    """The ranker of one release.

    Args:
        release: its id.
        reference: of the release; without one (a release of format 1), everything is computed in this process.
        remote: asked first.
        local: asked when that gives no scores.
    """

    def __init__(
        self,
        release: str,
        reference: ReferenceRequest | None,
        remote: PaddleServing,
        local: OnnxBackend,
        options: RemoteOptions,
    ) -> None:
        self._release = release
        self._reference = reference
        self._remote = remote
        self._local = local
        self._options = options
        self._breaker = Breaker(PADDLE_SERVING, self._probe)
        self._missing = () if options.optional else (PADDLE_SERVING,)
        self._seconds = metrics.BACKEND_SECONDS.labels(PADDLE_SERVING)

    async def score(self, inputs: Inputs, timeout: float, output: str = SCORE) -> Scored:
        """See `Backend`."""
        left = Deadline(timeout)
        if self._reference is not None and self._breaker.allows():
            try:
                return Scored(await self._score(inputs, min(self._options.timeout, _SHARE * timeout), output))
            except RecmeshError as error:
                self._failed(error)
        scored = await self._local.score(inputs, left.remaining(), output)
        return Scored(scored.scores, self._missing)

    def warm(self, inputs: Inputs) -> None:
        """See `Backend`."""
        self._local.warm(inputs)

    async def ready(self) -> None:
        """Wait until Paddle Serving answers for this release, so that both move to it together."""
        if self._reference is None:
            log.warning("release without a reference: Paddle Serving cannot serve it", release=self._release)
            return
        left = Deadline(self._options.wait)
        while True:
            try:
                await self._probe()
                return
            except RecmeshError as error:
                moves = isinstance(error, NotHeld)
                if not left.remaining() or (self._options.optional and not moves):
                    self._breaker.open(str(error))
                    return
                await asyncio.sleep(_READY_POLL)

    async def _score(self, inputs: Inputs, timeout: float, output: str) -> ScoreArray:
        began = time.perf_counter()
        outputs = await self._remote.infer(self._release, inputs, timeout)
        scores = outputs.get(output)
        if scores is None or len(scores) != len(inputs["dense"]):
            raise Unavailable(f"Paddle Serving: {output} is missing or of another length")
        self._answered()
        self._seconds.observe(time.perf_counter() - began)
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
