"""MovieLens as GroupLens publishes it: 1M and 10M (`.dat`), 20M, 25M, 32M and the latest sets (`.csv`).

Harper and Konstan, "The MovieLens Datasets: History and Context", ACM TiiS 5(4), 2015.
"""

from pathlib import Path

import polars as pl

from recmesh.dataset.importers.exports import csv_table, dat_table, file_of, write
from recmesh.errors import DataError

NO_GENRES = "(no genres listed)"

NO_USERS = """\
# MovieLens. Nothing is published about the people: their ids come from the ratings.
"""

USERS = """\
# MovieLens 1M.
user:
  id: user_id
  fields:
    age: {kind: categorical}                # the first year of an age group: 1, 18, 25, 35, 45, 50, 56
    sex: {kind: categorical}
    occupation: {kind: categorical}         # a code from 0 to 20
    city: {kind: categorical}               # the first character of the zip code, a region of the United States
"""

REST = """\
item:
  id: sku_id
  fields:
    cate: {kind: categorical}               # the first genre
    year: {kind: numeric}                   # from the title: Toy Story (1995)
    genres: {kind: multi, separator: "|"}
    title: {kind: display}
action:
  user: user_id
  item: sku_id
  time: action_time
  unit: s
  value: value                              # stars
  weights: {rating: 1}
repeats: false                              # nobody rates a film twice
"""

_OCCUPANTS = ["UserID", "Gender", "Age", "Occupation", "Zip-code"]


def import_folder(source: Path, folder: Path) -> str:
    """Write the data set. Returns its schema.

    Raises:
        DataError: A file or a column is missing.
    """
    if (source / "ratings.dat").is_file():
        return _dat(source, folder)
    ratings = csv_table(source, "ratings.csv", ["userId", "movieId", "rating", "timestamp"])
    films = csv_table(source, "movies.csv", ["movieId", "title", "genres"])
    _write(ratings.rename({"userId": "user_id", "movieId": "sku_id", "timestamp": "action_time"}), films, folder)
    return NO_USERS + REST


def _dat(source: Path, folder: Path) -> str:
    ratings = dat_table(source, "ratings.dat", ["user_id", "sku_id", "rating", "action_time"])
    _write(ratings, _films(file_of(source, "movies.dat")), folder)
    if not (source / "users.dat").is_file():  # 10M has none
        return NO_USERS + REST
    users = dat_table(source, "users.dat", _OCCUPANTS).select(
        user_id="UserID",
        age="Age",
        sex="Gender",
        occupation="Occupation",
        city=pl.col("Zip-code").str.slice(0, 1),
    )
    write(users, folder / "users.parquet")
    return USERS + REST


def _films(path: Path) -> pl.LazyFrame:
    """Read movies.dat, whose titles have colons. 1M is in Latin-1, 10M in UTF-8."""
    content = path.read_bytes()
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        text = content.decode("latin-1")
    rows = []
    for number, line in enumerate(text.splitlines(), 1):
        film, _, rest = line.partition("::")
        title, separator, genres = rest.rpartition("::")
        if not separator:
            raise DataError(f"{path}: line {number} is not MovieID::Title::Genres")
        rows.append((film, title, genres))
    return pl.LazyFrame(rows, schema=dict.fromkeys(("movieId", "title", "genres"), pl.String), orient="row")


def _write(ratings: pl.LazyFrame, films: pl.LazyFrame, folder: Path) -> None:
    genres = pl.col("genres").replace(NO_GENRES, None)
    items = films.select(
        sku_id="movieId",
        cate=genres.str.split("|").list.first(),
        year=pl.col("title").str.extract(r"\((\d{4})\)\s*$"),
        genres=genres,
        title="title",
    )
    write(items, folder / "products.parquet")
    write(ratings.select("user_id", "sku_id", "action_time", value="rating"), folder / "actions.parquet")
