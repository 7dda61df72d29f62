"""Instacart Market Basket Analysis 2017: 3.4 million orders of 206,209 users, for 49,688 products."""

import polars as pl

SCHEMA_ACTIONS = """\
action:
  user: user_id
  item: sku_id
  time: action_time                         # published are weekday, hour and the days between a user's orders, but no
                                            # dates: everybody's last order is placed in the same week
  weights: {order: 1}
repeats: true                               # six of ten products were in an earlier order of the user
"""

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
