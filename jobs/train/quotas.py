"""How deep each channel goes, by segment.

Popular items, neighbours and the user's own items always come in depth: they carry a list on every data set tried, even
where one moment's figures say otherwise. The two-tower channel does so where it is a match for them; where it is not,
what it adds beyond its head is mostly noise to the ranker.
"""

from collections.abc import Sequence

from jobs.train.rows import Retrieved
from recmesh.evaluation import Decision, metrics
from recmesh.features.spec import Channel

STRONG, WEAK = Channel(weight=1.0, depth=180), Channel(weight=0.5, depth=50)
_TWO_TOWER = "two_tower"
_NEAR = 0.85


def quotas(found: Sequence[Retrieved], names: Sequence[str]) -> tuple[dict[str, Channel], Decision]:
    """The channels' depths and weights from what they found for some users, and how that was decided.

    The two-tower channel is a match when its recall@100 comes near the best one's.
    """
    reach = {name: metrics((one.channels[name].items, one.wanted) for one in found)["recall@100"] for name in names}
    match = reach[_TWO_TOWER] >= _NEAR * max(reach.values())
    decision = Decision(
        what="quota of the two-tower channel",
        chosen="as deep as the others" if match else f"the best {WEAK.depth}, at weight {WEAK.weight:g}",
        tried=reach,
        rule=f"as deep as the others where its recall@100 on the first window is at least {_NEAR:g} of the best one's",
    )
    return {name: WEAK if name == _TWO_TOWER and not match else STRONG for name in names}, decision
