"""Google Analytics 4 as BigQuery exports it to JSON lines: one event a line, with its items nested in it."""

import glob
import gzip
import json
from pathlib import Path

import polars as pl

from recmesh.dataset.importers.exports import PolarsType, write, write_side
from recmesh.errors import DataError

SCHEMA = """\
# Google Analytics 4.
user:
  id: user_id                               # user_id where the shop sets it, else user_pseudo_id (the browser)
  fields:
    device: {kind: categorical}             # device.category of the last event
    country: {kind: categorical}            # geo.country of the last event
    city: {kind: categorical}
item:
  id: sku_id                                # item_id, else item_name
  fields:                                   # of the last event with the item
    brand: {kind: categorical}              # item_brand
    cate: {kind: categorical}               # item_category
    cate2: {kind: categorical}              # item_category2
    price: {kind: numeric}
    title: {kind: display}                  # item_name
action:
  user: user_id
  item: sku_id
  time: action_time
  unit: us
  type: type
  value: quantity                           # of refunds below 0: they take back purchases
  # A row for each item of an event. Left out are lists and promotions (they say what was shown), removals from the
  # cart, and events without items.
  weights: {view_item: 0.1, select_item: 0.1, add_to_wishlist: 0.5, add_to_cart: 1, begin_checkout: 1, purchase: 3,
    refund: 0}
repeats: true
missing: ["(not set)", "(data deleted)", "(other)"]
"""

EVENTS = ("view_item", "select_item", "add_to_wishlist", "add_to_cart", "begin_checkout", "purchase", "refund")

_ITEM = pl.Struct(
    dict.fromkeys(
        ("item_id", "item_name", "item_brand", "item_category", "item_category2", "price", "quantity"), pl.String
    )
)
_EVENT: dict[str, PolarsType] = {
    "event_timestamp": pl.String,
    "event_name": pl.String,
    "user_id": pl.String,
    "user_pseudo_id": pl.String,
    "device": pl.Struct({"category": pl.String}),
    "geo": pl.Struct({"country": pl.String, "city": pl.String}),
    "items": pl.List(_ITEM),
}
_SUFFIXES = (".json", ".jsonl", ".ndjson", ".gz")
_NO_ID = ("", "(not set)")


def import_folder(source: Path, folder: Path) -> str:
    """Write the data set. Returns its schema.

    Raises:
        DataError: There are no files, or one is not an export of events.
    """
    rows = pl.concat([_rows(path) for path in _files(source)])
    actions = folder / "actions.parquet"
    write(rows.select("user_id", "sku_id", "quantity", action_time="time", type="event_name"), actions)
    if not pl.scan_parquet(actions, glob=False).select(pl.len()).collect().item():
        raise DataError(f"{source}: no event of {', '.join(EVENTS)} has items")
    users = _last(rows, "user_id", ["device", "country", "city"])
    items = _last(rows, "sku_id", ["brand", "cate", "cate2", "price", "title"])
    write_side(users, "user_id", folder / "users.parquet")
    write_side(items, "sku_id", folder / "products.parquet")
    return SCHEMA


def _files(source: Path) -> list[Path]:
    if not source.is_dir():
        raise DataError(f"{source}: no such folder")
    found = sorted(path for path in source.rglob("*") if path.is_file() and path.suffix in _SUFFIXES)
    if not found:
        raise DataError(f"{source}: no file of JSON lines (.json, .jsonl, .ndjson or .gz)")
    for path in found:
        _check(path)
    return found


def _check(path: Path) -> None:
    """Check the first line of a file. The export leaves out what is null, so that other keys may be missing.

    Raises:
        DataError: It is not an event.
    """
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
        try:
            event = json.loads(file.readline() or b"{}")
        except (ValueError, OSError) as error:
            raise DataError(f"{path}: line 1 is not JSON ({error})") from error
    for key in ("event_name", "event_timestamp", "user_pseudo_id"):
        if not isinstance(event, dict) or key not in event:
            raise DataError(f"{path}: line 1 has no {key}; expected an event of the export to BigQuery on each line")


def _rows(path: Path) -> pl.LazyFrame:
    """Return a row for each item of the events of one file."""
    # There is no option to take a path literally.
    events = pl.scan_ndjson(glob.escape(str(path)), schema=_EVENT)
    user = pl.coalesce(pl.when(pl.col("user_id") != "").then("user_id"), "user_pseudo_id")
    rows = (
        events.filter(pl.col("event_name").is_in(EVENTS) & (pl.col("items").list.len() > 0))
        .select(
            "event_name",
            "items",
            user_id=user.fill_null(""),
            time="event_timestamp",
            device=pl.col("device").struct.field("category"),
            country=pl.col("geo").struct.field("country"),
            city=pl.col("geo").struct.field("city"),
        )
        .explode("items")
    )
    item = pl.col("items").struct
    known = [pl.when(~item.field(name).is_in(_NO_ID)).then(item.field(name)) for name in ("item_id", "item_name")]
    quantity = pl.coalesce(item.field("quantity").cast(pl.Float64, strict=False), 1.0)
    return rows.select(
        pl.exclude("items"),
        quantity=quantity * pl.when(pl.col("event_name") == "refund").then(-1).otherwise(1),
        sku_id=pl.coalesce(known).fill_null(""),
        brand=item.field("item_brand"),
        cate=item.field("item_category"),
        cate2=item.field("item_category2"),
        price=item.field("price"),
        title=item.field("item_name"),
    )


def _last(rows: pl.LazyFrame, key: str, fields: list[str]) -> pl.LazyFrame:
    """Return the latest values for each id."""
    order = [pl.col("time").cast(pl.Int64, strict=False), *map(pl.col, fields)]
    values = [pl.col(name).sort_by(order).drop_nulls().last() for name in fields]
    return rows.filter(pl.col(key) != "").group_by(key).agg(values)
