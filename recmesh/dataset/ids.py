"""The ids of users and items in the actions, as codes of four bytes."""

import numpy as np
import polars as pl

from recmesh.contract import MAX_ID_BYTES, NO_USER_IDS
from recmesh.dataset.cells import CONTROL, inexact, to_text
from recmesh.dataset.near_misses import near_misses
from recmesh.dataset.rejects import Reason, Rules, Tally


def id_columns(ids: pl.Series, key: str) -> pl.DataFrame:
    """Return ids as the columns that `id_rules` read: the text, and whether it stands for an inexact number."""
    return pl.DataFrame([to_text(ids).fill_null("").alias(key), inexact(ids).alias(f"{key}_inexact")])


def id_rules(key: str, column: str) -> Rules:
    """Return the rules that the ids of a table keep: `key` is user_id or sku_id, `column` the column in the files."""
    text = pl.col(key)
    rules = [
        (f"{key} is a number with a fraction, or is too large to be exact", pl.col(f"{key}_inexact")),
        (f"{key} is empty", text == ""),
        (f"{key} is longer than {MAX_ID_BYTES} bytes", text.str.len_bytes() > MAX_ID_BYTES),
        (f"{key} contains a control character", text.str.contains(CONTROL)),
    ]
    if key == "user_id":
        rules.append(('user_id is "-1", which means an anonymous user', text.is_in(NO_USER_IDS)))
    return [(Reason(said, column=column), holds) for said, holds in rules]


def _null_fix(cell: str) -> str:
    return 'it means null with escape: "\\\\" in schema.yaml' if cell == "\\N" else ""


def table_of(codes: pl.Series) -> pl.DataFrame:
    """Return the table of a side whose ids come from the actions."""
    assert isinstance(codes.dtype, pl.Enum)
    ids: pl.Series = codes.dtype.categories
    return ids.to_frame(codes.name)


class ListedIds:
    """The ids of a table. Other ids are unlisted.

    Args:
        key: user_id or sku_id.
        files: The name of the table.
        column: The column in the files of actions.
        ids: The ids, sorted.
    """

    def __init__(self, key: str, files: str, column: str, ids: pl.Series) -> None:
        # An Enum builds the hash table of its categories once, for all batches.
        self.dtype = pl.Enum(ids)
        self._ids = ids
        self._unknown = pl.DataFrame(schema={"id": pl.String, "rows": pl.Int64})
        as_float = pl.col(key).str.contains(r"^\d+\.0$")
        unknown, self._text = pl.col(f"{key}_unusable"), f"{key} is not in {files}"
        self.rules: Rules = [
            (Reason(f"{self._text}; it is written as a float (101.0)", "unlisted", column), unknown & as_float),
            (Reason(self._text, "unlisted", column, _null_fix), unknown),
        ]

    def codes(self, ids: pl.DataFrame) -> pl.Series:
        """Return the codes of the ids in the first of `id_columns`, and null for ids that cannot be used."""
        text = ids.to_series(0)
        codes: pl.Series = text.cast(self.dtype, strict=False)
        if codes.has_nulls():
            unknown = text.filter(codes.is_null()).to_frame("id").group_by("id").agg(rows=pl.len().cast(pl.Int64))
            self._unknown = pl.concat([self._unknown, unknown]).group_by("id").agg(pl.col("rows").sum())
        return codes

    def explain(self, tally: Tally) -> None:
        """Add to the cause of unlisted rows how many of them come near a listed id."""
        cause = tally.causes.get(self._text)
        if cause:
            unknown = self._unknown.filter(~pl.col("id").is_in(NO_USER_IDS))
            near = near_misses(unknown, self._ids)
            cause.fix = "; ".join(text for text in (cause.fix, near) if text)

    def finish(self, codes: pl.Series) -> pl.Series:
        """Return the codes of all actions as an Enum over all ids."""
        return codes


class FoundIds:
    """The valid ids that the actions contain, for a side without a table.

    Args:
        key: user_id or sku_id.
        column: The column in the files of actions.
    """

    def __init__(self, key: str, column: str) -> None:
        self.dtype = pl.Categorical(pl.Categories.random())
        self.rules = id_rules(key, column)

    def codes(self, ids: pl.DataFrame) -> pl.Series:
        """Return the codes of the ids in the first of `id_columns`, and null for ids that cannot be used."""
        text = ids.to_series(0)
        broken = ids.select(pl.any_horizontal(holds for _, holds in self.rules)).to_series()
        codes: pl.Series = (text.set(broken, None) if broken.any() else text).cast(self.dtype)
        return codes

    def explain(self, tally: Tally) -> None:
        """Do nothing: no valid id is unlisted."""

    def finish(self, codes: pl.Series) -> pl.Series:
        """Return the codes of all actions as an Enum over the ids that occur in them, sorted."""
        found = codes.unique()
        ids = found.cast(pl.String).sort()
        sorted_codes: pl.Series = ids.cast(pl.Enum(ids))
        if not len(codes):
            return sorted_codes
        code = found.to_physical().to_numpy()
        position = np.zeros(code.max() + 1, dtype=np.uint32)
        position[code] = found.cast(pl.String).cast(sorted_codes.dtype).to_physical().to_numpy()
        return sorted_codes.gather(pl.Series(position[codes.to_physical().to_numpy()]))
