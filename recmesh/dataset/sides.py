"""Read `users.*` and `products.*` into unique rows of text, sorted by id."""

from dataclasses import dataclass
from pathlib import Path

import polars as pl

from recmesh.contract import ITEM_FIELDS, USER_FIELDS
from recmesh.dataset.cells import has_decimal_commas, to_number, to_text, with_point
from recmesh.dataset.forms.batch import Batch, Wanted
from recmesh.dataset.forms.files import sources
from recmesh.dataset.ids import id_columns, id_rules
from recmesh.dataset.rejects import Tally, broken_rule, shortened
from recmesh.dataset.rows import FileRows, RowSource
from recmesh.dataset.schema import Schema, Side
from recmesh.errors import DataError


@dataclass(frozen=True)
class SideKind:
    """How users and items differ.

    Attributes:
        files: Stem of the file names.
        key: Column of the id in the frame.
        place: Key in the schema.
        dat_fields: The fields in a .dat file, after the id.
    """

    files: str
    key: str
    place: str
    dat_fields: tuple[str, ...]

    def of(self, schema: Schema) -> Side:
        """Return this side of a schema."""
        return schema.user if self.place == "user" else schema.item


USERS = SideKind("users", "user_id", "user", USER_FIELDS)
ITEMS = SideKind("products", "sku_id", "item", ITEM_FIELDS)


def side_files(folder: Path, schema: Schema, kind: SideKind) -> list[Path]:
    """Return the files of the users or the items; none if their ids come from the actions.

    Raises:
        DataError: The schema declares fields, but there is no file; or there is a file, but the schema has no id.
    """
    side = kind.of(schema)
    files = sources(folder, kind.files, required=bool(side.fields))
    if files and not side.id:
        raise DataError(
            f"{files[0]}: not read, because schema.yaml has no key {kind.place}; "
            f"add {kind.place}: {{id: ...}} with the column of the ids, or remove the file"
        )
    return files


def read_side(source: RowSource, kind: SideKind, paths: list[Path]) -> pl.DataFrame:
    """Read the users or the items of a data set.

    Of several rows with one id, the last wins, in the order of files and rows.

    Args:
        source: The folder, its schema, and where rejected rows go.
        kind: USERS or ITEMS.
        paths: The files, in order.

    Returns:
        `user_id` or `sku_id` and a text column for each declared field (null where missing), unique and sorted by id.

    Raises:
        DataError: A file is unusable, or too many of its rows are rejected.
    """
    side, key = kind.of(source.schema), kind.key
    tally = source.tally(kind.files)
    rows = _rows(source, tally, kind, paths).frame
    unique = rows.unique(key, keep="last", maintain_order=True).sort(key)
    tally.used, tally.duplicates = unique.height, rows.height - unique.height
    source.report.warnings += [f"{kind.files}: {said}" for said in _null_marks(unique)]
    for name in (name for name, field in side.fields.items() if field.kind == "numeric"):
        unique, warning = _only_numbers(unique, name, kind.files, f"{kind.place}.fields.{name}")
        source.report.warnings += [f"{kind.files}: {warning}"] if warning else []
    return unique


def read_side_rows(source: RowSource, kind: SideKind, path: Path) -> FileRows:
    """Read a file of users or items row by row. Of several rows with one id, the last one stays.

    Args:
        source: The folder, its schema, and where rejected rows go.
        kind: USERS or ITEMS.
        path: The file.

    Returns:
        The columns that `read_side` returns, of which numeric ones may hold what is not a number.

    Raises:
        DataError: The file is unusable, or too many of its rows are rejected.
    """
    if not kind.of(source.schema).id:
        raise DataError(f"{path}: the schema has no key {kind.place}; add {kind.place}: {{id: ...}}")
    tally = source.tally(kind.files)
    rows = _rows(source, tally, kind, [path])
    numbered = rows.frame.select(kind.key).with_row_index("row")
    last = numbered.unique(kind.key, keep="last", maintain_order=True)["row"]
    tally.used, tally.duplicates = last.len(), rows.lines.len() - last.len()
    return FileRows(rows.frame[last], rows.lines[last])


def _rows(source: RowSource, tally: Tally, kind: SideKind, paths: list[Path]) -> FileRows:
    """Read the usable rows of files, in the order of files and rows."""
    side, key = kind.of(source.schema), kind.key
    wanted = [Wanted(side.id, f"{kind.place}.id")]
    wanted += [Wanted(side.column_of(name), f"{kind.place}.fields.{name}") for name in side.fields]
    frames = [pl.DataFrame(schema=dict.fromkeys((key, *side.fields), pl.String))]
    places = [pl.DataFrame(schema={"file": pl.Int32, "line": pl.Int64})]
    rules = id_rules(key, side.id)
    for name, batch in source.batches(tally, paths, wanted, (side.id, *kind.dat_fields)):
        broken = id_columns(batch.frame[side.id], key).select(broken_rule(rules)).to_series()
        good = source.rejects.batch(tally, name, batch, broken, rules)
        frames.append(_text_columns(batch, side, key, source.schema).filter(good))
        lines = pl.lit(pl.Series(batch.lines, dtype=pl.Int64))
        places.append(pl.select(file=pl.lit(len(tally.files), pl.Int32), line=lines).filter(good))
    source.check(tally)
    # The batches of a file are not in the order of its lines.
    place = pl.concat(places)
    order = place.select(pl.arg_sort_by("file", "line")).to_series()
    return FileRows(pl.concat(frames)[order], place["line"][order])


def _text_columns(batch: Batch, side: Side, key: str, schema: Schema) -> pl.DataFrame:
    columns = [to_text(batch.frame[side.id]).alias(key)]
    for name, declared in side.fields.items():
        text = to_text(batch.frame[side.column_of(name)], declared.separator).alias(name)
        text = text.set(text.is_in(schema.missing), None)
        columns.append(with_point(text, schema.decimal) if declared.kind == "numeric" else text)
    return pl.DataFrame(columns)


def _null_marks(frame: pl.DataFrame) -> list[str]:
    """Return a warning for each column that holds the null of MySQL and Hive as text."""
    counts = {name: int((frame[name] == "\\N").sum()) for name in frame.columns}
    return [
        f'{count:,} cells of "{name}" are \\N, which means null with escape: "\\\\" in schema.yaml'
        for name, count in counts.items()
        if count
    ]


def _only_numbers(frame: pl.DataFrame, name: str, where: str, key: str) -> tuple[pl.DataFrame, str | None]:
    """Replace what is not a number in a numeric field by null. Returns a warning if there was any.

    Raises:
        DataError: Nothing is a number.
    """
    column = frame[name]
    bad = column.is_not_null() & to_number(column).is_null()
    if not bad.any():
        return frame, None
    cells = column.filter(bad)
    said = f'{bad.sum():,} values of "{name}" are not numbers, such as "{shortened(cells[0])}"'
    if has_decimal_commas(cells).any():
        said += '; if their commas are decimal points, declare decimal: "," in schema.yaml'
    if bad.sum() == column.count():
        raise DataError(f"{where}: {said}. No value is a number; if they are none, declare another {key}.kind")
    return frame.with_columns(column.set(bad, None)), f"{said}; they count as missing"
