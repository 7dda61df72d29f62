"""How deep each channel goes and what it weighs in the merge, by segment.

Popular items, neighbours and the user's own items always come in depth: they carry a list on every data set tried, even
where one moment's figures say otherwise. The two-tower channel does so where it is a match for them; where it is not,
what it adds beyond its head is mostly noise to the ranker. The weights are those that make the best merged list: it
decides which candidates are cut, and is what is served where the ranker is not.
"""

from collections.abc import Mapping, Sequence

from jobs.train.data.rows import Retrieved
from jobs.train.selection.objective import WORTH, clear, worth
from recmesh.evaluation import Decision, metrics, per_user
from recmesh.features.spec import Array, Channel
from recmesh.kernels import Scratch
from recmesh.retrieval import merge

STRONG, WEAK = Channel(weight=1.0, depth=180), Channel(weight=0.5, depth=50)
_TWO_TOWER = "two_tower"
_NEAR = 0.85
_FACTORS = (0.5, 2.0)
_ROUNDS = 4


def quotas(
    found: Sequence[Retrieved], names: Sequence[str], size: int, scratch: Scratch
) -> tuple[dict[str, Channel], tuple[Decision, ...]]:
    """The channels' depths and weights from what they found for some users, and how each was decided. `size`: of the
    merged list.

    The two-tower channel is a match when its recall@100 comes near the best one's.
    """
    reach = {name: metrics((one.channels[name].items, one.wanted) for one in found)["recall@100"] for name in names}
    match = reach[_TWO_TOWER] >= _NEAR * max(reach.values())
    depth = Decision(
        what="quota of the two-tower channel",
        chosen="as deep as the others" if match else f"the best {WEAK.depth}",
        tried=reach,
        rule=f"as deep as the others where its recall@100 on the first window is at least {_NEAR:g} of the best one's",
    )
    usual = {name: WEAK if name == _TWO_TOWER and not match else STRONG for name in names}
    weighed, weights = _weighed(found, usual, size, scratch)
    return weighed, (depth, weights)


def _weighed(
    found: Sequence[Retrieved], usual: Mapping[str, Channel], size: int, scratch: Scratch
) -> tuple[dict[str, Channel], Decision]:
    """One weight after the other is doubled or halved for as long as that clearly makes better lists."""

    def figures(channels: Mapping[str, Channel]) -> Array:
        return worth(per_user((merge(one.channels, channels, size, scratch).items, one.wanted) for one in found))

    chosen, best = dict(usual), figures(usual)
    tried = {_spelled(chosen): float(best.mean())}
    for _ in range(_ROUNDS):
        before = chosen
        for name in usual:
            for factor in _FACTORS:
                other = chosen | {name: chosen[name].model_copy(update={"weight": chosen[name].weight * factor})}
                reached = figures(other)
                if clear(reached - best):
                    chosen, best = other, reached
                    tried[_spelled(chosen)] = float(best.mean())
        if chosen is before:
            break
    rule = f"each step is worth more on the first window by more than its error: {WORTH}"
    return chosen, Decision(what="weights of the merge", chosen=_spelled(chosen), tried=tried, rule=rule)


def _spelled(channels: Mapping[str, Channel]) -> str:
    return ", ".join(f"{name} {one.weight:g}" for name, one in channels.items())
