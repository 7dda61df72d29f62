"""Training sees what serving sees, and nothing from after its moment."""

from pathlib import Path

import numpy as np
import onnxruntime
import polars as pl

from recmesh.dataset import read
from recmesh.features import Encoder
from recmesh.retrieval import Retriever
from recmesh.retrieval.channels import two_tower
from tests.train.conftest import inside

# The training's own lists of the release's moment: channels, merge and inputs of some users, as JSON.
_LISTS_OF_TRAINING = """
import json, sys
from pathlib import Path
import numpy as np
from jobs.train.prepare import prepare
from jobs.train.rows import Moment, candidates
from jobs.train.windows import Window
from recmesh.dataset import read
from recmesh.features import Encoder
import onnxruntime
data_folder, release, work = map(Path, sys.argv[1:4])
data = prepare(read(data_folder, rejects=work / "rejects.csv"))
encoder = Encoder.load(release)
session = onnxruntime.InferenceSession(str(release / "user_tower.onnx"))
vectors = lambda users: np.concatenate([session.run(None, encoder.tower_inputs(user))[0] for user in users])
begin, end = data.start[:-1], data.start[1:]
window = Window("now", encoder.spec.as_of, end, begin, end, False, True)
moment = Moment(window, encoder, np.load(release / "item_vectors.npy"), vectors)
users = np.arange(0, 60, 3)
found = list(candidates(data, moment, users, "repeat"))
np.savez(work / "lists.npz", **{f"{n}_{k}": v for n, one in enumerate(found)
    for k, v in (("items", one.merged.items), ("dense", one.dense), ("sparse", one.sparse))})
print(json.dumps(users.tolist()))
"""


def test_inputs_logged_at_serving_equal_those_of_training(shop_data: Path, release: Path, tmp_path: Path) -> None:
    rows = inside(_LISTS_OF_TRAINING, str(shop_data), str(release), str(tmp_path))
    lists = np.load(tmp_path / "lists.npz")
    data = read(shop_data, rejects=tmp_path / "rejects.csv")
    encoder = Encoder.load(release)
    retriever = Retriever(encoder)
    vectors = np.load(release / "item_vectors.npy")
    tower = onnxruntime.InferenceSession(str(release / "user_tower.onnx"))
    actions = data.actions.with_columns(pl.col("user_id", "sku_id", "type").cast(pl.String))
    for number, row in enumerate(rows):
        profile = {k: v for k, v in data.users.row(row, named=True).items() if v is not None}
        mine = actions.filter(pl.col("user_id") == str(profile["user_id"])).reverse()
        user = encoder.user(profile, *(mine[name].to_list() for name in ("sku_id", "time", "type", "value")))
        vector = tower.run(None, encoder.tower_inputs(user))[0][0]
        exclude = retriever.excluded(user, new_only=False)
        found = retriever.in_memory(user, tuple(retriever.quotas["repeat"]), exclude)
        found = {
            "two_tower": two_tower(encoder, vector, vectors, exclude, retriever.quotas["repeat"]["two_tower"].depth)
        } | found
        merged = retriever.merge(found, "repeat")
        inputs = encoder.ranker_inputs(user, merged.items, False, user_vector=vector)
        assert np.array_equal(merged.items, lists[f"{number}_items"])
        assert np.array_equal(inputs["sparse"], lists[f"{number}_sparse"])
        np.testing.assert_allclose(inputs["dense"], lists[f"{number}_dense"], rtol=1e-5, atol=1e-6)
