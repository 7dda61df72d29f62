"""A reference is kept and compared."""

from pathlib import Path

import numpy as np
import pytest

from recmesh.errors import ReleaseError, Unavailable
from recmesh.releases import ReferenceRequest


@pytest.fixture
def reference() -> ReferenceRequest:
    inputs = {"dense": np.ones((2, 3), np.float32), "sparse": np.arange(2)[:, None]}
    return ReferenceRequest(inputs, {"score": np.array([0.5, 200], np.float32), "affinity": np.zeros(2, np.float32)})


def test_it_is_read_as_it_was_written(reference: ReferenceRequest, tmp_path: Path) -> None:
    (tmp_path / "ranker").mkdir()
    reference.save(tmp_path)
    read = ReferenceRequest.load(tmp_path)

    for ours, theirs in ((reference.inputs, read.inputs), (reference.outputs, read.outputs)):
        assert ours.keys() == theirs.keys()
        for name in ours:
            np.testing.assert_array_equal(ours[name], theirs[name])
            assert ours[name].dtype == theirs[name].dtype


def test_a_release_without_one_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ReleaseError, match="train again"):
        ReferenceRequest.load(tmp_path)


def test_an_equal_answer_passes(reference: ReferenceRequest) -> None:
    reference.check({**reference.outputs, "score": reference.outputs["score"] * np.float32(1 + 5e-6)}, 1e-5)


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"score": np.array([0.5, 200], np.float32)},
        {"score": np.array([0.5], np.float32), "affinity": np.zeros(2, np.float32)},
        {"score": np.array([0.5001, 200], np.float32), "affinity": np.zeros(2, np.float32)},
        {"score": np.array([0.5, 200.1], np.float32), "affinity": np.zeros(2, np.float32)},
        {"score": np.array([np.nan, 200], np.float32), "affinity": np.zeros(2, np.float32)},
        {"score": np.array([200, 0.5], np.float32), "affinity": np.zeros(2, np.float32)},
    ],
)
def test_another_answer_does_not(reference: ReferenceRequest, wrong: dict[str, np.ndarray]) -> None:
    with pytest.raises(Unavailable, match="reference"):
        reference.check(wrong, 1e-5)
