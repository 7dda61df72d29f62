"""The held-out lists of one segment, from which the report is made."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from jobs.train.data.rows import Candidates
from jobs.train.data.windows import Window
from jobs.train.models.wide import Wide
from recmesh.evaluation import Decision
from recmesh.features.spec import Floats, Ints, Longs, Mask


@dataclass(frozen=True)
class Judged:
    """What the ranker made of the held-out lists of a segment, before the final fit includes them.

    Attributes:
        scores: For each list float32 [candidates], which give the order that is served.
        wide: The wide part behind the scores.
        used: bool [D], the inputs of the wide part.
        refit: Fits a wide part with fewer inputs (bool [D], a subset of `used`) to a part of the rows.
        decisions: What was chosen for the segment, and why.
    """

    scores: Sequence[Floats]
    wide: Wide
    used: Mask
    refit: Callable[[Mask], Wide]
    decisions: Sequence[Decision]


@dataclass(frozen=True)
class Observed:
    """The L held-out lists of a segment, and facts recorded while the statistics of the window were in memory.

    Attributes:
        window: The held-out window.
        found: The lists.
        others: By name of a baseline, its L lists of at most 100 items.
        owned: int64 [L], distinct items in the history.
        idle: float32 [L], days since the newest action.
        gaps: int64 [L], profile fields without a known value.
        information: float32 [items], -log2 of the share of users who acted on an item.
        head: bool [items], the most popular 1 %.
        incumbent: The L lists of the active release; None for users without a fair comparison.
    """

    window: Window
    found: Sequence[Candidates]
    others: dict[str, list[Ints]]
    owned: Longs
    idle: Floats
    gaps: Longs
    information: Floats
    head: Mask
    incumbent: Sequence[Ints | None]
