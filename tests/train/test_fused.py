"""The served form of the ranker gives the same scores as the trained form."""

from tests.train.conftest import inside

_BOTH_FORMS = """
import json
import numpy as np, paddle
from jobs.train.models.debiased_score import Squares
from jobs.train.models.deepfm import Buckets, DeepFM
from jobs.train.export.fused import FusedDeepFM
from jobs.train.models.wide import Wide
from recmesh.features.spec import SEGMENTS
rng = np.random.default_rng(3)
dense = rng.normal(size=(200, 7)).astype(np.float32)
columns = (len(SEGMENTS), 5, 40)
sparse = np.stack([rng.integers(0, size + 1, 200) for size in columns], 1) + np.array([0, 3, 8])
draw = lambda *shape: rng.normal(size=shape).astype(np.float32)
wide = {name: Wide(mean=draw(7), scale=np.abs(draw(7)) + 1, weights=draw(7)) for name in SEGMENTS}
model = DeepFM(wide, Buckets.of(dense), columns, 1)
for parameter in model.parameters():
    parameter.set_value(draw(*parameter.shape) * 0.3)
head = {name: Wide(mean=draw(14), scale=np.abs(draw(14)) + 1, weights=draw(14)) for name in SEGMENTS}
model.set_debiased_score(head, Squares(draw(7), np.abs(draw(7)) + 1))
inputs = paddle.to_tensor(dense), paddle.to_tensor(sparse.astype(np.int64))
found = []
for shares in ((0.25, 0.5, 1.0), (0.0, 0.5, 0.0), (0.0, 0.0, 0.0)):
    model.set_alpha(dict(zip(SEGMENTS, shares)))
    found.append([[output.numpy().tolist() for output in form(*inputs)] for form in (model, FusedDeepFM(model))])
print(json.dumps(found))
"""


def test_the_fused_ranker_equals_the_plain_one_for_all_shares_and_for_values_outside_the_table() -> None:
    for plain, fused in inside(_BOTH_FORMS):
        for expected, got in zip(plain, fused, strict=True):
            assert len(set(expected)) > 150
            assert max(abs(a - b) for a, b in zip(expected, got, strict=True)) < 1e-5 * max(map(abs, expected))
