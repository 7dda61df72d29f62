"""Read .jsonl files: one JSON object on each line. Dotted names such as event.user.id lead into nested objects."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from recmesh.dataset.forms.batch import Advance, Batch, Part, Wanted, missing_column
from recmesh.dataset.forms.csvtext import NOT_UTF8, Broken
from recmesh.dataset.forms.files import utf8_blocks

NOT_JSON = "not a JSON object"

_MAX_EXACT_FLOAT = 2.0**53


def json_parts(
    path: Path, wanted: Sequence[Wanted], encoding: str, keys: Mapping[str, str], advance: Advance
) -> Iterator[Part]:
    """Read the wanted columns of a .jsonl file in batches. A key that a row does not have is empty.

    Raises:
        DataError: No row has a wanted column.
    """
    columns = list(dict.fromkeys(want.column for want in wanted))
    found: set[str] = set()
    names: dict[str, None] = {}
    before, read = 0, 0
    for lines in _lines(path, encoding, advance):
        rows, numbers, broken = [], [], []
        for number, line in enumerate(lines, before + 1):
            row = _parse(line) if line.strip() else None
            if isinstance(row, str):
                broken.append(Broken(number, row, line.decode(errors="backslashreplace")))
            elif row is not None:
                rows.append(row)
                numbers.append(number)
        first, before = before + 1, before + len(lines)
        if broken:
            yield broken
        if not rows:
            continue
        read += len(rows)
        names |= dict.fromkeys(list(rows[0])[:12])
        cells = {column: [_at(row, column) for row in rows] for column in columns}
        found |= {column for column in columns if any(cell is not None for cell in cells[column])}
        frame = pl.DataFrame([_column(name, cells[name]) for name in columns if name in found or name not in keys])
        yield Batch(frame, np.array(numbers), _texts(lines, numbers, first))
    for want in wanted:
        if read and want.column not in found and want.column not in keys and want.key != "action.value":
            raise missing_column(path, want, list(names))


def _texts(lines: list[bytes], numbers: list[int], first: int) -> Callable[[int], str]:
    return lambda row: lines[numbers[row] - first].decode()


def _lines(path: Path, encoding: str, advance: Advance) -> Iterator[list[bytes]]:
    before, held = 0, b""
    for block, done in utf8_blocks(path, encoding):
        advance(done - before)
        before = done
        *lines, held = (held + block).split(b"\n")
        yield lines
    if held:
        yield [held]


def _parse(line: bytes) -> dict[str, Any] | str:
    """Return the object on a line, or why there is none."""
    try:
        text = line.decode()
    except UnicodeDecodeError:
        return NOT_UTF8
    try:
        row = json.loads(text, parse_int=str, parse_float=_float, parse_constant=lambda name: None)
    except (json.JSONDecodeError, RecursionError):
        return NOT_JSON
    return row if isinstance(row, dict) else NOT_JSON


def _float(text: str) -> str:
    """Return a number as in parquet: without a fraction, if it is a whole number that is exact."""
    number = float(text)
    return str(int(number)) if abs(number) < _MAX_EXACT_FLOAT and number.is_integer() else text


def _at(row: Any, name: str) -> Any:
    """Return what is at a dotted name, or None."""
    if not isinstance(row, dict):
        return None
    if name in row:
        return row[name]
    for k, letter in enumerate(name):
        if letter == "." and name[:k] in row:
            return _at(row[name[:k]], name[k + 1 :])
    return None


def _column(name: str, cells: list[Any]) -> pl.Series:
    """Return cells as text, or as lists of text if there are lists among them."""
    if not any(isinstance(cell, list) for cell in cells):
        return pl.Series(name, [_text(cell) for cell in cells], dtype=pl.String)
    lists = [cell if isinstance(cell, list) or cell is None else [cell] for cell in cells]
    texts = [None if cell is None else [_text(part) for part in cell if part is not None] for cell in lists]
    return pl.Series(name, texts, dtype=pl.List(pl.String))


def _text(cell: Any) -> str | None:
    if cell is None or isinstance(cell, str):
        return cell
    return json.dumps(cell, ensure_ascii=False)
