"""Retailrocket: 2,756,101 events of 1,407,580 visitors of a shop, May to September 2015."""

from pathlib import Path

import polars as pl

from recmesh.dataset.importers.exports import csv_table, write, write_side

SCHEMA = """\
# Retailrocket. Nothing is published about visitors: their ids come from the events.
item:
  id: sku_id
  fields:
    cate: {kind: categorical}               # categoryid, its last value
    top: {kind: categorical}                # the root of the category in category_tree.csv
    price: {kind: numeric}                  # property 790, its last value; names of properties are hashed, and this one
                                            # behaves like a price
action:
  user: user_id
  item: sku_id
  time: action_time
  unit: ms
  type: type
  weights: {view: 0.1, addtocart: 1, transaction: 3}   # 1 % of the events are transactions
repeats: true                               # visitors return to an item before they buy it
"""

_PROPERTIES = ("item_properties_part1.csv", "item_properties_part2.csv")


def import_folder(source: Path, folder: Path) -> str:
    """Write the data set. Returns its schema.

    Items with events but without properties are items, too.

    Raises:
        DataError: A file or a column is missing.
    """
    events = csv_table(source, "events.csv", ["timestamp", "visitorid", "event", "itemid"])
    properties = pl.concat(
        csv_table(source, name, ["timestamp", "itemid", "property", "value"]) for name in _PROPERTIES
    )
    roots = _roots(csv_table(source, "category_tree.csv", ["categoryid", "parentid"]).collect())
    cate, price = _last(properties, "categoryid", "cate"), _last(properties, "790", "price")
    ids = pl.concat([events.select(sku_id="itemid"), properties.select(sku_id="itemid")]).unique()
    items = ids.join(cate, on="sku_id", how="left").join(price, on="sku_id", how="left")
    items = items.with_columns(pl.col("price").str.strip_prefix("n"))
    write_side(items.join(roots.lazy(), on="cate", how="left"), "sku_id", folder / "products.parquet")
    actions = events.select(user_id="visitorid", sku_id="itemid", action_time="timestamp", type="event")
    write(actions, folder / "actions.parquet")
    return SCHEMA


def _last(properties: pl.LazyFrame, name: str, column: str) -> pl.LazyFrame:
    """Return the latest value of one property of each item."""
    rows = properties.filter(pl.col("property") == name).with_columns(pl.col("timestamp").cast(pl.Int64))
    latest = pl.col("value").sort_by("timestamp", "value").last()
    return rows.group_by(sku_id="itemid").agg(latest.alias(column))


def _roots(tree: pl.DataFrame) -> pl.DataFrame:
    """Return the root above each category."""
    parents = dict(tree.iter_rows())
    roots = {}
    for category in parents:
        root, seen = category, {category}
        while (above := parents.get(root)) and above not in seen:
            root = above
            seen.add(root)
        roots[category] = root
    return pl.DataFrame(
        {"cate": list(roots), "top": list(roots.values())}, schema={"cate": pl.String, "top": pl.String}
    )
