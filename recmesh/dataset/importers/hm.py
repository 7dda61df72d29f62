"""H&M Personalized Fashion Recommendations: 31.8 million purchases of 1.37 million customers, 2018 to 2020."""

from pathlib import Path

from recmesh.dataset.importers.exports import csv_table, write

SCHEMA = """\
# H&M.
user:
  id: customer_id
  fields:
    age: {kind: numeric}
    club_member_status: {kind: categorical}
    fashion_news_frequency: {kind: categorical}           # NONE is a wish, not a gap
    FN: {kind: categorical}                 # gets fashion news; empty or 1
    Active: {kind: categorical}             # active for communication; empty or 1
                                            # postal_code has a value for every fourth customer: not a field
item:
  id: article_id
  fields:
    product_code: {kind: categorical}       # one style; its articles differ in colour
    cate: {kind: categorical, column: product_type_name}
    product_group_name: {kind: categorical}
    graphical_appearance_name: {kind: categorical}
    colour_group_name: {kind: categorical}
    perceived_colour_master_name: {kind: categorical}
    department_name: {kind: categorical}
    index_name: {kind: categorical}
    section_name: {kind: categorical}
    garment_group_name: {kind: categorical}
    title: {kind: display, column: prod_name}
    detail_desc: {kind: display}
action:
  user: customer_id
  item: article_id
  time: t_dat                               # days
  weights: {order: 1}                       # price is the amount paid, and says nothing about preference
repeats: true                               # people buy basics again
"""

_CUSTOMERS = ["customer_id", "age", "club_member_status", "fashion_news_frequency", "FN", "Active"]
_ARTICLES = [
    "article_id",
    "product_code",
    "product_type_name",
    "product_group_name",
    "graphical_appearance_name",
    "colour_group_name",
    "perceived_colour_master_name",
    "department_name",
    "index_name",
    "section_name",
    "garment_group_name",
    "prod_name",
    "detail_desc",
]


def import_folder(source: Path, folder: Path) -> str:
    """Write the data set. Returns its schema.

    Raises:
        DataError: A file or a column is missing.
    """
    customers = csv_table(source, "customers.csv", _CUSTOMERS)
    articles = csv_table(source, "articles.csv", _ARTICLES)
    purchases = csv_table(source, "transactions_train.csv", ["t_dat", "customer_id", "article_id"])
    write(customers, folder / "users.parquet")
    write(articles, folder / "products.parquet")
    write(purchases, folder / "actions.parquet")
    return SCHEMA
