"""Queries for measuring the search index: user tower vectors of users in the data set."""

from pathlib import Path

import numpy as np
import onnxruntime
import polars as pl

from jobs.ingest.histories import Histories
from recmesh.contract import DETAILED_ACTIONS
from recmesh.dataset import DataSet
from recmesh.features import Encoder
from recmesh.stores.ann import Vectors

_USERS = 128


def user_vectors(release: Path, data: DataSet) -> Vectors:
    """Encode users spread over the data set, each once with and once without the history.

    Returns:
        Vectors float32 [queries, dim].
    """
    encoder = Encoder.load(release)
    tower = onnxruntime.InferenceSession(release / "user_tower.onnx", providers=["CPUExecutionProvider"])
    histories = Histories(data)
    step = max(1, len(histories) // _USERS)
    vectors = []
    for position in range(0, len(histories), step):
        sku_ids, times, types, values = histories.columns(position)
        profile = _profile(data, histories.user_ids[position])
        new = encoder.user(profile)
        known = encoder.user(
            profile,
            sku_ids[:DETAILED_ACTIONS],
            times[:DETAILED_ACTIONS],
            types[:DETAILED_ACTIONS],
            values[:DETAILED_ACTIONS],
        )
        for user in (known, new):
            (vector,) = tower.run(["vector"], encoder.tower_inputs(user))
            vectors.append(vector[0])
    return np.array(vectors, np.float32)


def _profile(data: DataSet, user_id: str) -> dict[str, str]:
    row = data.users.row(by_predicate=pl.col("user_id").cast(pl.String) == user_id, named=True)
    return {name: value for name, value in row.items() if value is not None}
