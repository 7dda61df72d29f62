"""Read `actions.*` into codes of users, items and types."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import polars as pl

from recmesh.contract import NO_USER_IDS
from recmesh.dataset.cells import to_number, to_text, with_point
from recmesh.dataset.forms.batch import Wanted
from recmesh.dataset.ids import FoundIds, ListedIds, id_columns
from recmesh.dataset.rejects import Reason, Rejects, Rules, Tally, broken_rule
from recmesh.dataset.rows import FileRows, RowSource
from recmesh.dataset.schema import Action, Schema, Unit
from recmesh.dataset.strays import stray_rules, usual_days
from recmesh.dataset.times import better_unit, fix, in_unit, to_time
from recmesh.errors import DataError

MAX_TYPES = 127
"""A history stores the type of an action in one signed byte."""

COLUMNS = ("user_id", "sku_id", "time", "type", "value")
ORDER = ("time", "user_id", "sku_id", "type", "value")


def distinct(rows: pl.DataFrame) -> pl.DataFrame:
    """Return actions sorted, each one once."""
    rows = rows.sort(*ORDER)
    if rows.height < 2:
        return rows
    repeated = rows.select(pl.all_horizontal(pl.all() == pl.all().shift())).to_series().fill_null(False)
    return rows.filter(~repeated) if repeated.any() else rows


def read_actions(
    source: RowSource, paths: list[Path], users: pl.DataFrame | None, items: pl.DataFrame | None
) -> pl.DataFrame:
    """Read the actions of a data set.

    Args:
        source: The folder, its schema, and where rejected rows go.
        paths: The files, in order.
        users: All users, sorted by id; None if their ids come from the actions.
        items: All items, likewise.

    Returns:
        The frame `actions` of a DataSet.

    Raises:
        DataError: A file is unusable, or too many of its rows are rejected.
    """
    columns = source.schema.action
    wanted = _wanted(columns)
    tally = source.tally("actions")
    coder = _Coder(source.schema, users, items)
    frames = []
    for name, batch in source.batches(tally, paths, wanted):
        frame, broken = coder.code(batch.frame, name)
        good = source.rejects.batch(tally, name, batch, broken, coder.rules)
        frames.append(frame.filter(good))
    coder.explain(tally)
    source.report.notices += coder.notices()
    if columns.time:
        _check_unit(frames, columns.unit)
        frames = _without_strays(source, tally, paths, wanted, coder, frames)
    source.check(tally)
    rows = sum(frame.height for frame in frames)
    actions = coder.finish(frames)
    tally.used, tally.duplicates = actions.height, rows - actions.height
    return actions


def read_action_rows(source: RowSource, path: Path, event_ids: str | None) -> FileRows:
    """Read a file of actions row by row. Equal actions and stray ones stay.

    Args:
        source: The folder, its schema, and where rejected rows go.
        path: The file.
        event_ids: The column of ids of the actions, if there is one.

    Returns:
        The columns of a DataSet's actions, with ids as pl.Categorical, and `event_id` (text; null where it is empty).

    Raises:
        DataError: The file is unusable, or too many of its rows are rejected.
    """
    columns, tally = source.schema.action, source.tally("actions")
    coder = _Coder(source.schema, None, None)
    dtypes = (coder.users, coder.items, pl.Int64(), pl.UInt8(), pl.Float32(), pl.String(), pl.Int64())
    frames = [pl.DataFrame(schema=dict(zip((*COLUMNS, "event_id", "line"), dtypes, strict=True)))]
    wanted = [*_wanted(columns), *([Wanted(event_ids, "event_id")] if event_ids else [])]
    for name, batch in source.batches(tally, [path], wanted):
        frame, broken = coder.code(batch.frame, name)
        good = source.rejects.batch(tally, name, batch, broken, coder.rules)
        event = (
            to_text(batch.frame[event_ids]) if event_ids else pl.repeat(None, frame.height, dtype=pl.String, eager=True)
        )
        line = pl.Series(batch.lines, dtype=pl.Int64)
        frames.append(frame.with_columns(event_id=event.replace("", None), line=line).filter(good))
    if columns.time:
        _check_unit(frames, columns.unit)
    source.check(tally)
    # The batches of a file are not in the order of its lines.
    rows = coder.with_types(pl.concat(frames)).sort("line")
    tally.used = rows.height
    return FileRows(rows.drop("line"), rows["line"])


def _wanted(columns: Action) -> list[Wanted]:
    named = {
        "user": columns.user,
        "item": columns.item,
        "time": columns.time,
        "type": columns.type,
        "value": columns.value.column if columns.value else None,
    }
    return [Wanted(column, f"action.{key}") for key, column in named.items() if column]


def _without_strays(
    source: RowSource,
    tally: Tally,
    paths: list[Path],
    wanted: list[Wanted],
    coder: "_Coder",
    frames: list[pl.DataFrame],
) -> list[pl.DataFrame]:
    """Set stray actions aside, and name those that are kept.

    Which actions are stray is known only after all are read, so the files are read again for their lines.
    """
    usual, column = usual_days(frames), source.schema.action.time
    if usual is None or column is None:
        return frames
    lost, kept = stray_rules(usual, frames, column)
    again, named = replace(source, rejects=Rejects(), progress=None), Tally(tally.kind)
    good = []
    for name, batch in again.batches(Tally(tally.kind), paths, wanted):
        frame, broken = coder.code(batch.frame, name)
        stray = frame.select(pl.when(broken.is_null()).then(broken_rule(lost))).to_series()
        old = frame.select(pl.when(broken.is_null()).then(broken_rule(kept))).to_series()
        used = source.rejects.set_aside(tally, name, batch, stray, lost)
        again.rejects.set_aside(named, name, batch, old, kept)
        good.append(frame.filter(used & broken.is_null()))
    for text, cause in named.causes.items():
        count = "1 row is" if cause.rows == 1 else f"{cause.rows:,} rows are"
        source.report.notices.append(f"actions: {count} kept whose {text} (first: {cause.first})")
    return good


class _Coder:
    """Turns batches of columns into codes, 21 bytes for each row."""

    def __init__(self, schema: Schema, users: pl.DataFrame | None, items: pl.DataFrame | None) -> None:
        self._columns = schema.action
        self._missing, self._decimal = schema.missing, schema.decimal
        self._users = _ids(users, "user_id", "users", schema.action.user)
        self._items = _ids(items, "sku_id", "products", schema.action.item)
        self.users, self.items = self._users.dtype, self._items.dtype
        self._types: dict[str, int] = {}
        self._unknown = rule.unknown if (rule := schema.action.rule) else 1.0
        self._unknown_values: Counter[str] = Counter()
        self.rules = _rules(schema.action, self._users.rules, self._items.rules)

    def code(self, raw: pl.DataFrame, file: str) -> tuple[pl.DataFrame, pl.Series]:
        """Return the rows of a batch with null for each unusable cell, and the rule that each row breaks, or null."""
        columns = self._columns
        users, items = id_columns(raw[columns.user], "user_id"), id_columns(raw[columns.item], "sku_id")
        times = self._times(raw, file)
        zero = (times == 0).fill_null(False) if columns.time else pl.repeat(False, raw.height, eager=True)
        no_time = zero.alias("no_time")
        frame = pl.DataFrame(
            {
                "user_id": self._users.codes(users),
                "sku_id": self._items.codes(items),
                "time": times.set(no_time, None) if no_time.any() else times,
                "type": self._type_codes(raw, file),
                "value": self._values(raw),
            }
        )
        if not any(frame.null_count().row(0)):
            return frame, pl.repeat(None, raw.height, dtype=pl.UInt8, eager=True)
        unusable = frame.select(pl.all().is_null().name.suffix("_unusable"))
        cells = pl.concat([users, items, unusable, no_time.to_frame()], how="horizontal")
        return frame, cells.select(broken_rule(self.rules)).to_series()

    def explain(self, tally: Tally) -> None:
        """Add what is known about unlisted ids to the counts."""
        self._users.explain(tally)
        self._items.explain(tally)

    def with_types(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Return rows with the types as text."""
        codes, names = list(self._types.values()), pl.Series(list(self._types), dtype=pl.Enum(sorted(self._types)))
        return rows.with_columns(pl.col("type").replace_strict(codes, names, return_dtype=names.dtype))

    def finish(self, frames: list[pl.DataFrame]) -> pl.DataFrame:
        """Return all rows, sorted and without duplicates, with the types as text."""
        dtypes = (self.users, self.items, pl.Int64(), pl.UInt8(), pl.Float32())
        rows = pl.concat([pl.DataFrame(schema=dict(zip(COLUMNS, dtypes, strict=True))), *frames])
        rows = rows.with_columns(self._users.finish(rows["user_id"]), self._items.finish(rows["sku_id"]))
        return distinct(self.with_types(rows))

    def notices(self) -> list[str]:
        """Say which values were taken for missing ones because of what they contain."""
        return [
            f'action.value: {count:,} cells contain "{marker}", which `missing` declares unknown; they count as '
            f'{self._unknown:g}. If they are values, remove "{marker}" from missing'
            for marker, count in sorted(self._unknown_values.items())
        ]

    def _times(self, raw: pl.DataFrame, file: str) -> pl.Series:
        """Return the times, 0 if the data set has none."""
        if self._columns.time is None:
            return pl.repeat(0, raw.height, dtype=pl.Int64, eager=True)
        column, unit, form = raw[self._columns.time], self._columns.unit, self._columns.format
        if column.dtype.is_numeric() and not unit and not form:
            raise DataError(
                f'{file}: column "{column.name}" contains numbers; declare action.unit (s, ms, us or ns) in schema.yaml'
            )
        try:
            return to_time(column, unit, form)
        except pl.exceptions.PolarsError as error:
            said = str(error).splitlines()[0].removesuffix(".")
            raise DataError(
                f'{file}: column "{column.name}" cannot be read with action.format: "{form}": {said}'
            ) from error

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
        """Return the values: a neutral one where missing, null where not a finite number."""
        if self._columns.value is None:
            return pl.repeat(1, raw.height, dtype=pl.Float32, eager=True)
        column = raw[self._columns.value.column]
        text = pl.Series("text", to_text(column).fill_null(""))
        marked = text.filter(text.is_in(self._missing) & (text != ""))
        self._unknown_values.update(marked.to_list())
        number = to_number(with_point(column, self._decimal)).alias("number").cast(pl.Float32)
        value = (
            pl.when(pl.col("text").is_in(self._missing))
            .then(self._unknown)
            .when(pl.col("number").is_finite())
            .then("number")
        )
        return pl.DataFrame([text, number]).select(value.cast(pl.Float32)).to_series()


def _check_unit(frames: list[pl.DataFrame], unit: Unit | None) -> None:
    """Check the declared unit by the median of all times.

    Raises:
        DataError: The median would be plausible in another unit only.
    """
    times = pl.concat([frame["time"] for frame in frames]) if frames else pl.Series(dtype=pl.Int64)
    if unit is None or times.is_empty():
        return
    median = int(times.quantile(0.5, "lower") or 0)
    better = better_unit(median, unit)
    if better:
        day = pl.from_epoch(pl.Series([median]), time_unit="ms").dt.strftime("%Y-%m-%d")[0]
        raise DataError(
            f"actions: times such as {in_unit(median, unit)} lie in {day} with action.unit: {unit}; "
            f"declare action.unit: {better} in schema.yaml"
        )


def _ids(table: pl.DataFrame | None, key: str, files: str, column: str) -> ListedIds | FoundIds:
    return FoundIds(key, column) if table is None else ListedIds(key, files, column, table[key])


def _rules(columns: Action, users: Rules, items: Rules) -> Rules:
    """Return the rules for actions, over the columns of `id_columns` and masks of the cells that are unusable."""
    time = "ISO 8601 (epoch times need action.unit, other forms action.format)"
    if columns.unit or columns.format:
        time = f"a number of {columns.unit} since 1970" if columns.unit else f'of the form "{columns.format}"'
    value = columns.value.column if columns.value else None
    not_a_time = f"time is not {time}, or is not between 1970 and 2100"
    return [
        (Reason("anonymous: the user is empty or -1", "anonymous"), pl.col("user_id").is_in(NO_USER_IDS)),
        (Reason("sku_id is empty"), pl.col("sku_id") == ""),
        *users,
        *items,
        (Reason("time is 0 (1970-01-01), which means no time", column=columns.time), pl.col("no_time")),
        (Reason(not_a_time, column=columns.time, fix=fix), pl.col("time_unusable")),
        (Reason("type is empty"), pl.col("type_unusable")),
        (Reason("value is not a finite number", column=value), pl.col("value_unusable")),
    ]
