"""Training: the release that it writes, the data sets that it refuses, and its reproducibility."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from recmesh.evaluation import Report
from recmesh.releases import ReferenceRequest
from tests.train.conftest import DAY_NAMES, Run, inside, orders, train, write


def test_the_release_is_complete_and_beats_popularity(trained: Run, release: Path) -> None:
    manifest = trained.store.activate(trained.release)
    assert trained.store.active() == trained.release
    assert set(manifest.metrics) == {"cold", "novel", "repeat"}
    for segment in manifest.metrics.values():
        assert segment.users > 20
        assert segment.chain["recall@10"] > segment.popularity["recall@10"]
        assert segment.chain["recall@10"] >= segment.channels["merged"]["recall@10"] - 0.05
    for name in (
        "user_tower.onnx",
        "item_tower.onnx",
        "ranker.onnx",
        "ranker/deepfm.pdmodel",
        "ranker/deepfm.pdiparams",
        "ranker/canary.npz",
    ):
        assert name in manifest.files
    assert np.load(release / "item_vectors.npy").shape == (manifest.items, manifest.dim)


def test_the_ranker_reproduces_the_reference_request(trained: Run, release: Path) -> None:
    manifest, reference = trained.store.manifest(trained.release), ReferenceRequest.load(release)
    assert manifest.ranker is not None
    session = onnxruntime.InferenceSession(str(release / "ranker.onnx"))
    names = [output.name for output in session.get_outputs()]
    assert list(manifest.ranker.outputs) == names == list(reference.outputs)
    for name, expected in manifest.ranker.inputs.items():
        assert reference.inputs[name].shape[1] == expected.width
        assert reference.inputs[name].dtype == expected.dtype
    reference.check(dict(zip(names, session.run(names, dict(reference.inputs)), strict=True)), 1e-5)
    assert len(set(reference.outputs["score"].round(4).tolist())) > 1, "equal scores would not show a mix-up"


def test_both_formats_of_the_models_agree_on_the_recorded_inputs(trained: Run) -> None:
    extra = trained.store.manifest(trained.release).extra
    assert extra["recorded_inputs"] == 1000
    assert set(extra["export_difference"]) == {"user_tower", "item_tower", "ranker"}
    assert max(extra["export_difference"].values()) <= 1e-5  # of the scale; the bound is 5e-5


def test_the_same_data_and_seed_give_the_same_release(trained: Run, retrained: Run) -> None:
    assert retrained.release == trained.release
    first, second = (run.store.manifest(run.release) for run in (trained, retrained))
    assert first.metrics == second.metrics


def test_a_release_that_the_store_holds_is_not_trained_again(shop_data: Path, trained: Run) -> None:
    again = train(shop_data, Path(trained.store.url))
    assert "current" in again.output
    assert again.release == trained.release


def test_a_model_whose_formats_differ_is_refused(tmp_path: Path) -> None:
    code = """
import json, sys
import numpy as np, paddle
from pathlib import Path
from paddle.static import InputSpec
from jobs.train.export.paddle_models import check_equal, export
from recmesh.errors import ReleaseError

class Sum(paddle.nn.Layer):
    def __init__(self, weight):
        super().__init__()
        self.register_buffer("weight", paddle.to_tensor(np.array(weight, np.float32)))

    def forward(self, dense):
        return (dense * self.weight).sum(1)

folder = Path(sys.argv[1])
recorded = [{"dense": np.random.default_rng(1).random((50, 3), np.float32)}]
prefixes = [
    export(Sum(weight), [InputSpec([None, 3], "float32", "dense")], ("score",), folder / f"{name}.onnx", folder, name)
    for name, weight in (("one", [1, 2, 3]), ("other", [1, 2, 3.001]))
]
answers = []
for prefix in prefixes:
    try:
        answers.append(check_equal(prefix, folder / "one.onnx", recorded))
    except ReleaseError as error:
        answers.append(str(error))
print(json.dumps(answers))
"""
    equal, refusal = inside(code, str(tmp_path))
    assert equal <= 1e-5
    assert "not released" in refusal


@pytest.mark.parametrize(
    ("name", "rows", "users", "items"),
    [
        ("no actions at all", [], 30, 30),
        ("one user", [("1", str(item), DAY_NAMES[item % 28]) for item in range(60)], 2, 60),
        ("one item", [(str(user), "0", DAY_NAMES[user % 28]) for user in range(60)], 60, 1),
    ],
)
def test_a_data_set_that_is_too_small_is_refused_in_a_single_line(
    name: str, rows: list[tuple[str, str, str]], users: int, items: int, tmp_path: Path
) -> None:
    run = train(write(tmp_path / "data", rows, users, items), tmp_path / "store")
    assert run.code == 3, name
    reasons = [line for line in run.errors.splitlines() if line.startswith("train: ")]
    assert len(reasons) == 1 and "Traceback" not in run.errors
    assert run.store.list() == []


@pytest.mark.long  # test_shapes trains without fields, too
def test_training_works_without_fields_and_with_dates_only(tmp_path: Path) -> None:
    run = train(write(tmp_path / "data", orders(80, 100, 8), 80, 100, fields=False), tmp_path / "store")
    assert run.code == 0, run.errors
    manifest = run.store.manifest(run.release)
    assert manifest.items == 100
    assert 0 <= manifest.metrics["repeat"].chain["recall@10"] <= 1
    run.store.activate(run.release)

    # Another seed gives another release. The active one was trained on the same actions, so no comparison is fair.
    again = train(tmp_path / "data", tmp_path / "store", "--seed", "2")
    assert again.release != run.release
    report = Report.parse(run.store.read(again.release, "metrics.json"), "metrics.json")
    assert report.active is not None and not report.active.compared
    assert "it has seen the held-out labels" in report.active.reason
    assert run.store.manifest(again.release).compared is None
