"""What a data set can carry: the channels, the split of the evaluation, and the cost of a training."""

import polars as pl

from recmesh.dataset import DataSet
from recmesh.profiling.model import Ability, Cost, FieldProfile, Repeats
from recmesh.profiling.times import DAY_MS, WEEK_MS, usual_span

MIN_RETURNING_SHARE, MIN_RETURNING = 0.5, 63
"""A split by date needs this share and this number of returning users: training hides a fifth of them, and evaluates on
at least 50 lists."""

MIN_SPAN_DAYS = 7
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


def split_of(data: DataSet) -> Ability:
    """Predict whether training splits by date or by position (docs/datasets.md has the rule)."""
    first, last = usual_span(data.actions["time"])
    cutoff = last - min((last - first) // 4, 4 * WEEK_MS)
    spans = data.actions.group_by(pl.col("user_id").to_physical()).agg(
        first=pl.col("time").min(), last=pl.col("time").max()
    )
    active = spans.filter(pl.col("last") >= cutoff)
    returning = active.filter(pl.col("first") < cutoff).height
    share = returning / max(active.height, 1)
    users = f"{active.height:,} users active in the last quarter (at most four weeks)"
    why = f"{share:.0%} of the {users} were active earlier"
    if last - first < MIN_SPAN_DAYS * DAY_MS:
        return Ability(name="split by date", exists=False, why="the actions span less than a week")
    if share >= MIN_RETURNING_SHARE and returning < MIN_RETURNING:
        return Ability(name="split by date", exists=False, why=f"{why}: too few to evaluate on")
    return Ability(name="split by date", exists=share >= MIN_RETURNING_SHARE, why=why)


def channels_of(data: DataSet, fields: tuple[FieldProfile, ...], repeats: Repeats) -> tuple[Ability, ...]:
    """Say which channels training can fit, and for whom."""
    several = _users_with_several_items(data)
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
    )


def cost_of(users: int, active_users: int, items: int, actions: int) -> Cost:
    """Estimate what training needs on two cores. docs/datasets.md documents the formula and what it was fitted to."""
    lists = min(active_users / 2_000, 1.0)
    memory = 2_000 + 1_800 * lists + 270e-6 * actions + 2.4e-3 * items + 0.5e-3 * users
    seconds = 45 + 110 * lists + 40e-6 * actions + 1.1e-3 * items
    return Cost(memory_mib=round(memory, -2), seconds=round(seconds, -1))  # type: ignore[arg-type]


def _users_with_several_items(data: DataSet) -> float:
    items = data.actions.group_by(pl.col("user_id").to_physical()).agg(
        several=pl.col("sku_id").to_physical().min() < pl.col("sku_id").to_physical().max()
    )
    return float(items["several"].mean() or 0.0)  # type: ignore[arg-type]
