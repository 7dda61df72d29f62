"""Settings of rank."""

from typing import Literal

from pydantic import PositiveFloat

from recmesh.serving import ReleaseSettings


class RankSettings(ReleaseSettings):
    """Where the ranker runs. Times are in seconds.

    Attributes:
        rank_backend: `onnx`: in this process. `paddle-serving`: there, and in this process, degraded, while that is
            away or slow. `auto`: the same, but not degraded as long as it has never answered.
        paddle_serving_target: of its gateway.
        paddle_serving_timeout: for one request to it.
        paddle_serving_wait: how long a new release waits for Paddle Serving to serve it as well.
        paddle_serving_tolerance: how far a score of the reference may be from the recorded one.
    """

    rank_backend: Literal["onnx", "paddle-serving", "auto"] = "onnx"
    paddle_serving_target: str = "127.0.0.1:8961"
    paddle_serving_timeout: PositiveFloat = 0.2
    paddle_serving_wait: PositiveFloat = 30.0
    paddle_serving_tolerance: PositiveFloat = 1e-5
