"""A manifest and a reference request for tests of Paddle Serving."""

from datetime import datetime, timezone

import numpy as np
import pytest

from recmesh.releases import Manifest, RankerModel, ReferenceRequest, TensorInput

INPUTS = {"dense": TensorInput(dtype="float32", width=3), "sparse": TensorInput(dtype="int64", width=2)}


@pytest.fixture
def manifest() -> Manifest:
    """The manifest of a release whose ranker has two outputs."""
    return Manifest(
        format=2,
        id="r1",
        created=datetime(2024, 1, 1, tzinfo=timezone.utc),
        fingerprint="f" * 64,
        schema_hash="s",
        as_of=1,
        repeats=True,
        items=3,
        dim=4,
        ranker=RankerModel(inputs=INPUTS, outputs={"score": "scale_0.tmp_0", "affinity": "scale_1.tmp_0"}),
    )


@pytest.fixture
def reference() -> ReferenceRequest:
    """Two items; the score of each is the sum of its dense inputs."""
    dense = np.array([[1, 2, 3], [4, 5, 6]], np.float32)
    return ReferenceRequest({"dense": dense, "sparse": np.array([[0, 1], [2, 3]])}, {"score": dense.sum(1)})
