"""Compare the items of a data set with the catalogue of a release, and encode those that it does not contain."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import polars as pl

from recmesh.dataset import DataSet
from recmesh.features import Catalogue, Encoder
from recmesh.releases import NewItems
from recmesh.stores.ann import Vectors

_BATCH = 4_096


def new_items(release: Path, data: DataSet) -> NewItems:
    """Return the items outside the catalogue, with vectors of the release's item tower, and those that are gone.

    A release without towers has no vectors for new items, so none are returned.

    Args:
        release: Folder of the release.
        data: The data set.
    """
    path = release / "item_tower.onnx"
    listed = Catalogue.load(release / "features").index
    items = data.items.with_columns(pl.col("sku_id").cast(pl.String)).sort("sku_id")
    rows = [row for row in items.iter_rows(named=True) if row["sku_id"] not in listed] if path.exists() else []
    dropped = sorted(listed.keys() - set(items["sku_id"]))
    if not rows:
        return replace(NewItems.none(), dropped=dropped)
    encoder = Encoder.load(release)
    tower = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    batches = [_encoded(encoder, tower, rows[at : at + _BATCH]) for at in range(0, len(rows), _BATCH)]
    return NewItems([row["sku_id"] for row in rows], np.concatenate(batches), dropped)


def _encoded(encoder: Encoder, tower: onnxruntime.InferenceSession, rows: Sequence[dict[str, str]]) -> Vectors:
    inputs = [encoder.item_tower_inputs(_fields(row), row["sku_id"]) for row in rows]
    (vectors,) = tower.run(None, {name: np.concatenate([one[name] for one in inputs]) for name in inputs[0]})
    return np.asarray(vectors, np.float32)


def _fields(row: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in row.items() if name != "sku_id" and value is not None}
