"""Settings of rank."""

from typing import Literal

from pydantic import PositiveFloat

from recmesh.contract import PADDLE_SERVING_PORT
from recmesh.releases.agreement import TOLERANCE
from recmesh.serving import ReleaseSettings


class RankSettings(ReleaseSettings):
    """Where the ranker runs. Times are in seconds.

    Attributes:
        rank_backend: `onnx`: in this process. `paddle-serving`: in Paddle Serving; if that fails, in this process, and
            the answer is degraded. `auto`: the same, but answers count as degraded only after Paddle Serving's first
            success.
        paddle_serving_target: gRPC target of the gateway.
        paddle_serving_timeout: For one call.
        paddle_serving_wait: How long a new release waits until Paddle Serving serves it too.
        paddle_serving_tolerance: Largest difference between a score of the reference request and the recorded score
            (relative for scores above 1).
    """

    rank_backend: Literal["onnx", "paddle-serving", "auto"] = "onnx"
    paddle_serving_target: str = f"127.0.0.1:{PADDLE_SERVING_PORT}"
    paddle_serving_timeout: PositiveFloat = 0.2
    paddle_serving_wait: PositiveFloat = 30.0
    paddle_serving_tolerance: PositiveFloat = TOLERANCE
