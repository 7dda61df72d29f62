"""Drafts a schema.yaml: every key with a reason, and questions where the files leave a key open."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from recmesh.dataset.schema import SCHEMA_FILE, UNDECIDED
from recmesh.drafting.actions import type_column, value_column, weight_of
from recmesh.drafting.fields import decimal_of, ends, field_of
from recmesh.drafting.guess import Guess, quoted, scalar
from recmesh.drafting.roles import Ids, ids_of, roles_of, time_columns
from recmesh.drafting.tables import Table, tables
from recmesh.drafting.times import times_of
from recmesh.errors import DataError

MIN_REPEATS = 0.01
SURE_RATINGS = 0.8
RESERVED_NAMES = ("user_id", "sku_id")


@dataclass(frozen=True)
class Line:
    """A line of the file: YAML, and a comment with the reason or the choices."""

    yaml: str
    comment: str = ""
    open: str = ""

    def text(self, width: int) -> str:
        """Return the line with its comment at a column."""
        return f"{self.yaml:{width}}  # {self.comment}" if self.comment else self.yaml


@dataclass(frozen=True)
class Draft:
    """A drafted schema.

    Attributes:
        text: The content of schema.yaml.
        questions: The lines to decide: number and key.
        renamed: The files that must be renamed: from, to.
    """

    text: str
    questions: tuple[tuple[int, str], ...]
    renamed: tuple[tuple[str, str], ...]


def write(folder: Path, force: bool = False) -> Draft:
    """Draft the schema of a folder, and write it.

    Raises:
        DataError: There is a schema.yaml and no `force`, or no file holds actions.
    """
    path = folder / SCHEMA_FILE
    if path.exists() and not force:
        raise DataError(f"{path}: exists; --force replaces it")
    made = draft(folder)
    path.write_text(made.text, encoding="utf-8")
    return made


def draft(folder: Path) -> Draft:
    """Draft the schema of a folder.

    Raises:
        DataError: No file holds actions, or a file cannot be read.
    """
    found = list(tables(folder))
    roles = roles_of(found)
    used = [roles.tables[role] for role in ("users", "products", "actions") if role in roles.tables]
    lines = [*_lines(roles.tables.get("users"), roles.tables.get("products"), roles.tables["actions"], used)]
    width = min(max(len(line.yaml) for line in lines), 60)
    head = ["# A first schema, drafted by `recmesh dataset init` from the files: each line with its reason."]
    head += [f"# Rename {old} to {new}." for old, new in roles.renamed]
    open_lines = [(number, line.open) for number, line in enumerate(lines, 1) if line.open]
    if open_lines:
        head.append("")
        shift = len(head)
        questions = tuple((number + shift, key) for number, key in open_lines)
        named = ", ".join(f"line {number} ({key})" for number, key in questions)
        head[-1] = f"# Replace {UNDECIDED} before use: {named}."
    else:
        questions = ()
    text = "\n".join([*head, *(line.text(width) for line in lines)]) + "\n"
    return Draft(text, questions, roles.renamed)


def _lines(users: Table | None, items: Table | None, actions: Table, used: list[Table]) -> Iterator[Line]:
    time = next(iter(time_columns(actions, frozenset())), None)
    taken = frozenset(filter(None, (time,)))
    user = ids_of("users", users, actions, taken)
    item = ids_of("products", items, actions, taken | frozenset(filter(None, (user.action,))))
    decimal = decimal_of([table.cells(column) for table in used for column in _text_columns(table)])
    if users is not None:
        yield from _side("user", users, user, decimal)
    if items is not None:
        yield from _side("item", items, item, decimal)
    yield from _actions(actions, user, item, time)
    yield _repeats(actions, user, item)
    yield from _files(users, items, used, decimal)


def _side(side: str, table: Table, ids: Ids, decimal: Guess | None) -> Iterator[Line]:
    yield Line(f"{side}:")
    if ids.table is None:
        yield Line(f"  id: {UNDECIDED}", ids.choices or "which column identifies a row?", f"{side}.id")
    else:
        yield Line(f"  id: {scalar(ids.table)}", ids.why)
    declared = [*_fields(side, table, ids.table, "," if decimal and decimal.value == '","' else ".")]
    yield Line("  fields:" if any(not line.yaml.lstrip().startswith("#") for line in declared) else "  fields: {}")
    yield from declared


def _fields(side: str, table: Table, key: str | None, decimal: str) -> Iterator[Line]:
    for column in table.frame.columns:
        if column == key:
            continue
        lists = isinstance(table.frame.schema[column], pl.List)
        guess = field_of(column, table.cells(column), decimal, lists)
        name = column if column not in RESERVED_NAMES else f"{column}_field"
        if guess.kind is None:
            yield Line(f"    # {scalar(name)}: not declared, {guess.why}")
            continue
        kind = UNDECIDED if guess.kind == "?" else guess.kind
        more = f", separator: {quoted(guess.separator)}" if guess.separator else ""
        more += f", column: {scalar(column)}" if name != column else ""
        open_key = f"{side}.fields.{name}.kind" if guess.kind == "?" else ""
        yield Line(f"    {scalar(name)}: {{kind: {kind}{more}}}", guess.why, open_key)
    yield from (Line(f"    # not declared: {said}") for said in table.skipped)


def _actions(actions: Table, user: Ids, item: Ids, time: str | None) -> Iterator[Line]:
    yield Line("action:")
    for key, ids in (("user", user), ("item", item)):
        if ids.action is None:
            yield Line(f"  {key}: {UNDECIDED}", ids.choices, f"action.{key}")
        else:
            yield Line(f"  {key}: {scalar(ids.action)}", ids.why if ids.table is None else "")
    taken = frozenset(filter(None, (user.action, item.action, time)))
    if time is None:
        yield Line("  # time: no column holds times, so the order of a user's actions is unknown")
    else:
        times = times_of(actions.times(time))
        yield Line(f"  time: {scalar(time)}", times.why)
        for key, guess in times.keys.items():
            yield Line(f"  {key}: {guess.value}", guess.why, f"action.{key}" if guess.value == UNDECIDED else "")
    kind = type_column(actions, taken)
    value = value_column(actions, taken | frozenset(filter(None, (kind,))))
    if kind is not None:
        yield from _types(actions, kind)
    if value is not None:
        yield _value(actions, *value)
    rest = [column for column in actions.frame.columns if column not in {*taken, kind, value and value[0]}]
    if rest:
        yield Line(f"  # not used: {', '.join(rest)}")


def _types(actions: Table, column: str) -> Iterator[Line]:
    counts = dict(actions.cells(column).value_counts(sort=True).iter_rows())
    shown = ", ".join(f"{name} ({count:,})" for name, count in counts.items())
    yield Line(f"  type: {scalar(column)}", f"{len(counts)} {'type' if len(counts) == 1 else 'types'}: {shown}")
    yield Line("  weights:", "how much an action says about what a user wants; change them as you see fit")
    for name in counts:
        weight = weight_of(name)
        why = "the usual weight" if weight is not None else "its name says nothing about its weight"
        yield Line(f"    {scalar(name)}: {1 if weight is None else weight:g}", why)


def _value(actions: Table, column: str, is_rating: bool) -> Line:
    low, high = ends(actions.numbers(column))
    if low == high:
        return Line(f"  # value: not declared, all cells of {column} are {low:g}")
    if is_rating and 1 < high <= 10:
        positive = f'">= {high * SURE_RATINGS:g}"'
        why = f"ratings from {low:g} to {high:g}; the upper fifth counts as liked"
        return Line(f"  value: {{column: {scalar(column)}, positive: {positive}}}", why)
    returns = "; those that are not above 0 count as returns" if low <= 0 else ""
    return Line(f"  value: {scalar(column)}", f"numbers from {low:g} to {high:g}{returns}")


def _repeats(actions: Table, user: Ids, item: Ids) -> Line:
    if user.action is None or item.action is None:
        return Line("repeats: true", "may an item be recommended to a user who already acted on it?")
    pairs = actions.frame.select(user.action, item.action)
    share = 1 - pairs.n_unique() / max(pairs.height, 1)
    said = f"{share:.1%} of the actions repeat a user and an item"
    return Line(f"repeats: {'true' if share >= MIN_REPEATS else 'false'}", said)


def _files(users: Table | None, items: Table | None, used: list[Table], decimal: Guess | None) -> Iterator[Line]:
    sides = [table for table in (users, items) if table is not None]
    cells = {cell for table in sides for column in _text_columns(table) for cell in table.markers(column)}
    if cells:
        yield Line(f"missing: [{', '.join(quoted(cell) for cell in sorted(cells))}]", "cells that seem to mean unknown")
    encodings = [table.encoding for table in used if table.encoding and table.encoding.name != "utf-8"]
    for encoding in encodings[:1]:
        yield Line(f"encoding: {encoding.name or UNDECIDED}", encoding.why, "" if encoding.name else "encoding")
    separators = {table.separator for table in used if table.separator}
    if len(separators) > 1:
        names = ", ".join(f"{quoted(table.separator)} in {table.name}" for table in used if table.separator)
        yield Line(f"separator: {UNDECIDED}", f"use one for all files: {names}", "separator")
    elif separators - {","}:
        yield Line(f"separator: {quoted(separators.pop())}", "it occurs most often in the headers")
    if decimal is not None:
        yield Line(f"decimal: {decimal.value}", decimal.why, "decimal" if decimal.value == UNDECIDED else "")
    if any(table.escaped for table in used):
        yield Line(f"escape: {quoted(chr(92))}", 'quotes in quoted cells are written as \\"')


def _text_columns(table: Table) -> list[str]:
    return [column for column, dtype in table.frame.schema.items() if dtype == pl.String]
