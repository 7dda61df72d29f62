"""Read `product_vectors.txt`: ready-made item vectors in the form of the v0 contract, `id:[number,number,...]`."""

from collections import Counter

import numpy as np
import polars as pl

from recmesh.dataset.forms.batch import Batch
from recmesh.dataset.forms.files import VECTORS_FILE
from recmesh.dataset.forms.textfiles import text_lines
from recmesh.dataset.rejects import Reason, Rules, broken_rule
from recmesh.dataset.rows import RowSource

_RULES: Rules = [
    (Reason("not of the form id:[number,number,...]"), pl.col("sku_id").is_null()),
    (Reason("vector contains something that is not a finite number"), ~pl.col("finite")),
    (Reason("sku_id is not in products", "unlisted"), ~pl.col("listed")),
]

_LINE = r"^\s*(.*?)\s*:\s*\[([^\[\]]*)\]\s*$"


def read_vectors(source: RowSource, items: pl.Series) -> pl.DataFrame | None:
    """Read the item vectors of a data set.

    Rejects lines of another form, numbers that are not finite, unknown items, and vectors that do not have the most
    frequent dimension. Of several lines of an item, the last wins.

    Args:
        source: The folder, its schema, and where rejected rows go.
        items: The ids of all items.

    Returns:
        `sku_id` and `vector` (pl.Array of Float32), sorted by id; None if the folder has no such file.

    Raises:
        DataError: Too many lines are rejected.
    """
    path = source.folder / VECTORS_FILE
    if not path.is_file():
        return None
    tally, rejects = source.tally("product_vectors"), source.rejects
    tally.files.append(path.name)
    batches = []
    for part in text_lines(path, source.schema.encoding, source.advance(tally.kind, [path])):
        if isinstance(part, Batch):
            batches.append((part, _parse(part.frame["line"], items)))
        else:
            rejects.broken(tally, path.name, part)
    dim = _dimension([frame for _, frame in batches])
    good = []
    for batch, frame in batches:
        rules = [*_RULES, (Reason(f"the dimension of the vector is not {dim}"), pl.col("vector").list.len() != dim)]
        keep = rejects.batch(tally, path.name, batch, frame.select(broken_rule(rules)).to_series(), rules)
        good.append(frame.filter(keep).select("sku_id", "vector"))
    source.check(tally)
    if not good:
        return pl.DataFrame(schema={"sku_id": pl.String, "vector": pl.Array(pl.Float32, 0)})
    vectors = pl.concat(good)
    unique = vectors.unique("sku_id", keep="last", maintain_order=True).sort("sku_id")
    tally.duplicates, tally.used = vectors.height - unique.height, unique.height
    return unique.with_columns(pl.col("vector").cast(pl.Array(pl.Float32, dim)))


def _parse(lines: pl.Series, items: pl.Series) -> pl.DataFrame:
    """Return `sku_id`, `vector` (list), and whether it is `finite` and the item `listed`, for each line."""
    numbers = pl.col("numbers").str.split(",").list.eval(pl.element().str.strip_chars().cast(pl.Float32, strict=False))
    frame = lines.to_frame("line").select(
        sku_id=pl.col("line").str.extract(_LINE, 1), numbers=pl.col("line").str.extract(_LINE, 2)
    )
    frame = frame.with_columns(vector=numbers)
    finite = pl.col("vector").list.eval(pl.element().is_finite().fill_null(False)).list.all()
    return frame.select("sku_id", "vector", finite=finite, listed=pl.col("sku_id").is_in(items.implode()))


def _dimension(frames: list[pl.DataFrame]) -> int:
    """Return the most frequent dimension of the usable vectors; of equally frequent ones, the largest."""
    counts: Counter[int] = Counter()
    for frame in frames:
        lengths = frame.filter(broken_rule(_RULES).is_null())["vector"].list.len().to_numpy()
        counts.update(dict(zip(*(column.tolist() for column in np.unique(lengths, return_counts=True)), strict=True)))
    return max(counts, key=lambda dim: (counts[dim], dim), default=0)
