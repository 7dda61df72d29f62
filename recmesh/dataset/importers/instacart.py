"""Instacart Market Basket Analysis 2017: 3.4 million orders of 206,209 users, for 49,688 products."""

from pathlib import Path

import polars as pl

from recmesh.dataset.importers.exports import csv_table, write

SCHEMA_ACTIONS = """\
action:
  user: user_id
  item: sku_id
  time: action_time                         # published are weekday, hour and the days between a user's orders, but no
                                            # dates: everybody's last order is placed in the same week
  weights: {order: 1}
repeats: true                               # six of ten products were in an earlier order of the user
"""

SCHEMA = f"""\
# Instacart Market Basket Analysis. Nothing is published about users: their ids come from the orders.
item:
  id: sku_id
  fields:
    cate: {{kind: categorical}}               # the aisle
    department: {{kind: categorical}}
    title: {{kind: display}}
{SCHEMA_ACTIONS}"""

LAST_WEEK = pl.datetime(2017, 1, 1)
"""The start of the week that holds every user's last order. Days of the week are counted from it."""


def order_times(orders: pl.LazyFrame) -> pl.LazyFrame:
    """Add `action_time` to orders, by the days and hours between the orders of a user."""
    days = (
        pl.col("days_since_prior_order")
        .cast(pl.Float64)
        .fill_null(0)
        .cum_sum()
        .over("user_id", order_by="order_number")
    )
    last_day = pl.col("order_dow").sort_by("order_number").last().over("user_id")
    before_last = days.max().over("user_id") - days
    day = last_day.cast(pl.Int64) - before_last.cast(pl.Int64)
    hours = day * 24 + pl.col("order_hour_of_day").cast(pl.Int64)
    time = LAST_WEEK + pl.duration(hours=hours)
    return orders.with_columns(action_time=time.dt.strftime("%Y-%m-%dT%H:%M:%S"))


def import_folder(source: Path, folder: Path) -> str:
    """Write the data set. Returns its schema.

    The last order of a third of the users is not published. It counts for the times of the others.

    Raises:
        DataError: A file or a column is missing.
    """
    products = csv_table(source, "products.csv", ["product_id", "product_name", "aisle_id", "department_id"])
    aisles = csv_table(source, "aisles.csv", ["aisle_id", "aisle"])
    departments = csv_table(source, "departments.csv", ["department_id", "department"])
    orders = csv_table(source, "orders.csv", ["order_id", "user_id", *_ORDER])
    parts = [
        csv_table(source, f"order_products__{part}.csv", ["order_id", "product_id"]) for part in ("prior", "train")
    ]
    items = products.join(aisles, on="aisle_id", how="left").join(departments, on="department_id", how="left")
    items = items.select("department", sku_id="product_id", cate="aisle", title="product_name")
    write(items, folder / "products.parquet")
    times = order_times(orders.with_columns(pl.col(_ORDER).cast(pl.Float64))).select(
        "order_id", "user_id", "action_time"
    )
    lines = pl.concat(parts).join(times, on="order_id", how="left")
    write(lines.select("user_id", "action_time", sku_id="product_id"), folder / "actions.parquet")
    return SCHEMA


_ORDER = ["order_number", "order_dow", "order_hour_of_day", "days_since_prior_order"]
