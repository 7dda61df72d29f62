"""What a data set can carry: the channels, the split of the evaluation, and the cost of a training."""

from dataclasses import dataclass
from typing import cast

import polars as pl

from recmesh.dataset import DataSet
from recmesh.dataset.times import DAY_MS
from recmesh.profiling.model import Ability, Cost, FieldProfile, Repeats
from recmesh.profiling.times import WEEK_MS

MIN_RETURNING_SHARE, MIN_RETURNING = 0.5, 63
"""A split by date needs this share and this number of returning users: training hides a fifth of them, and evaluates on
at least 50 lists."""

MIN_SPAN_DAYS = 7
FEW_LISTS = 1_000
"""With fewer lists than this, the ranker has no deep part, and training needs less memory."""

PARTS = 16
MANY_ACTIONS = 4_000_000
"""With more actions than this, pairs are counted in `PARTS` parts of the users, to save memory."""


def repeats_of(data: DataSet) -> Repeats:
    """Count the pairs of users and items, and those with actions at several times."""
    keys = data.actions.lazy().select(
        user=pl.col("user_id").to_physical(), item=pl.col("sku_id").to_physical(), time="time"
    )
    parts = PARTS if data.actions.height > MANY_ACTIONS else 1
    pairs = repeated = 0
    for part in range(parts):
        own = keys.filter(pl.col("user") % parts == part).group_by("user", "item")
        several = own.agg(several=pl.col("time").min() < pl.col("time").max())
        counts = several.select(pl.len(), pl.col("several").sum()).collect()
        pairs, repeated = pairs + int(counts[0, 0]), repeated + int(counts[0, 1])
    return Repeats(allowed=data.schema.repeats, pairs=pairs, repeated=repeated / max(pairs, 1))


@dataclass(frozen=True)
class Evaluation:
    """How training will probably split the data to evaluate on (docs/datasets.md has the rule).

    Attributes:
        by_date: Whether it is by date, and why.
        lists: The number of lists of candidates that training makes for all its cut-offs.
    """

    by_date: Ability
    lists: int


def evaluation_of(data: DataSet, span: tuple[int, int] | None) -> Evaluation:
    """Predict the split.

    Args:
        data: The data set.
        span: See `usual_span`; None without actions or times.
    """
    users, several = data.actions["user_id"].n_unique(), 2 if data.schema.repeats else 1
    if span is None:
        why = "there are no times" if users else "there are no actions"
        return Evaluation(Ability(name="split by date", exists=False, why=why), _lists_by_position(users, several))
    first, last = span
    cutoff = last - min((last - first) // 4, 4 * WEEK_MS)
    spans = data.actions.group_by(pl.col("user_id").to_physical()).agg(
        first=pl.col("time").min(), last=pl.col("time").max()
    )
    active = spans.filter(pl.col("last") >= cutoff)
    returning = active.filter(pl.col("first") < cutoff).height
    share = returning / max(active.height, 1)
    shown = f"{active.height:,} users active in the last quarter (at most four weeks)"
    why = f"{share:.0%} of the {shown} were active earlier"
    exists = share >= MIN_RETURNING_SHARE
    if last - first < MIN_SPAN_DAYS * DAY_MS:
        exists, why = False, "the actions span less than a week"
    elif exists and returning < MIN_RETURNING:
        exists, why = False, f"{why}: too few to evaluate on"
    lists = _lists_by_date(active.height, returning, several) if exists else _lists_by_position(users, several)
    return Evaluation(Ability(name="split by date", exists=exists, why=why), lists)


def _lists_by_date(active: int, returning: int, several: int) -> int:
    """Return the number of lists of 16 cut-offs: of known users, and of those who are hidden as new ones.

    With repeats, each known user has two lists: of new items, and of all.
    """
    known, hidden = round(returning * 0.8), round(active * 0.2)
    return several * (15 * min(known, 600) + min(known, 1_500)) + 15 * min(hidden, 600) + min(hidden, 1_500)


def _lists_by_position(users: int, several: int) -> int:
    """Return the number of lists of three windows of known users, and of five that hide a fifth of the users."""
    known, hidden = 2 * min(users, 600) + min(users, 1_500), 4 * min(users // 5, 600) + min(users // 5, 1_500)
    return several * known + hidden


def channels_of(data: DataSet, fields: tuple[FieldProfile, ...], repeats: Repeats) -> tuple[Ability, ...]:
    """Say which channels training can fit, and for whom."""
    several, inactive = _users_with_several_items(data), data.items.height - data.actions["sku_id"].n_unique()
    users = [field.name for field in fields if field.side == "user" and field.model_input]
    items = [field.name for field in fields if field.side == "item" and field.model_input]
    known = "users by their history" + (f" and by {', '.join(users)}" if users else "; new users by popularity alone")
    about = f"items by their actions{' and by ' + ', '.join(items) if items else ' alone'}"
    return (
        Ability(name="two_tower", exists=True, why=f"{known}; {about}"),
        Ability(
            name="neighbours",
            exists=several > 0,
            why=f"{several:.0%} of the users with actions have at least two different items",
        ),
        Ability(
            name="popular", exists=True, why=f"by {', '.join(users)}" if users else "the same list for all new users"
        ),
        Ability(
            name="bought_before",
            exists=repeats.allowed and repeats.repeated > 0,
            why=(
                f"{repeats.repeated:.1%} of the pairs of a user and an item have actions at several times"
                if repeats.allowed
                else "schema.yaml says repeats: false"
            ),
        ),
        Ability(
            name="new",
            exists=True,
            why=f"{inactive:,} items without actions, and recent items with few users"
            + (f", by {', '.join(items)}" if items else "; without fields, they all look alike"),
        ),
        _trending(data),
    )


def _trending(data: DataSet) -> Ability:
    fine = data.schema.action.time is not None and bool((data.actions["time"] % DAY_MS != 0).any())
    return Ability(name="trending", exists=fine, why=f"the actions have {'a' if fine else 'no'} time of day")


def cost_of(lists: int, users: int, items: int, actions: int) -> Cost:
    """Estimate what training needs on two cores. docs/datasets.md documents the formula and what it was fitted to."""
    base = 1_400 if lists >= FEW_LISTS else 750
    memory = base + 0.086 * lists + 270e-6 * actions + 2.4e-3 * items + 0.5e-3 * users
    seconds = 30 + 3.4e-3 * lists + 40e-6 * actions + 1.1e-3 * items
    return Cost(memory_mib=_to_two_digits(memory), seconds=_to_two_digits(seconds))


def _to_two_digits(number: float) -> int:
    return int(float(f"{number:.2g}"))


def _users_with_several_items(data: DataSet) -> float:
    items = data.actions.group_by(pl.col("user_id").to_physical()).agg(
        several=pl.col("sku_id").to_physical().min() < pl.col("sku_id").to_physical().max()
    )
    return cast(float, items["several"].mean() or 0.0)
