"""The ranker's second output separates wanted pairs from merely popular ones."""

from pathlib import Path

import numpy as np
import onnxruntime

from recmesh.features import Encoder
from tests.train.conftest import Run, inside

_FITS = """
import json
import numpy as np
from jobs.train.models.debiased_score import Pairs, Squares, auc, fit, joined
rng = np.random.default_rng(5)
labels = (rng.random(4000) < 0.5).astype(np.float32)
taste, noise = labels * 0.8 + rng.normal(size=4000), 1e3 + 50 * rng.normal(size=4000)
dense = np.stack([taste, noise, np.full(4000, 7.0)], 1).astype(np.float32)
halves = [Pairs(dense[:2000], labels[:2000]), Pairs(dense[2000:], labels[2000:])]
squares = Squares.of(halves[0].dense, 3)
head = fit(halves[0], squares)
nothing = fit(joined([]), squares)
medium = rng.normal(10, 5, size=4000)
wanted = (np.abs(medium - 10) < 3).astype(np.float32)
of_medium = Pairs(medium[:, None].astype(np.float32), wanted)
of_one = Squares.of(of_medium.dense, 1)
by_hand = Squares(np.array([10, 0], np.float32), np.array([5, 1], np.float32))
print(json.dumps({
    "by_taste": auc(taste[2000:], labels[2000:]),
    "fitted": auc(head(squares(halves[1].dense)), halves[1].labels),
    "squares": by_hand(np.array([[15, 3], [-100, -5], [10, 0]], np.float32)).tolist(),
    "medium": auc(fit(of_medium, of_one)(of_one(of_medium.dense)), wanted),
    "weights": head.weights.tolist(),
    "nothing": nothing(squares(dense[:5])).tolist(),
    "one_kind": fit(Pairs(dense[labels > 0], labels[labels > 0]), squares).weights.tolist(),
    "ties": auc(np.zeros(9, np.float32), labels[:9]),
    "reversed": auc(-labels, labels),
}))
"""


def test_the_fit_finds_the_informative_input_and_is_zero_without_pairs_of_both_kinds() -> None:
    found = inside(_FITS)
    assert found["fitted"] > found["by_taste"] - 0.005 > 0.65
    assert abs(found["weights"][1]) < 0.1 < found["weights"][0]
    assert found["weights"][2] == found["weights"][5] == 0
    assert found["nothing"] == [0] * 5
    assert found["one_kind"] == [0] * 6
    assert found["ties"] == 0.5
    assert found["reversed"] == 0


def test_squares_are_those_of_standardised_inputs_up_to_four_deviations() -> None:
    found = inside(_FITS)
    assert found["squares"] == [[15, 3, 1, 9], [-100, -5, 16, 16], [10, 0, 0, 0]]
    assert found["medium"] > 0.999  # a score that is linear in the input reaches 0.5


def test_the_ranker_of_a_release_has_a_score_and_a_debiased_score(trained: Run, release: Path) -> None:
    session = onnxruntime.InferenceSession(str(release / "ranker.onnx"))
    assert [output.name for output in session.get_outputs()] == ["score", "affinity"]

    encoder = Encoder.load(release)
    items = np.arange(len(encoder.catalogue), dtype=np.int32)
    inputs = encoder.ranker_inputs(encoder.user({}), items, True)
    score, debiased = session.run(["score", "affinity"], inputs)
    popularity = encoder.statistics.popularity[items, 0]
    of_score, of_debiased = (np.corrcoef(output, popularity)[0, 1] for output in (score, debiased))
    assert of_score > 0.4
    assert of_debiased < of_score - 0.2
    areas = trained.store.manifest(trained.release).extra["affinity_auc"]
    assert set(areas) == {"cold", "novel", "repeat"}
    assert all(area > 0.5 for area in areas.values())
