"""The depth of each channel and its weight in the merge, by segment.

Popular items, neighbours and the user's own items always get the full depth, because they are valuable on every data
set tried, even if the figures of one cut-off say otherwise. The two-tower channel gets it if its recall comes near
theirs; otherwise its items beyond the first ones are mostly noise for the ranker. New items get a few places. The
weights of the other channels maximise the objective of the merged list, which decides the candidates that are cut off,
and which is served if the ranker is not.
"""

from collections.abc import Mapping, Sequence

from jobs.train.data.rows import Retrieved
from jobs.train.selection.objective import OBJECTIVE, exceeds_standard_error, objective, standard_error
from recmesh.contract import NEW, TRENDING, TWO_TOWER
from recmesh.evaluation import Decision, metrics, per_user
from recmesh.features.spec import Array, Channel
from recmesh.kernels import Scratch
from recmesh.retrieval import Scored, merge
from recmesh.retrieval.channels import trending

STRONG, WEAK = Channel(weight=1.0, depth=180), Channel(weight=0.5, depth=50)

NEWCOMERS = Channel(weight=0, depth=20)
"""The quota of new items: the last places of the merged list, from where the ranker may lift them. It is fixed, because
past actions show little of what users would do with items that no list contained: these candidates are the chance to
find out."""

COMPARABLE_RECALL = 0.85
"""The two-tower channel is strong if its recall@100 is at least this part of the best channel's."""

TRENDING_WEIGHTS = (0.25, 0.5, 1.0, 2.0)
WEIGHT_FACTORS = (0.5, 2.0)
MAX_ROUNDS = 4


def quotas(
    found: Sequence[Retrieved], names: Sequence[str], size: int, scratch: Scratch, rates: Scored
) -> tuple[dict[str, Channel], tuple[Decision, ...]]:
    """Choose depths and weights.

    Args:
        found: The results of the channels for some users.
        names: The channels.
        size: Length of the merged list.
        scratch: Memory for the merge.
        rates: The items that are acted on most at the cut-off, for the channel `trending`; empty if the data has none.

    Returns:
        The channels, and the decisions about depth and weights. `trending` is one of the channels, and has a decision,
        only if it takes part: otherwise the release is the same as from data without times of day.
    """
    recall = {
        name: metrics((user.channels[name].items, user.wanted) for user in found)["recall@100"]
        for name in names
        if name != NEW
    }
    strong = recall[TWO_TOWER] >= COMPARABLE_RECALL * max(recall.values())
    depth = Decision(
        what="quota of the two-tower channel",
        chosen="as deep as the others" if strong else f"the best {WEAK.depth}",
        tried=recall,
        rule=(
            "as deep as the others if its recall@100 in the first window is at least "
            f"{COMPARABLE_RECALL:g} of the best channel's"
        ),
    )
    quota = {NEW: NEWCOMERS, TWO_TOWER: STRONG if strong else WEAK}
    initial = {name: quota.get(name, STRONG) for name in names}
    channels, weights = _weighted(found, initial, size, scratch)
    with_trending, decision = _with_trending(found, channels, size, scratch, rates)
    return with_trending, (depth, weights) if decision is None else (depth, weights, decision)


def _with_trending(
    found: Sequence[Retrieved], channels: dict[str, Channel], size: int, scratch: Scratch, rates: Scored
) -> tuple[dict[str, Channel], Decision | None]:
    """Add trending items with the best of some weights if that improves the lists by more than two standard errors.

    The list of a cut-off is the same for all users, so their gains depend on each other: one standard error is too few.
    """
    if not len(rates.items):
        return channels, None
    before = objective(per_user((merge(user.channels, channels, size, scratch).items, user.wanted) for user in found))
    tried, chosen, best = {"without": float(before.mean())}, channels, 0.0
    for weight in TRENDING_WEIGHTS:
        quota = Channel(weight=weight, depth=WEAK.depth)
        other = {**channels, TRENDING: quota}
        after = objective(
            per_user(
                (merge(user.channels | _trending(user, rates, quota), other, size, scratch).items, user.wanted)
                for user in found
            )
        )
        tried[f"{weight:g}"] = float(after.mean())
        gains = after - before
        if gains.mean() > max(best, 2 * standard_error(gains)):
            chosen, best = other, float(gains.mean())
    if chosen is channels:
        return channels, None
    rule = f"the best {OBJECTIVE} in the first window, if it is higher by more than two standard errors"
    weight = chosen[TRENDING].weight
    return chosen, Decision(what="weight of trending items", chosen=f"{weight:g}", tried=tried, rule=rule)


def _trending(user: Retrieved, rates: Scored, quota: Channel) -> dict[str, Scored]:
    return {TRENDING: trending(rates, user.excluded, quota.depth)}


def _weighted(
    found: Sequence[Retrieved], initial: Mapping[str, Channel], size: int, scratch: Scratch
) -> tuple[dict[str, Channel], Decision]:
    """Double or halve one weight after the other while that improves the lists by more than the standard error."""

    def evaluated(channels: Mapping[str, Channel]) -> Array:
        return objective(per_user((merge(user.channels, channels, size, scratch).items, user.wanted) for user in found))

    chosen, best = dict(initial), evaluated(initial)
    tried = {_description(chosen): float(best.mean())}
    for _ in range(MAX_ROUNDS):
        before = chosen
        for name in (name for name in initial if name != NEW):
            for factor in WEIGHT_FACTORS:
                other = chosen | {name: chosen[name].model_copy(update={"weight": chosen[name].weight * factor})}
                reached = evaluated(other)
                if exceeds_standard_error(reached - best):
                    chosen, best = other, reached
                    tried[_description(chosen)] = float(best.mean())
        if chosen is before:
            break
    rule = f"each step raises {OBJECTIVE} in the first window by more than one standard error"
    return chosen, Decision(what="weights of the merge", chosen=_description(chosen), tried=tried, rule=rule)


def _description(channels: Mapping[str, Channel]) -> str:
    return ", ".join(f"{name} {channel.weight:g}" for name, channel in channels.items())
