"""Stored requests, replayed through the serving code, give exactly the candidates and inputs of training."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recmesh.pb.item_info_pb2 import ItemInfo
from tests.train.conftest import inside
from tests.train.serving import Serving, Stored
from tests.train.shapes import CATEGORICAL, DAY_MS, MULTI, NUMERIC, Shape, around, colour, make, number, tags

# Fields of every kind with missing cells, actions of every weight and value, returns, many actions with the same time,
# repeats, and a user with more actions than a history keeps.
_SHAPE = Shape(
    users=250,
    items=330,
    each=around(14),
    days=90,
    granularity=DAY_MS // 4,
    user_fields={"sex": (CATEGORICAL, colour), "income": (NUMERIC, number), "hobbies": (MULTI, tags)},
    item_fields={"brand": (CATEGORICAL, colour), "weight": (NUMERIC, number), "tags": (MULTI, tags)},
    repeat=0.2,
    kinds={"view": 0.1, "like": 0, "order": 3},
    value="value: amount, weight_by: value",
    amounts=lambda rng, actions: rng.choice([-2, -1, 0, 1, 1, 2, 5], actions).tolist(),
    giant=1500,
)

# The features and lists of training at the held-out cut-offs, saved as in a release, for some users of each segment.
# Paddle and ONNX Runtime differ in the last bits, so training uses the exported user tower too, one user at a time.
_TRAINING = """
import json, sys
from dataclasses import replace
from pathlib import Path
import numpy as np, onnxruntime
from paddle.static import InputSpec
from jobs.train import pipeline
from jobs.train.data import statistics
from jobs.train.export.paddle_models import export
from jobs.train.data.prepare import prepare
from recmesh.progress import Reporter
from jobs.train.data.rows import candidates
from jobs.train.models.towers import Towers
from jobs.train.data.windows import plan
from recmesh.dataset import read
folder, work = map(Path, sys.argv[1:])
data = prepare(read(folder, rejects=work / "rejects.csv"))
windows = plan(data, 1)
spec = pipeline.feature_spec(data, windows)
models = Towers(data, spec.tower, windows, 1, Reporter())
giant = int(np.argmax(np.diff(data.start)))
found = {"giant": giant}
for window in (window for window in windows.windows if window.held_out):
    known = statistics.build(data, spec, window.known, window.as_of)
    towers = models.of(window)
    snapshot = pipeline._snapshot(data, spec, window, known, towers, towers.item_vectors())
    release = work / ("cold" if window.cold else "warm")
    snapshot.encoder.save(release)
    np.save(release / "item_vectors.npy", snapshot.item_vectors)
    inputs = [InputSpec([None, None], kind, name)
        for name, kind in (("items", "int64"), ("weights", "float32"), ("fields", "int64"))]
    export(towers.exported_user_tower(snapshot.item_vectors), inputs, ("vector",), release / "user_tower.onnx",
        release / "paddle", "user_tower")
    tower = onnxruntime.InferenceSession(str(release / "user_tower.onnx"))
    snapshot = replace(snapshot, user_vectors=lambda users: np.concatenate(
        [tower.run(None, snapshot.encoder.tower_inputs(user))[0] for user in users]))
    users = np.random.default_rng(1).permutation(window.labelled())[:40]
    users = users if window.cold else np.unique(np.append(users, giant))
    for segment in ("cold",) if window.cold else ("novel", "repeat"):
        arrays, rows = {}, []
        for place, made in enumerate(candidates(data, snapshot, users, segment)):
            rows.append(made.row)
            parts = snapshot.encoder.tower_inputs(made.user) | {"merged": made.merged.items, "dense": made.dense,
                "sparse": made.sparse, "vector": made.vector}
            arrays |= {f"{place}_{name}": array for name, array in parts.items()}
        np.savez(work / f"{segment}.npz", **arrays)
        found[segment] = {"cutoff": window.as_of, "rows": rows}
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(_SHAPE, tmp_path_factory.mktemp("replay") / "data")


@pytest.fixture(scope="module")
def training(shop: Path) -> dict[str, Any]:
    """For each segment the cut-off and the users of the lists; the arrays are in the folder of the data set."""
    found: dict[str, Any] = inside(_TRAINING, str(shop), str(shop.parent))
    return found


@pytest.mark.parametrize("segment", ["cold", "novel", "repeat"])
async def test_a_replayed_request_gives_the_inputs_of_training(
    segment: str, shop: Path, training: dict[str, Any]
) -> None:
    expected, new_only = training[segment], segment == "novel"
    lists = np.load(shop.parent / f"{segment}.npz")
    serving = Serving(shop.parent / ("cold" if segment == "cold" else "warm"))
    stored = Stored(shop, shop.parent / "log.csv", before=expected["cutoff"])
    user_ids, sku_ids = list(stored.users), serving.encoder.catalogue.sku_ids
    assert len(expected["rows"]) > 15
    assert segment == "cold" or training["giant"] in expected["rows"]
    for place, row in enumerate(expected["rows"]):
        user, history = stored.users[user_ids[row]], b"" if segment == "cold" else stored.histories[user_ids[row]]
        inputs, vector = serving.tower(user, history)
        for name, array in (inputs | {"vector": vector}).items():
            assert np.array_equal(array.ravel(), lists[f"{place}_{name}"].ravel()), (row, name)

        merged = [sku_ids[item] for item in lists[f"{place}_merged"].tolist()]
        found = await serving.candidates(user, history, new_only)
        assert found[: len(merged)] == merged

        await serving.ranked(user, history, new_only, merged)
        received = serving.ranker.received[-1]
        assert np.array_equal(received["sparse"], lists[f"{place}_sparse"])
        dense = np.flatnonzero((received["dense"] != lists[f"{place}_dense"]).any(0))
        assert not len(dense), [serving.encoder.spec.dense[column] for column in dense]


async def test_an_item_that_is_newer_than_the_release_is_scored_by_its_fields(
    shop: Path, training: dict[str, Any]
) -> None:
    serving = Serving(shop.parent / "warm")
    stored = Stored(shop, shop.parent / "log.csv", before=training["repeat"]["cutoff"])
    user_id = next(iter(stored.histories))
    user, history = stored.users[user_id], stored.histories[user_id]
    await serving.ranked(user, history, False, list(stored.items))
    strangers = [ItemInfo.FromString(item) for item in stored.items.values()]
    for item in strangers:
        item.sku_id = f"new {item.sku_id}"
    await serving.ranked(user, history, False, [], [item.SerializeToString() for item in strangers])
    known, new = serving.ranker.received
    assert np.array_equal(new["sparse"], known["sparse"])
    names = serving.encoder.spec.dense
    of_fields = [name.startswith(("brand_", "weight_", "tags_", "user_")) for name in names]
    assert np.array_equal(new["dense"][:, of_fields], known["dense"][:, of_fields])
    assert not new["dense"][:, names.index("owned")].any()
    assert not any(vocabulary.unknown for vocabulary in serving.encoder.vocabularies.values())
