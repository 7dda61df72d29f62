"""Settings of the Paddle Serving gateway."""

from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, PositiveInt, model_validator
from typing_extensions import Self

from recmesh.contract import PADDLE_SERVING_PORT
from recmesh.releases.agreement import TOLERANCE
from recmesh.serving.settings import Port, ReleaseSettings


class PaddleServingSettings(ReleaseSettings):
    """How the ranker runs in Paddle Serving.

    Attributes:
        paddle_serving_port: Of the gateway.
        paddle_serving_device: `cpu`, `gpu`, or `tensorrt` (a GPU with TensorRT).
        paddle_serving_devices: Ids of the GPUs, separated by commas. Pipelines use them in turn.
        paddle_serving_concurrency: Pipelines per release, each a process with its own predictor.
        paddle_serving_threads: Threads of the math library in a pipeline, on a CPU.
        paddle_serving_precision: `fp16` requires TensorRT.
        paddle_serving_batch: Requests that a pipeline may compute together; 1 disables batching.
        paddle_serving_batch_window_ms: How long a pipeline waits for a batch to fill, in milliseconds.
        paddle_serving_tolerance: Largest difference between a score of the reference request and the recorded score
            (relative for scores above 1).
        paddle_serving_linger: Seconds that the previous release is still served, for requests that use it.
    """

    paddle_serving_port: Port = PADDLE_SERVING_PORT
    paddle_serving_device: Literal["cpu", "gpu", "tensorrt"] = "cpu"
    paddle_serving_devices: Annotated[str, Field(pattern=r"^\d+(,\d+)*$")] = "0"
    paddle_serving_concurrency: PositiveInt = 1
    paddle_serving_threads: PositiveInt = 1
    paddle_serving_precision: Literal["fp32", "fp16"] = "fp32"
    paddle_serving_batch: PositiveInt = 1
    paddle_serving_batch_window_ms: PositiveInt = 1
    paddle_serving_tolerance: PositiveFloat = TOLERANCE
    paddle_serving_linger: PositiveFloat = 30.0

    @model_validator(mode="after")
    def _precision_fits(self) -> Self:
        if self.paddle_serving_precision != "fp32" and self.paddle_serving_device != "tensorrt":
            raise ValueError("RECMESH_PADDLE_SERVING_PRECISION=fp16 requires RECMESH_PADDLE_SERVING_DEVICE=tensorrt")
        return self
