"""Split a data set in time, to evaluate the running chain on a shop's own data.

The actions before the cut become a data set to train on; the later ones are the truth, unless the weight of their type,
their value or a return says that they are not positive. All actions of one user in ten are held out, as those of a new
user. The split is by date if at least half of the users who act after the cutoff acted earlier. The cutoff is then the
day after 80 % of the actions. Otherwise, each user's last fifth is held out; without times, a random fifth.
"""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from recmesh.dataset import Action, DataSet, Field, Schema, Side
from recmesh.dataset.forms.files import VECTORS_FILE
from recmesh.dataset.schema import SCHEMA_FILE, Value
from recmesh.dataset.times import DAY_MS
from recmesh.dataset.values import action_weights
from recmesh.dataset.writing import new_folder
from recmesh.errors import DataError

_KNOWN_SHARE, _COLD_SHARE, _RETURNING_SHARE = 0.8, 0.1, 0.5

USER, ITEM = "user_id", "sku_id"
"""Columns of the written files."""


@dataclass(frozen=True)
class Split:
    """The result of a split.

    Attributes:
        rule: Where the data set was cut, in words.
        train: Number of actions to train on.
        segments: Number of users in the truth by segment, in the order of evaluation.
    """

    rule: str
    train: int
    segments: dict[str, int]


def split(data: DataSet, out: Path, seed: int) -> Split:
    """Split a data set into `train` (a data set), `queries_<segment>.csv` and `truth_<segment>.csv`.

    Args:
        data: The data set.
        out: The folder to create. It may replace a folder that was made the same way.
        seed: Selects the users that are held out as new users.

    Raises:
        DataError: `out` contains something else, or no actions are left before or after the cut.
    """
    positive = pl.Series("positive", action_weights(data.schema, data.actions) > 0)
    actions = data.actions.with_columns(pl.col(USER, ITEM, "type").cast(pl.String), positive)
    cold = _cold(data.users[USER], seed)
    known, later, rule = _cut(actions, cold, timed=data.schema.action.time is not None)
    later = later.filter("positive")
    if known.is_empty() or later.is_empty():
        raise DataError(
            f"{data.folder}: the cut leaves {len(known)} actions before and {len(later)} positive ones after"
        )
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
    return users[np.sort(order[: round(len(users) * _COLD_SHARE)])]


def _cut(actions: pl.DataFrame, cold: pl.Series, *, timed: bool) -> tuple[pl.DataFrame, pl.DataFrame, str]:
    """Return the actions before the cut (without those of cold users), the actions after it, and the rule in words."""
    is_cold = pl.col(USER).is_in(cold.implode())
    times = actions["time"].sort()
    cutoff = int(times[int(len(times) * _KNOWN_SHARE)]) // DAY_MS * DAY_MS
    late = pl.col("time") >= cutoff
    first = actions.group_by(USER).agg(first=pl.col("time").min(), last=pl.col("time").max())
    active = first.filter(pl.col("last") >= cutoff)
    if len(active) and int((active["first"] < cutoff).sum()) >= _RETURNING_SHARE * len(active):
        day = np.datetime64(cutoff, "ms").astype("datetime64[D]")
        return actions.filter(~is_cold & ~late), actions.filter(late), f"cut at {day}, for all users"
    position, size = pl.int_range(pl.len()).over(USER), pl.len().over(USER)
    early = position < (size * _KNOWN_SHARE).ceil().clip(upper_bound=size - 1)
    warm = actions.filter(~is_cold)
    later = pl.concat([warm.filter(~early), actions.filter(is_cold)])
    which = "cut at 80 % of each user's own actions" if timed else "a random fifth of each user's actions is held out"
    return warm.filter(early), later, which


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
    known.drop("positive").write_csv(folder / "actions.csv")
    (folder / SCHEMA_FILE).write_text(_plain(data.schema).dump(), encoding="utf-8")
    if (data.folder / VECTORS_FILE).exists():
        shutil.copyfile(data.folder / VECTORS_FILE, folder / VECTORS_FILE)


def _plain(schema: Schema) -> Schema:
    """Return a schema with the same meaning, for files whose columns are named like the fields."""

    def side(key: str, fields: Mapping[str, Field]) -> Side:
        return Side(id=key, fields={name: field.model_copy(update={"column": None}) for name, field in fields.items()})

    value = Value(column="value", positive=schema.action.value.positive if schema.action.value else "> 0")
    return Schema(
        user=side(USER, schema.user.fields),
        item=side(ITEM, schema.item.fields),
        action=Action(
            user=USER,
            item=ITEM,
            time="time" if schema.action.time else None,
            unit="ms" if schema.action.time else None,
            type="type",
            value=value,
            weight_by=schema.action.weight_by,
            weights=schema.action.weights,
        ),
        repeats=schema.repeats,
        missing=schema.missing,
    )
