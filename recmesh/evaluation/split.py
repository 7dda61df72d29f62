"""Cuts a data set in time, so that the running chain can be measured on a shop's own data: what came before the cut is
a data set to train on, what came after is the truth.

The cut is that of the quality protocol. One user in ten is held out wholly, as a new user. Where the calendar means
something (most users who act after the day that 80 % of the actions come before had acted earlier), that day is the cut
for all; else each user's last fifth.
"""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from recmesh.dataset import Action, DataSet, Field, Schema, Side
from recmesh.dataset.files import VECTORS_FILE
from recmesh.dataset.schema import SCHEMA_FILE
from recmesh.dataset.writing import new_folder
from recmesh.errors import DataError

_DAY = 86_400_000
_EARLIER, _COLD, _RETURNING = 0.8, 0.1, 0.5

USER, ITEM = "user_id", "sku_id"


@dataclass(frozen=True)
class Split:
    """What a split wrote. `segments`: users of the truth by segment, in the order in which to ask."""

    rule: str
    train: int
    segments: dict[str, int]


def split(data: DataSet, out: Path, seed: int) -> Split:
    """Write `out`/train (a data set), `out`/queries_<segment>.csv and `out`/truth_<segment>.csv.

    Raises DataError when `out` holds something else, or when the cut leaves nothing on either side.
    """
    actions = data.actions.with_columns(pl.col(USER, ITEM, "type").cast(pl.String))
    cold = _cold(data.users[USER], seed)
    known, later, rule = _cut(actions, cold)
    if known.is_empty() or later.is_empty():
        raise DataError(f"{data.folder}: the cut leaves {len(known)} actions before it and {len(later)} after it")
    truths = _truths(known, later, cold, data.schema.repeats)
    with new_folder(out) as folder:
        _write_train(data, known, cold, folder / "train")
        for segment, truth in truths.items():
            truth.write_csv(folder / f"truth_{segment}.csv")
            asked = truth.select(USER).unique().sort(USER)
            queries = asked.join(data.users, on=USER, how="left").sort(USER) if segment == "cold" else asked
            queries.write_csv(folder / f"queries_{segment}.csv")
    return Split(rule, len(known), {name: truth[USER].n_unique() for name, truth in truths.items()})


def _cold(users: pl.Series, seed: int) -> pl.Series:
    order = np.random.default_rng(seed).permutation(len(users))
    return users[np.sort(order[: round(len(users) * _COLD)])]


def _cut(actions: pl.DataFrame, cold: pl.Series) -> tuple[pl.DataFrame, pl.DataFrame, str]:
    """Actions before the cut (without those of cold users), those after it, and the rule in words."""
    is_cold = pl.col(USER).is_in(cold.implode())
    times = actions["time"].sort()
    moment = int(times[int(len(times) * _EARLIER)]) // _DAY * _DAY
    late = pl.col("time") >= moment
    first = actions.group_by(USER).agg(first=pl.col("time").min(), last=pl.col("time").max())
    active = first.filter(pl.col("last") >= moment)
    if len(active) and int((active["first"] < moment).sum()) >= _RETURNING * len(active):
        day = np.datetime64(moment, "ms").astype("datetime64[D]")
        return actions.filter(~is_cold & ~late), actions.filter(late), f"cut at {day}, for all users"
    place, size = pl.int_range(pl.len()).over(USER), pl.len().over(USER)
    early = place < (size * _EARLIER).ceil().clip(upper_bound=size - 1)
    warm = actions.filter(~is_cold)
    later = pl.concat([warm.filter(~early), actions.filter(is_cold)])
    return warm.filter(early), later, "cut at 80 % of each user's own actions"


def _truths(known: pl.DataFrame, later: pl.DataFrame, cold: pl.Series, repeats: bool) -> dict[str, pl.DataFrame]:
    pairs = later.select(USER, ITEM).unique().sort(USER, ITEM)
    warm = pairs.join(known.select(USER).unique(), on=USER, how="semi").sort(USER, ITEM)
    truths = {"novel": warm.join(known, on=[USER, ITEM], how="anti").sort(USER, ITEM)}
    if repeats:
        truths["repeat"] = warm
    truths["cold"] = pairs.filter(pl.col(USER).is_in(cold.implode()))
    return {name: truth for name, truth in truths.items() if len(truth)}


def _write_train(data: DataSet, known: pl.DataFrame, cold: pl.Series, folder: Path) -> None:
    folder.mkdir()
    data.users.filter(~pl.col(USER).is_in(cold.implode())).write_csv(folder / "users.csv")
    data.items.write_csv(folder / "products.csv")
    known.write_csv(folder / "actions.csv")
    (folder / SCHEMA_FILE).write_text(_plain(data.schema).dump(), encoding="utf-8")
    if (data.folder / VECTORS_FILE).exists():
        shutil.copyfile(data.folder / VECTORS_FILE, folder / VECTORS_FILE)


def _plain(schema: Schema) -> Schema:
    """The same meaning for files whose columns are named like the fields."""

    def side(key: str, fields: Mapping[str, Field]) -> Side:
        return Side(id=key, fields={name: field.model_copy(update={"column": None}) for name, field in fields.items()})

    return Schema(
        user=side(USER, schema.user.fields),
        item=side(ITEM, schema.item.fields),
        action=Action(
            user=USER, item=ITEM, time="time", unit="ms", type="type", value="value", weights=schema.action.weights
        ),
        repeats=schema.repeats,
        missing=schema.missing,
    )
