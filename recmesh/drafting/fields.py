"""The kinds of fields: categorical, numeric, multi or display."""

from dataclasses import dataclass

import polars as pl

from recmesh.drafting.guess import Guess
from recmesh.drafting.words import CODE, LIST, QUANTITY, says

ADDRESSES = r"^(https?://|www\.)"
LIST_SEPARATORS = ("|", ";", ",", "/")
MIN_FIT = 0.95
MIN_LISTED, MIN_REUSE = 0.2, 3
NEARLY_UNIQUE, MIN_DISTINCT = 0.9, 20
LONG_TEXT = 60


@dataclass(frozen=True)
class FieldGuess:
    """A field: its declaration after the name, or None if it is not worth declaring; and the reason or question."""

    kind: str | None
    why: str
    separator: str | None = None


def field_of(name: str, text: pl.Series, decimal: str, lists: bool) -> FieldGuess:
    """Guess what a column of users or items holds.

    Args:
        name: Of the column.
        text: Its known cells.
        decimal: The decimal sign of text files.
        lists: Whether the cells were lists.
    """
    if lists:
        return FieldGuess("multi", "a list in each cell", ",")
    distinct = text.n_unique()
    if not distinct:
        return FieldGuess(None, "no cell has a value")
    if distinct == 1:
        return FieldGuess(None, f"all cells are {_shown(text[0])}")
    if share(text.str.contains(ADDRESSES)) >= MIN_FIT:
        return FieldGuess("display", f"addresses, such as {_shown(text[0])}")
    numbers = to_numbers(text, decimal)
    if numbers.null_count() <= (1 - MIN_FIT) * len(text):
        return _number(name, text, numbers.drop_nulls())
    if found := _list_separator(name, text):
        several = text.filter(text.str.contains(found, literal=True))
        return FieldGuess("multi", f"several values in a cell, such as {_shown(several[0])}", found)
    characters = int(text.str.len_chars().sum())
    if (distinct > NEARLY_UNIQUE * len(text) and distinct >= MIN_DISTINCT) or characters > LONG_TEXT * len(text):
        return FieldGuess("display", f"{distinct:,} different texts in {len(text):,} cells, such as {_shown(text[0])}")
    return FieldGuess("categorical", f"{distinct:,} different texts, such as {_shown(text[0])}")


def to_numbers(text: pl.Series, decimal: str) -> pl.Series:
    """Return the numbers in text, and null elsewhere."""
    plain = text.str.replace(",", ".", literal=True) if decimal == "," else text
    numbers: pl.Series = plain.cast(pl.Float64, strict=False)
    return numbers


def ends(numbers: pl.Series) -> tuple[float, float]:
    """Return the smallest and the largest number."""
    ordered = numbers.cast(pl.Float64).sort()
    return ordered[0], ordered[-1]


def share(mask: pl.Series) -> float:
    """Return the share of the true values."""
    return int(mask.sum()) / max(len(mask), 1)


def decimal_of(columns: list[pl.Series]) -> Guess | None:
    """Tell the decimal sign from all columns of text; None if it is a point, or if there are no decimals."""
    for text in columns:
        commas = text.filter(text.str.contains(r"^-?\d+,\d+$"))
        if len(commas) <= 0.5 * len(text) or share(text.str.contains(r"^-?\d+(,\d+)?$")) < MIN_FIT:
            continue
        if bool(commas.str.contains(r"^-?\d{1,3},\d{3}$").all()):
            return Guess.open(
                f'does {_shown(commas[0])} have a decimal comma (decimal: ",") or thousands (decimal: ".")?'
            )
        return Guess('","', f"such as {_shown(commas[0])}")
    return None


def _number(name: str, text: pl.Series, numbers: pl.Series) -> FieldGuess:
    if bool(text.str.contains(r"^0\d").any()):
        code = text.filter(text.str.contains(r"^0\d"))[0]
        return FieldGuess("categorical", f"codes: {_shown(code)} begins with 0")
    low, high = (f"{value:g}" for value in ends(numbers))
    if bool((numbers != numbers.floor()).any()):
        return FieldGuess("numeric", f"numbers with fractions, from {low} to {high}")
    if set(numbers.unique()) <= {0.0, 1.0}:
        return FieldGuess("categorical", "0 or 1")
    quantity, code = says(name, QUANTITY), says(name, CODE)
    if quantity and not code:
        return FieldGuess("numeric", f"numbers from {low} to {high}, and a quantity by its name")
    if code and not quantity:
        return FieldGuess("categorical", f"{text.n_unique():,} numbers, and codes by the name")
    choices = f"numbers from {low} to {high}: categorical if they are codes, numeric if they are quantities"
    return FieldGuess("?", choices)


def _list_separator(name: str, text: pl.Series) -> str | None:
    by_name = says(name, LIST)
    for separator in (*LIST_SEPARATORS, " ") if by_name else LIST_SEPARATORS[:3]:
        listed = text.filter(text.str.contains(separator, literal=True))
        if len(listed) < MIN_LISTED * len(text):
            continue
        parts = text.str.split(separator).explode().str.strip_chars()
        if len(parts) >= MIN_REUSE * parts.n_unique() or (by_name and parts.n_unique() < len(parts)):
            return separator
    return None


def _shown(cell: str) -> str:
    """Return a cell in quotes, on one line."""
    line = " ".join(cell.split())
    return f'"{line if len(line) <= 40 else line[:39] + "…"}"'
