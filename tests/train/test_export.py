"""The comparison of the exported formats: it accepts rounding at any scale and refuses every wrong weight."""

from pathlib import Path

from tests.train.conftest import inside

_EXPORT = """
import json, sys
from pathlib import Path
import numpy as np, paddle
from paddle.static import InputSpec
from jobs.train.export.fused import FusedDeepFM
from jobs.train.export.paddle_models import check_equal, export
from jobs.train.models.debiased_score import Squares
from jobs.train.models.deepfm import RANKER_OUTPUTS, Buckets, DeepFM
from jobs.train.models.wide import Wide
from recmesh.errors import ReleaseError
from recmesh.features.spec import SEGMENTS

folder = Path(sys.argv[1])
rng = np.random.default_rng(3)
columns = (len(SEGMENTS), 5, 40)

def draw(*shape):
    return rng.normal(size=shape).astype(np.float32)

def wide():
    # The last two inputs are nearly equal, and their terms cancel.
    weights = draw(7)
    weights[5:] = 100 * np.array([1, -1])
    return Wide(mean=draw(7) * 0, scale=np.ones(7, np.float32), weights=weights)

def inputs(rows):
    dense = draw(rows, 7)
    dense[:, 6] = dense[:, 5] + 0.01 * dense[:, 6]
    sparse = np.stack([rng.integers(0, size, rows) for size in columns], 1) + np.array([0, 3, 8])
    return {"dense": dense, "sparse": sparse.astype(np.int64)}

recorded = [inputs(1 if number % 3 == 0 else 300) for number in range(30)]
model = DeepFM({name: wide() for name in SEGMENTS}, Buckets.of(recorded[1]["dense"]), columns, 1)
for parameter in model.parameters():
    parameter.set_value(draw(*parameter.shape) * 0.3)

def twice():
    first, second = wide(), wide()
    parts = [np.concatenate([getattr(first, name), getattr(second, name)]) for name in ("mean", "scale", "weights")]
    return Wide(*parts)

model.set_debiased_score({name: twice() for name in SEGMENTS}, Squares(draw(7), np.abs(draw(7)) + 1))
model.set_alpha(dict(zip(SEGMENTS, (0.25, 0.5, 1.0))))
specs = [InputSpec([None, 7], "float32", "dense"), InputSpec([None, 3], "int64", "sparse")]
path = folder / "ranker.onnx"
fused = FusedDeepFM(model)
prefix = export(fused, specs, RANKER_OUTPUTS, path, folder / "ranker", "deepfm")
found = {"as it is": check_equal(prefix, path, recorded)}

for parameter_name, parameter in fused.state_dict().items():
    values = parameter.numpy()
    # The fused form has its own versions of these.
    unused = parameter_name.startswith(("_model.factors", "_model.first", "_model.edges", "_model.summing"))
    if unused or values.dtype != np.float32 or len(np.unique(values)) < 2:
        continue
    wrong = {"exchanged": np.roll(values, 1, -1), "scaled": values * np.float32(1.01), "without a part": values.copy()}
    wrong["without a part"][..., 0] = 0
    for name, changed in wrong.items():
        if np.array_equal(changed, values):
            continue
        parameter.set_value(changed)
        paddle.jit.save(fused, str(folder / "wrong"), input_spec=specs)
        try:
            found[f"{parameter_name} {name}"] = check_equal(folder / "wrong", path, recorded)
        except ReleaseError as error:
            found[f"{parameter_name} {name}"] = str(error)
    parameter.set_value(values)
print(json.dumps(found))
"""


def test_a_correct_export_passes_and_every_wrong_weight_is_refused(tmp_path: Path) -> None:
    found = inside(_EXPORT, str(tmp_path))
    assert 5e-6 < found.pop("as it is") < 2e-5, "the terms do not cancel, or rounding takes most of the bound"
    assert len(found) > 20
    assert {name: fault for name, fault in found.items() if "not released" not in str(fault)} == {}
