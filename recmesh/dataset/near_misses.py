"""Ids that would be equal after trimming and the like. They stay different; the report says how many there are."""

from collections.abc import Callable

import polars as pl

from recmesh.dataset.rejects import shortened

_INVISIBLE = r"\p{Cf}"

_ID = pl.col("id")
_FORMS: tuple[tuple[str, Callable[[pl.Expr], pl.Expr]], ...] = (
    ("after trimming blanks", lambda text: text.str.strip_chars()),
    ("without invisible characters", lambda text: text.str.replace_all(_INVISIBLE, "")),
    ("in the same Unicode form", lambda text: text.str.normalize("NFKC")),
    ("ignoring case", lambda text: text.str.to_lowercase()),
    ("without leading zeros", lambda text: text.str.replace("^0+([0-9])", "${1}")),
)


def _all_forms(text: pl.Expr) -> pl.Expr:
    for _, form in _FORMS:
        text = form(text)
    return text


def near_misses(unknown: pl.DataFrame, listed: pl.Series) -> str:
    """Say how many rows have an id that is not listed, but would be in another form.

    Args:
        unknown: `id`, and the number of `rows` with it.
        listed: The ids of the table.

    Returns:
        The end of a sentence about the rows with unknown ids; empty if no id comes near.
    """
    found = []
    for name, form in (*_FORMS, ("after several of these changes", _all_forms)):
        table = listed.to_frame("listed").with_columns(form=form(pl.col("listed"))).unique("form", keep="first")
        hits = unknown.with_columns(form=form(_ID)).join(table, on="form").sort("rows", "id", descending=[True, False])
        if hits.height:
            example = f'"{shortened(hits["id"][0])}" and "{shortened(hits["listed"][0])}"'
            found.append(f"{hits['rows'].sum():,} match {name} ({example})")
            unknown = unknown.join(hits, on="id", how="anti")
    return ", ".join(found)


def near_duplicates(ids: pl.Series) -> str:
    """Say how many ids differ from another one only by their form; empty if none does."""
    found = []
    for name, form in _FORMS:
        frame = ids.to_frame("id").with_columns(form=form(_ID))
        alike = frame.filter(pl.col("form").is_duplicated()).sort("form", "id")
        if alike.height:
            example = f'"{shortened(alike["id"][0])}" and "{shortened(alike["id"][1])}"'
            found.append(f"{alike.height:,} ids match another {name} ({example})")
    return ", ".join(found)
