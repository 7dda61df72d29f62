"""users.* and products.*: unique rows of text, sorted by id."""

from dataclasses import dataclass
from pathlib import Path

import polars as pl

from recmesh.dataset.cells import id_reason, inexact, to_number, to_text
from recmesh.dataset.rows import RowSource
from recmesh.dataset.schema import ITEM_WIRE_FIELDS, USER_WIRE_FIELDS, Schema, Side
from recmesh.dataset.tables import Batch, Wanted


@dataclass(frozen=True)
class SideKind:
    """What users and items differ in: names in files, frames and schema, and the columns of the seed's .dat form."""

    files: str
    key: str
    place: str
    seed_fields: tuple[str, ...]

    def of(self, schema: Schema) -> Side:
        """This side of the schema."""
        return schema.user if self.place == "user" else schema.item


USERS = SideKind("users", "user_id", "user", USER_WIRE_FIELDS)
ITEMS = SideKind("products", "sku_id", "item", ITEM_WIRE_FIELDS)


def read_side(source: RowSource, kind: SideKind, paths: list[Path]) -> pl.DataFrame:
    """`user_id` or `sku_id` and a text column a declared field (null where missing), unique and sorted by id.

    The last row of an id wins, in the order of files and rows. Raises DataError as RowSource does.
    """
    side, key = kind.of(source.schema), kind.key
    tally = source.tally(kind.files)
    wanted = [Wanted(side.id, f"{kind.place}.id")]
    wanted += [Wanted(side.column_of(n), f"{kind.place}.fields.{n}") for n in side.fields]
    frames = [pl.DataFrame(schema=dict.fromkeys((key, *side.fields), pl.String))]
    for name, batch in source.batches(tally, paths, wanted, (side.id, *kind.seed_fields)):
        good = source.rejects.batch(tally, name, batch, _reasons(batch.frame[side.id], key))
        frames.append(_text_columns(batch, side, key, source.schema.missing).filter(good))
    source.check(tally)
    rows = pl.concat(frames)
    unique = rows.unique(key, keep="last", maintain_order=True).sort(key)
    tally.used, tally.duplicates = unique.height, rows.height - unique.height
    for name in (n for n, f in side.fields.items() if f.kind == "numeric"):
        unique, notice = _only_numbers(unique, name)
        source.report.notices += [f"{kind.files}: {notice}"] if notice else []
    return unique


def _reasons(ids: pl.Series, key: str) -> pl.Series:
    """Why an id cannot be used, or null."""
    frame = pl.DataFrame([to_text(ids).fill_null("").alias(key), inexact(ids).alias("inexact")])
    reason = (
        pl.when("inexact")
        .then(pl.lit(f"{key} is a number with a fraction, or too large to be exact"))
        .when(pl.col(key) == "")
        .then(pl.lit(f"{key} is empty"))
        .when((pl.col(key) == "-1") & (key == "user_id"))
        .then(pl.lit('user_id is "-1", which means nobody'))
        .otherwise(id_reason(key))
    )
    return frame.select(reason).to_series()


def _text_columns(batch: Batch, side: Side, key: str, missing: tuple[str, ...]) -> pl.DataFrame:
    columns = [to_text(batch.frame[side.id]).alias(key)]
    for name, declared in side.fields.items():
        text = to_text(batch.frame[side.column_of(name)], declared.separator).alias(name)
        columns.append(text.set(text.is_in(missing), None))
    return pl.DataFrame(columns)


def _only_numbers(frame: pl.DataFrame, name: str) -> tuple[pl.DataFrame, str | None]:
    """A numeric field with null for what is no number, and a notice when there was such."""
    column = frame[name]
    bad = column.is_not_null() & to_number(column).is_null()
    if not bad.any():
        return frame, None
    notice = (
        f'{bad.sum():,} values of "{name}" are no numbers, such as "{column.filter(bad)[0]}"; they count as missing'
    )
    return frame.with_columns(column.set(bad, None)), notice
