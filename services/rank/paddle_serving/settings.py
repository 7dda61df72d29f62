"""Settings of the Paddle Serving gateway."""

from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, PositiveInt, model_validator
from typing_extensions import Self

from recmesh.serving.settings import Port, ReleaseSettings


class PaddleServingSettings(ReleaseSettings):
    """Where and how the ranker runs in Paddle Serving; all variables begin with RECMESH_PADDLE_SERVING_.

    Attributes:
        port: of the gateway.
        device: `cpu`, `gpu`, or `tensorrt` (a GPU, with TensorRT).
        devices: ids of the GPUs, with commas; pipelines take them in turn.
        concurrency: pipelines of a release, each a process with a predictor of its own.
        threads: of the mathematics of one pipeline, on a CPU.
        precision: `fp16` needs TensorRT.
        batch: requests that one pipeline may compute together; 1: each alone.
        batch_window_ms: how long it waits for them.
        tolerance: how far a score of the reference may be from the recorded one (relative where scores exceed 1).
        linger: seconds that the pipelines of the release before go on, for requests that began with it.
    """

    paddle_serving_port: Port = 8961
    paddle_serving_device: Literal["cpu", "gpu", "tensorrt"] = "cpu"
    paddle_serving_devices: Annotated[str, Field(pattern=r"^\d+(,\d+)*$")] = "0"
    paddle_serving_concurrency: PositiveInt = 1
    paddle_serving_threads: PositiveInt = 1
    paddle_serving_precision: Literal["fp32", "fp16"] = "fp32"
    paddle_serving_batch: PositiveInt = 1
    paddle_serving_batch_window_ms: PositiveInt = 1
    paddle_serving_tolerance: PositiveFloat = 1e-5
    paddle_serving_linger: PositiveFloat = 30.0

    @model_validator(mode="after")
    def _precision_fits(self) -> Self:
        if self.paddle_serving_precision != "fp32" and self.paddle_serving_device != "tensorrt":
            raise ValueError("RECMESH_PADDLE_SERVING_PRECISION=fp16 has an effect on tensorrt only")
        return self
