"""The CSV files of `client.py batch` and `client.py score`."""

import contextlib
import csv
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from recmesh.contract import NO_USER_IDS
from recmesh.errors import DataError

if TYPE_CHECKING:
    from _csv import Writer

USER, ITEM = "user_id", "sku_id"


@dataclass(frozen=True, slots=True)
class Query:
    """A row of queries.csv.

    Attributes:
        key: Names the query in the predictions: the `user_id`, or `row-<line>` without one.
        user_id: The user; empty for a new one.
        profile: The profile cells that are not empty.
    """

    key: str
    user_id: str = ""
    profile: Mapping[str, str] = field(default_factory=dict)


def read_queries(path: Path) -> list[Query]:
    """Read a file of queries.

    Args:
        path: A CSV file with `user_id`, profile columns, or both.

    Returns:
        The queries in file order; identical rows of a user count once.

    Raises:
        DataError: The file is damaged, or two rows of a user differ.
    """
    queries: dict[str, Query] = {}
    lines: dict[str, int] = {}
    for line, row in _rows(path):
        user_id = row.pop(USER, "")
        if user_id in NO_USER_IDS:
            user_id = ""
        query = Query(user_id or f"row-{line}", user_id, {name: value for name, value in row.items() if value})
        first = queries.setdefault(query.key, query)
        if first != query:
            raise DataError(
                f"{path}:{line}: user {query.key!r} is in line {lines[query.key]} as well, with another profile"
            )
        lines.setdefault(query.key, line)
    return list(queries.values())


def read_pairs(path: Path) -> list[tuple[str, str]]:
    """Read a file of pairs.

    Args:
        path: A CSV file with `user_id` and `sku_id`; other columns are ignored.

    Returns:
        (user_id, sku_id) in file order.

    Raises:
        DataError: The file is damaged, or a row lacks an id.
    """
    pairs = []
    for line, row in _rows(path, required=(USER, ITEM)):
        if not row[USER] or not row[ITEM]:
            raise DataError(f"{path}:{line}: a pair needs both a {USER} and a {ITEM}")
        pairs.append((row[USER], row[ITEM]))
    return pairs


def read_profiles(path: Path) -> dict[str, dict[str, str]]:
    """Read a file of profiles.

    Args:
        path: A CSV file with `user_id` and profile columns.

    Returns:
        The cells that are not empty, by user. A later row of a user wins, as in a data set.

    Raises:
        DataError: The file is damaged.
    """
    profiles = {}
    for _, row in _rows(path, required=(USER,)):
        user_id = row.pop(USER)
        profiles[user_id] = {name: value for name, value in row.items() if value}
    return profiles


@contextlib.contextmanager
def replacing(path: Path, header: Sequence[str]) -> Iterator["Writer"]:
    """Write a CSV file that appears under its name only when the block ends without an error.

    Args:
        path: The file.
        header: Its first row.

    Yields:
        A writer of rows.
    """
    unfinished = path.with_name(f"{path.name}.tmp")
    try:
        with unfinished.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(header)
            yield writer
        os.replace(unfinished, path)  # noqa: PTH105 - os.replace says that it is atomic
    finally:
        unfinished.unlink(missing_ok=True)


def write_failures(path: Path, header: Sequence[str], rows: Iterable[Sequence[str]]) -> Path | None:
    """List failures in `<path>.failed.csv`, or delete the list of an earlier run.

    Args:
        path: The file whose rows failed.
        header: First row of the list.
        rows: The failures.

    Returns:
        The path of the list; None without failures.
    """
    listed, rows = path.with_name(f"{path.name}.failed.csv"), list(rows)
    if not rows:
        listed.unlink(missing_ok=True)
        return None
    with replacing(listed, header) as writer:
        writer.writerows(rows)
    return listed


def _rows(path: Path, required: Sequence[str] = ()) -> Iterator[tuple[int, dict[str, str]]]:
    """Line number and cells of each row. Cells are text and are kept exactly."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            header = next(reader, [])
            _check_header(path, header, required)
            for cells in reader:
                if len(cells) != len(header):
                    raise DataError(f"{path}:{reader.line_num}: {len(cells)} cells where the header has {len(header)}")
                yield reader.line_num, dict(zip(header, cells, strict=True))
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except (csv.Error, UnicodeDecodeError) as error:
        raise DataError(f"{path}: not a CSV file in UTF-8: {error}") from error


def _check_header(path: Path, header: Sequence[str], required: Sequence[str]) -> None:
    if not header:
        raise DataError(f"{path}: empty; the first line must name the columns")
    if len(set(header)) != len(header):
        raise DataError(f"{path}:1: a column is named twice: {', '.join(header)}")
    if missing := [name for name in required if name not in header]:
        raise DataError(f"{path}:1: no column {', '.join(missing)}; there are: {', '.join(header)}")
