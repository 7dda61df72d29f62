"""product_vectors.txt: ready-made item vectors in the seed's form, `id:[f,f,...]`."""

from collections import Counter

import numpy as np
import polars as pl

from recmesh.dataset.files import VECTORS_FILE
from recmesh.dataset.rows import RowSource
from recmesh.dataset.tables import Batch, text_lines

_LINE = r"^\s*(.*?)\s*:\s*\[([^\[\]]*)\]\s*$"


def read_vectors(source: RowSource, items: pl.Series) -> pl.DataFrame | None:
    """`sku_id`, `vector` (pl.Array of Float32) sorted by id, or None when the folder has no such file.

    Rejected are lines of another form, numbers that are not finite, unknown items, and vectors of another dimension
    than most have. A later line of an item wins. Raises DataError as RowSource does.
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
        wrong = pl.col("vector").list.len() != dim
        reason = pl.coalesce("reason", pl.when(wrong).then(pl.lit(f"vector has another dimension than {dim}")))
        keep = rejects.batch(tally, path.name, batch, frame.select(reason).to_series())
        good.append(frame.filter(keep).select("sku_id", "vector"))
    source.check(tally)
    if not good:
        return pl.DataFrame(schema={"sku_id": pl.String, "vector": pl.Array(pl.Float32, 0)})
    vectors = pl.concat(good)
    unique = vectors.unique("sku_id", keep="last", maintain_order=True).sort("sku_id")
    tally.duplicates, tally.used = vectors.height - unique.height, unique.height
    return unique.with_columns(pl.col("vector").cast(pl.Array(pl.Float32, dim)))


def _parse(lines: pl.Series, items: pl.Series) -> pl.DataFrame:
    """`sku_id`, `vector` (list) and `reason` (null where all is well) of each line."""
    numbers = pl.col("numbers").str.split(",").list.eval(pl.element().str.strip_chars().cast(pl.Float32, strict=False))
    frame = lines.to_frame("line").select(
        sku_id=pl.col("line").str.extract(_LINE, 1), numbers=pl.col("line").str.extract(_LINE, 2)
    )
    frame = frame.with_columns(vector=numbers)
    finite = pl.col("vector").list.eval(pl.element().is_finite().fill_null(False)).list.all()
    reason = (
        pl.when(pl.col("sku_id").is_null())
        .then(pl.lit("not of the form id:[number,number,...]"))
        .when(~finite)
        .then(pl.lit("vector holds something that is no finite number"))
        .when(~pl.col("sku_id").is_in(items.implode()))
        .then(pl.lit("sku_id is not in products"))
    )
    return frame.select("sku_id", "vector", reason=reason)


def _dimension(frames: list[pl.DataFrame]) -> int:
    """The dimension that most usable vectors have; the larger of two that are as frequent."""
    counts: Counter[int] = Counter()
    for frame in frames:
        lengths = frame.filter(pl.col("reason").is_null())["vector"].list.len().to_numpy()
        counts.update(dict(zip(*(a.tolist() for a in np.unique(lengths, return_counts=True)), strict=True)))
    return max(counts, key=lambda dim: (counts[dim], dim), default=0)
