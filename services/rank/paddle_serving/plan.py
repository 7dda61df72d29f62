"""What one pipeline is started with: written by the gateway, read by the pipeline."""

from typing import Any

from pydantic import BaseModel

from recmesh.releases import TensorInput

OP = "rank"
"""The one op that computes."""

Shapes = dict[str, dict[str, list[int]]]
"""For each of TensorRT's three (`min_input_shape`, ...): the shape of each input."""


class Plan(BaseModel):
    """One pipeline: `server` is the configuration that Paddle Serving reads, the rest is for our ops.

    `address` is where it listens; `inputs` and `outputs` are those of the manifest's `ranker`.
    """

    release: str
    address: str
    inputs: dict[str, TensorInput]
    outputs: dict[str, str]
    server: dict[str, Any]
    dynamic_shapes: Shapes
