"""The JD 2019 competition (JData, "purchases of a category in a shop"): 37.2 million actions in 74 days of 2018."""

from pathlib import Path

import polars as pl

from recmesh.dataset.importers.exports import csv_table, write

SCHEMA = """\
# JData 2019.
user:
  id: user_id
  fields:
    age: {kind: categorical}                # a group from 1 to 6
    sex: {kind: categorical}
    city_level: {kind: categorical}
    province: {kind: categorical}
    city: {kind: categorical}
    country: {kind: categorical, column: county}          # `country` is the district in the messages
    level: {kind: categorical, column: user_lv_cd}        # the customer level; the registration date is not used
item:
  id: sku_id
  fields:
    brand: {kind: categorical}
    shopid: {kind: categorical, column: shop_id}
    cate: {kind: categorical}
    shop_cate: {kind: categorical}          # the main category of the shop
    shop_score: {kind: numeric}             # 0 means that there is none
                                            # jdata_comment.csv counts the comments of the same weeks, which follow
                                            # orders: their sum would tell training what it is to predict
action:
  user: user_id
  item: sku_id
  time: action_time
  type: type
  weights: {view: 0.1, follow: 0.5, cart: 1, order: 3, comment: 0}   # a comment follows an order and adds nothing
repeats: true
missing: ["-1", "-1.0", NaN, NULL]
"""

_USERS = ["user_id", "age", "sex", "user_lv_cd", "city_level", "province", "city", "county"]
_TYPES = {"1": "view", "2": "order", "3": "follow", "4": "comment", "5": "cart"}


def import_folder(source: Path, folder: Path) -> str:
    """Write the data set. Returns its schema.

    Raises:
        DataError: A file or a column is missing.
    """
    users = csv_table(source, "jdata_user.csv", _USERS)
    products = csv_table(source, "jdata_product.csv", ["sku_id", "brand", "shop_id", "cate"])
    shops = csv_table(source, "jdata_shop.csv", ["shop_id", "cate", "shop_score"])
    actions = csv_table(source, "jdata_action.csv", ["user_id", "sku_id", "action_time", "type"])
    score = pl.col("shop_score").cast(pl.Float64, strict=False)
    shops = shops.select("shop_id", shop_cate="cate", shop_score=pl.when(score > 0).then("shop_score"))
    products = products.join(shops.unique("shop_id", keep="last", maintain_order=True), on="shop_id", how="left")
    write(users, folder / "users.parquet")
    write(products, folder / "products.parquet")
    # `replace` would hold the whole column in memory.
    names = [pl.when(pl.col("type") == code).then(pl.lit(name)) for code, name in _TYPES.items()]
    write(actions.with_columns(type=pl.coalesce(*names, "type")), folder / "actions.parquet")
    return SCHEMA
