"""Which file holds the users, the items and the actions, and which columns are their ids."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from recmesh.drafting.fields import share
from recmesh.drafting.tables import Table
from recmesh.drafting.times import times_of
from recmesh.drafting.words import ID, ITEM, TIME, USER, says, words
from recmesh.errors import DataError

ROLES = ("users", "products", "actions")
MIN_UNIQUE = 0.99
MIN_JOINED = 0.5
CLOSE = 0.1


@dataclass(frozen=True)
class Roles:
    """The tables by role, and the files that must be renamed (from, to)."""

    tables: Mapping[str, Table]
    renamed: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Ids:
    """The id columns of one side.

    Attributes:
        table: The column in users or products; None without such a table.
        action: The column in actions; None if several fit.
        why: The reason.
        choices: If several fit: which ones.
    """

    table: str | None
    action: str | None
    why: str
    choices: str = ""


def roles_of(found: Sequence[Table]) -> Roles:
    """Tell which tables hold users, items and actions: by the names of the files, else by their columns.

    Raises:
        DataError: No table holds actions.
    """
    by_name = {role: table for role in ROLES for table in found if _named(table, role)}
    others = [table for table in found if table not in by_name.values()]
    renamed = []
    for role, fits in (("actions", _has_actions), ("users", _lists_users), ("products", _lists_items)):
        fitting = [table for table in others if fits(table)]
        if role not in by_name and fitting:
            chosen = max(fitting, key=lambda table: table.frame.height)
            by_name[role] = chosen
            others.remove(chosen)
            renamed.append((chosen.name, f"{role}{Path(chosen.name).suffix}"))
    if "actions" not in by_name:
        names = ", ".join(table.name for table in found) or "no .csv or .parquet file"
        raise DataError(
            f"no file holds actions (a column with users, one with items): {names}; "
            "name it actions.csv, and give its columns names such as user_id, item_id and time"
        )
    return Roles(by_name, tuple(renamed))


def ids_of(side: str, table: Table | None, actions: Table, taken: frozenset[str] = frozenset()) -> Ids:
    """Tell the id columns of users or items.

    Args:
        side: users or products.
        table: The table of the side, if there is one.
        actions: The table of the actions.
        taken: Columns of actions that have another meaning.
    """
    meant = USER if side == "users" else ITEM
    columns = [column for column in actions.frame.columns if column not in taken]
    if table is None:
        return _by_name(columns, meant)
    keys = [column for column in table.frame.columns if table.unique(column) >= MIN_UNIQUE]
    scored = sorted(
        (
            (_score(table, key, actions, column, meant), key, column)
            for key in keys
            for column in columns
            if _may_join(table, key, actions, column)
        ),
        reverse=True,
    )
    if not scored:
        choices = f"no column of {actions.name} holds the values of a unique column of {table.name}"
        return Ids(keys[0] if len(keys) == 1 else None, None, "", choices)
    (best, key, column), *rest = scored
    joined = _joined(table, key, actions, column)
    close = [pair for score, *pair in rest if score > best - CLOSE]
    if close:
        pairs = ", ".join(f"{other_key} with {other_column}" for other_key, other_column in ((key, column), *close[:3]))
        return Ids(None, None, "", f"several columns fit: {pairs}")
    return Ids(key, column, f"unique in {table.name}; {joined:.0%} of the values of {column} are in it")


def _named(table: Table, role: str) -> bool:
    return bool(re.match(rf"{role}(-[^.]*)?(\.|$)", table.name))


def _meant(columns: Sequence[str], meant: "re.Pattern[str]") -> list[str]:
    """Return the columns whose names mean one of some things: those that say id first."""
    found = [column for column in columns if says(column, meant)]
    return sorted(found, key=lambda column: not _says_id(column))


def _says_id(column: str) -> bool:
    return bool(words(column)) and ID.fullmatch(words(column)[-1]) is not None


def _by_name(columns: Sequence[str], meant: "re.Pattern[str]") -> Ids:
    found = _meant(columns, meant)
    sure = [column for column in found if _says_id(column)] or found
    if len(sure) == 1:
        return Ids(None, sure[0], "by its name")
    choices = f"one of {', '.join(sure or columns)}"
    return Ids(None, None, "", choices)


def _score(table: Table, key: str, actions: Table, column: str, meant: "re.Pattern[str]") -> float:
    """Return how well two columns fit: equal names, names with the right meaning, and values that join."""
    same = words(key) == words(column)
    named = says(column, meant)
    return 1.0 * same + 1.0 * named + 0.25 * (_says_id(key)) + _joined(table, key, actions, column)


def _joined(table: Table, key: str, actions: Table, column: str) -> float:
    """Return the share of the distinct values of a column of actions that a table lists."""
    values = actions.cells(column).unique()
    return share(values.is_in(table.cells(key).unique().implode()))


def _may_join(table: Table, key: str, actions: Table, column: str) -> bool:
    return words(key) == words(column) or _joined(table, key, actions, column) >= MIN_JOINED


def _has_actions(table: Table) -> bool:
    columns = table.frame.columns
    both = all(any(table.unique(column) < 1 for column in _meant(columns, meant)) for meant in (USER, ITEM))
    return both and not (_lists_users(table) or _lists_items(table))


def _lists_users(table: Table) -> bool:
    return _lists(table, USER)


def _lists_items(table: Table) -> bool:
    return _lists(table, ITEM)


def _lists(table: Table, meant: "re.Pattern[str]") -> bool:
    return any(table.unique(column) >= MIN_UNIQUE and _says_id(column) for column in _meant(table.frame.columns, meant))


def time_columns(actions: Table, taken: frozenset[str]) -> list[str]:
    """Return the columns of actions that may hold times: those with a telling name first."""
    columns = [column for column in actions.frame.columns if column not in taken]
    fitting = [column for column in columns if _holds_times(actions, column)]
    return sorted(fitting, key=lambda column: not says(column, TIME))


def _holds_times(actions: Table, column: str) -> bool:
    times = times_of(actions.times(column))
    # What cannot be read as a time is one only if the name says so.
    return times.sure or says(column, TIME)
