"""What the report is made of: the held-out lists of one segment, as the chain made them and as others would have."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from jobs.train.data.rows import Candidates
from jobs.train.data.windows import Window
from jobs.train.models.wide import Wide
from recmesh.evaluation import Decision
from recmesh.features.spec import Floats, Ints, Longs, Mask


@dataclass(frozen=True)
class Judged:
    """What the ranker made of a segment's held-out lists, before it is fitted on them as well.

    `scores`: for each list float32 a candidate, the order that is served. `wide`: the wide part behind them; `refit`
    gives the one of fewer inputs (bool [D]: those in use, a subset of `used`), fitted in the same way to a part of the
    rows. `decisions`: what was chosen on these lists, and why.
    """

    scores: Sequence[Floats]
    wide: Wide
    used: Mask
    refit: Callable[[Mask], Wide]
    decisions: Sequence[Decision]


@dataclass(frozen=True)
class Observed:
    """Taken down of a segment's held-out window while its statistics were in memory. Entry k is of list k.

    `others`: lists of at most 100 items by other means, by name. `owned` int64: distinct items of the history; `idle`
    float32: days since the newest action; `gaps` int64: profile fields without a known value. `information` float32
    [items]: -log2 of the share of users who acted on the item; `head` bool [items]: the most popular 1 %. `active`: the
    lists of the active release, None where it is not asked.
    """

    window: Window
    found: Sequence[Candidates]
    others: dict[str, list[Ints]]
    owned: Longs
    idle: Floats
    gaps: Longs
    information: Floats
    head: Mask
    active: Sequence[Ints | None]
