"""Compare the items of a data set with the catalogue of a release, and encode those that it does not contain."""

from dataclasses import replace
from pathlib import Path

import onnxruntime
import polars as pl

from recmesh.dataset import DataSet
from recmesh.features import Catalogue, Encoder
from recmesh.features.item_tower import ITEM_TOWER, item_vectors
from recmesh.releases import NewItems


def new_items(release: Path, data: DataSet) -> NewItems:
    """Return the items outside the catalogue, with vectors of the release's item tower, and those that are gone.

    A release without towers has no vectors for new items, so none are returned.

    Args:
        release: Folder of the release.
        data: The data set.
    """
    path = release / ITEM_TOWER
    listed = Catalogue.load(release / "features").index
    items = data.items.with_columns(pl.col("sku_id").cast(pl.String)).sort("sku_id")
    rows = [row for row in items.iter_rows(named=True) if row["sku_id"] not in listed] if path.exists() else []
    dropped = sorted(listed.keys() - set(items["sku_id"]))
    if not rows:
        return replace(NewItems.none(), dropped=dropped)
    tower = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    vectors = item_vectors(Encoder.load(release), tower, [(row["sku_id"], _fields(row)) for row in rows])
    return NewItems([row["sku_id"] for row in rows], vectors, dropped)


def _fields(row: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in row.items() if name != "sku_id" and value is not None}
