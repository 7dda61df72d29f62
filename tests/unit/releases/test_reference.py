"""Reference requests are stored and compared."""

from pathlib import Path

import numpy as np
import pytest

from recmesh.errors import ReleaseError, Unavailable
from recmesh.features.spec import Array, Floats
from recmesh.releases import ReferenceRequest


@pytest.fixture
def reference() -> ReferenceRequest:
    """Make a reference request with two items."""
    inputs: dict[str, Array] = {"dense": np.ones((2, 3), np.float32), "sparse": np.arange(2)[:, None]}
    return ReferenceRequest(inputs, {"score": np.array([0.5, 200], np.float32), "affinity": np.zeros(2, np.float32)})


def test_a_reference_request_is_read_as_it_was_written(reference: ReferenceRequest, tmp_path: Path) -> None:
    (tmp_path / "ranker").mkdir()
    reference.save(tmp_path)
    read = ReferenceRequest.load(tmp_path)

    for written, found in ((reference.inputs, read.inputs), (reference.outputs, read.outputs)):
        assert written.keys() == found.keys()
        for name in written:
            np.testing.assert_array_equal(written[name], found[name])
            assert written[name].dtype == found[name].dtype


def test_the_error_for_a_release_without_reference_request_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ReleaseError, match="train again"):
        ReferenceRequest.load(tmp_path)


def test_an_equal_answer_passes(reference: ReferenceRequest) -> None:
    for score in ([0.5, 200 * (1 + 5e-6)], [0.5 + 1e-3, 200]):  # float32 rounds sums of terms around 200 like this
        reference.check({**reference.outputs, "score": np.array(score, np.float32)}, 1e-5)


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"score": np.array([0.5, 200], np.float32)},
        {"score": np.array([0.5], np.float32), "affinity": np.zeros(2, np.float32)},
        {"score": np.array([0.503, 200], np.float32), "affinity": np.zeros(2, np.float32)},
        {"score": np.array([0.5, 200.1], np.float32), "affinity": np.zeros(2, np.float32)},
        {"score": np.array([np.nan, 200], np.float32), "affinity": np.zeros(2, np.float32)},
        {"score": np.array([200, 0.5], np.float32), "affinity": np.zeros(2, np.float32)},
    ],
)
def test_a_wrong_answer_is_rejected(reference: ReferenceRequest, wrong: dict[str, Floats]) -> None:
    with pytest.raises(Unavailable, match="reference request"):
        reference.check(wrong, 1e-5)
