"""`python -m tests.dirty_copy SOURCE INTO`: a copy of a data set with the faults that exports of shops have.

The source has users.csv, products.csv and actions.csv with the columns of `recmesh dataset fetch ta_feng`. The shares
below are of its rows. The same source gives the same copy.
"""

import shutil
import sys
from pathlib import Path

import polars as pl

FAULTS = {
    "wrong encoding": 0.0005,
    "future": 0.0003,
    "no time": 0.001,
    "unlisted": 0.004,
    "near miss": 0.002,
    "no user": 0.01,
    "duplicate": 0.006,
}
"""Shares of the actions."""

MISSING_CITIES, MISSING_PRICES, DAMAGED_PRODUCTS, DOUBLED_USERS = 0.3, 0.6, 0.0005, 0.002
GAP = ("2001-01-05", "2001-01-25")
"""Days whose actions are left out: from, to."""


def dirty_copy(source: Path, into: Path) -> dict[str, int]:
    """Write the copy, and return the number of actions with each fault."""
    into.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source / "schema.yaml", into / "schema.yaml")
    users = _read(source / "users.csv")
    users = users.with_columns(_blank(users, "city", MISSING_CITIES))
    pl.concat([users, users.head(round(len(users) * DOUBLED_USERS))]).write_csv(into / "users.csv")
    products = _read(source / "products.csv")
    products = products.with_columns(_blank(products, "price", MISSING_PRICES))
    _write(into / "products.csv", products, round(len(products) * DAMAGED_PRODUCTS))
    actions, counts = _actions(_read(source / "actions.csv"))
    _write(into / "actions.csv", actions, counts["wrong encoding"])
    return counts


def _read(path: Path) -> pl.DataFrame:
    return pl.read_csv(path, infer_schema=False)


def _blank(frame: pl.DataFrame, column: str, share: float) -> pl.Series:
    """Return a column in which the last rows have no value."""
    kept = len(frame) - round(len(frame) * share)
    return frame[column].set(pl.Series(range(len(frame))) >= kept, None)


def _actions(actions: pl.DataFrame) -> tuple[pl.DataFrame, dict[str, int]]:
    """Return the actions in a random order with the faults, and the number of rows with each fault.

    The rows with the wrong encoding come first, then those with the other faults in order. Duplicates are added.
    """
    first, last = map(pl.lit, GAP)
    actions = actions.filter(~pl.col("action_time").is_between(first, last)).sample(fraction=1, shuffle=True, seed=7)
    counts = {fault: round(len(actions) * share) for fault, share in FAULTS.items()}
    position, begin = pl.int_range(pl.len()), 0
    changes = {
        "wrong encoding": ("value", pl.lit("1")),
        "future": ("action_time", pl.lit("2087-05-05T00:00:00")),
        "no time": ("action_time", pl.lit("yesterday")),
        "unlisted": ("sku_id", pl.concat_str(pl.lit("delisted-"), pl.col("sku_id"))),
        "near miss": ("user_id", pl.concat_str(pl.lit(" "), pl.col("user_id"))),
        "no user": ("user_id", pl.lit("")),
    }
    for fault, (column, value) in changes.items():
        rows = position.is_between(begin, begin + counts[fault], closed="left")
        actions = actions.with_columns(pl.when(rows).then(value).otherwise(pl.col(column)).alias(column))
        begin += counts[fault]
    return pl.concat([actions, actions.slice(begin, counts["duplicate"])]), counts


def _write(path: Path, frame: pl.DataFrame, damaged: int) -> None:
    """Write a table whose first rows are in another encoding."""
    header, *lines = frame.write_csv(quote_style="necessary").encode().splitlines(keepends=True)
    text = [line.rstrip(b"\n") + "é\n".encode("cp1252") if at < damaged else line for at, line in enumerate(lines)]
    path.write_bytes(b"".join([header, *text]))


if __name__ == "__main__":
    for fault, count in dirty_copy(Path(sys.argv[1]), Path(sys.argv[2])).items():
        print(f"{fault}: {count:,}")
