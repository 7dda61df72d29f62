"""Read `actions.*` into codes of users, items and types."""

from pathlib import Path

import polars as pl

from recmesh.contract import NO_USER_IDS
from recmesh.dataset.cells import to_number, to_text, to_time
from recmesh.dataset.rejects import Reason, Rules, broken_rule
from recmesh.dataset.rows import RowSource
from recmesh.dataset.schema import Action, Schema
from recmesh.dataset.tables import Wanted
from recmesh.errors import DataError

MAX_TYPES = 127
"""A history stores the type of an action in one signed byte."""

COLUMNS = ("user_id", "sku_id", "time", "type", "value")
ORDER = ("time", "user_id", "sku_id", "type", "value")


def read_actions(source: RowSource, paths: list[Path], users: pl.Series, items: pl.Series) -> pl.DataFrame:
    """Read the actions of a data set.

    Args:
        source: The folder, its schema, and where rejected rows go.
        paths: The files, in order.
        users: The ids of all users, sorted.
        items: The ids of all items, sorted.

    Returns:
        The frame `actions` of a DataSet.

    Raises:
        DataError: A file is unusable, or too many of its rows are rejected.
    """
    columns = source.schema.action
    named = {
        "user": columns.user,
        "item": columns.item,
        "time": columns.time,
        "type": columns.type,
        "value": columns.value,
    }
    wanted = [Wanted(column, f"action.{key}") for key, column in named.items() if column]
    tally = source.tally("actions")
    coder = _Coder(source.schema, users, items)
    frames = []
    for name, batch in source.batches(tally, paths, wanted):
        frame, broken = coder.code(batch.frame, name)
        good = source.rejects.batch(tally, name, batch, broken, coder.rules)
        frames.append(frame.filter(good))
    source.check(tally)
    rows = sum(frame.height for frame in frames)
    actions = coder.finish(frames)
    tally.used, tally.duplicates = actions.height, rows - actions.height
    return actions


class _Coder:
    """Turns batches of columns into codes, 21 bytes for each row."""

    def __init__(self, schema: Schema, users: pl.Series, items: pl.Series) -> None:
        self._columns = schema.action
        self._missing = schema.missing
        # An Enum builds the hash table of its categories once, for all batches.
        self._users, self._items = pl.Enum(users), pl.Enum(items)
        self._types: dict[str, int] = {}
        self.rules = _rules(schema.action)

    def code(self, raw: pl.DataFrame, file: str) -> tuple[pl.DataFrame, pl.Series]:
        """Return the rows of a batch with null for each unusable cell, and the rule that each row breaks, or null."""
        columns = self._columns
        ids = pl.DataFrame({"user": to_text(raw[columns.user]), "item": to_text(raw[columns.item])}).fill_null("")
        frame = ids.select(
            user_id=pl.col("user").cast(self._users, strict=False),
            sku_id=pl.col("item").cast(self._items, strict=False),
        ).with_columns(
            time=self._times(raw[columns.time], file), type=self._type_codes(raw, file), value=self._values(raw)
        )
        if not any(frame.null_count().row(0)):
            return frame, pl.repeat(None, raw.height, dtype=pl.UInt8, eager=True)
        cells = pl.concat([ids, frame.select(pl.all().is_null())], how="horizontal")
        return frame, cells.select(broken_rule(self.rules)).to_series()

    def finish(self, frames: list[pl.DataFrame]) -> pl.DataFrame:
        """Return all rows, sorted and without duplicates, with the types as text."""
        codes = list(self._types.values())
        names = pl.Series(list(self._types), dtype=pl.Enum(sorted(self._types)))
        empty = pl.Schema(zip(ORDER, (pl.Int64(), self._users, self._items, pl.UInt8(), pl.Float32()), strict=True))
        rows = pl.concat([pl.DataFrame(schema=empty).select(COLUMNS), *frames])
        rows = rows.with_columns(pl.col("type").replace_strict(codes, names, return_dtype=names.dtype))
        rows = rows.sort(*ORDER)
        if rows.height < 2:
            return rows
        repeated = rows.select(pl.all_horizontal(pl.all() == pl.all().shift())).to_series().fill_null(False)
        return rows.filter(~repeated) if repeated.any() else rows

    def _times(self, column: pl.Series, file: str) -> pl.Series:
        if column.dtype.is_numeric() and not self._columns.unit:
            raise DataError(
                f'{file}: column "{column.name}" contains numbers; declare action.unit (s, ms, us or ns) in schema.yaml'
            )
        return to_time(column, self._columns.unit)

    def _type_codes(self, raw: pl.DataFrame, file: str) -> pl.Series:
        if self._columns.type is None:
            self._types = {self._columns.only_type: 0}
            return pl.repeat(0, raw.height, dtype=pl.UInt8, eager=True)
        types = to_text(raw[self._columns.type])
        for name in types.unique().sort():
            if name:
                self._types.setdefault(name, len(self._types))
        if len(self._types) > MAX_TYPES:
            raise DataError(
                f'{file}: column "{self._columns.type}" has more than {MAX_TYPES} action types; is it the right column?'
            )
        code = pl.first().replace_strict(self._types, default=None, return_dtype=pl.UInt8)
        return types.to_frame().select(code).to_series()

    def _values(self, raw: pl.DataFrame) -> pl.Series:
        """Return the values: 1 where missing, null where not a finite number."""
        if self._columns.value is None:
            return pl.repeat(1, raw.height, dtype=pl.Float32, eager=True)
        column = raw[self._columns.value]
        text = pl.Series("text", to_text(column).fill_null(""))
        number = to_number(column).alias("number").cast(pl.Float32)
        value = pl.when(pl.col("text").is_in(self._missing)).then(1.0).when(pl.col("number").is_finite()).then("number")
        return pl.DataFrame([text, number]).select(value.cast(pl.Float32)).to_series()


def _rules(columns: Action) -> Rules:
    """Return the rules for actions: over the ids as `user` and `item`, and masks of the cells that are unusable."""
    time = f"a number of {columns.unit} since 1970" if columns.unit else "ISO 8601 (epoch times need action.unit)"
    return [
        (Reason("anonymous: the user is empty or -1", "anonymous"), pl.col("user").is_in(NO_USER_IDS)),
        (Reason("sku_id is empty"), pl.col("item") == ""),
        *_unlisted("user", "user_id", "users", columns.user),
        *_unlisted("item", "sku_id", "products", columns.item),
        (Reason(f"time is not {time}, or is not between 1970 and 2100", column=columns.time), pl.col("time")),
        (Reason("type is empty"), pl.col("type")),
        (Reason("value is not a finite number", column=columns.value), pl.col("value")),
    ]


def _unlisted(name: str, key: str, files: str, column: str) -> Rules:
    as_float = pl.col(name).str.contains(r"^\d+\.0$")
    text = f"{key} is not in {files}"
    return [
        (Reason(f"{text}; it is written as a float (101.0)", "unlisted", column), pl.col(key) & as_float),
        (Reason(text, "unlisted", column), pl.col(key)),
    ]
