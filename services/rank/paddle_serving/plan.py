"""The plan of a pipeline: the gateway writes it, and the pipeline reads it at its start."""

from typing import Any

from pydantic import BaseModel

from recmesh.releases import TensorInput

OP = "rank"
"""Name of the op that runs the ranker."""

Shapes = dict[str, dict[str, list[int]]]
"""For each of TensorRT's bounds (`min_input_shape`, ...), the shape of each input by name."""


class Plan(BaseModel):
    """The plan of one pipeline.

    Attributes:
        release: Id of the release.
        address: gRPC address at which the pipeline listens.
        inputs: Of the ranker, from the manifest.
        outputs: Of the ranker, from the manifest: Paddle's name by recmesh's name.
        server: Paddle Serving's own configuration.
        dynamic_shapes: Empty without TensorRT.
    """

    release: str
    address: str
    inputs: dict[str, TensorInput]
    outputs: dict[str, str]
    server: dict[str, Any]
    dynamic_shapes: Shapes
