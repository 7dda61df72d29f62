"""Lists for scenarios: what goes with some items (`related`, `basket`), and what a user acts on again (`repeat`).

Training writes `scenarios.json` and `scenarios.npz` into the features of a release. Older releases have neither.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args
from zipfile import BadZipFile

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from recmesh import kernels
from recmesh.errors import ReleaseError
from recmesh.features.spec import DAY_MS, Channel, Floats, Ints, Longs, Mask
from recmesh.features.statistics import Lists, Statistics
from recmesh.features.user import User
from recmesh.kernels import Scratch
from recmesh.retrieval.scored import Scored, best

ListScenario = Literal["related", "basket"]

LIST_SCENARIOS: tuple[ListScenario, ...] = get_args(ListScenario)
"""The scenarios that refer to context items. Each has lists of the items that go with an item."""

LIST_CHANNELS: dict[ListScenario, str] = {"related": "viewed_with", "basket": "bought_with"}
"""The channels of these lists."""

SCENARIO_FILE, LISTS_FILE = "scenarios.json", "scenarios.npz"

REPEAT_INPUTS = ("count", "share", "days", "steps", "recency", "repeat_rate", "popularity", "due", "overdue", "early")
"""What the order of `repeat` depends on, for each item of a history: see `repeat_inputs`."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Formula(_Frozen):
    """Makes scores of counts: together / (source ** (1 - exponent) * other ** exponent + shrinkage).

    Attributes:
        exponent: 0 gives conditional probabilities, 0.5 cosines, and 1 lifts.
        shrinkage: Lowers the scores of rare items.
    """

    exponent: float
    shrinkage: float

    def __call__(self, together: Floats, source: np.float32, others: Floats) -> Floats:
        """Return the scores float32 of the items that go with a source item.

        Args:
            together: float32, how often each goes with the source item.
            source: How often the source item occurs.
            others: float32, how often each of the others occurs.
        """
        size = source ** (1 - self.exponent) * others**self.exponent
        scores: Floats = (together / (size + self.shrinkage)).astype(np.float32)
        return scores


class ListSettings(_Frozen):
    """How the lists of a scenario were made, and the quotas of its channels."""

    groups: str
    formula: Formula
    channels: dict[str, Channel]


class RepeatSettings(_Frozen):
    """The order of `repeat`: a weight for each of `REPEAT_INPUTS`. Without weights, the channel `bought_before`."""

    weights: tuple[float, ...] = ()


class ScenarioSettings(_Frozen):
    """The settings of all scenarios of a release."""

    version: int = 1
    lists: dict[ListScenario, ListSettings] = {}
    repeat: RepeatSettings | None = None


@dataclass(frozen=True)
class Scenarios:
    """What a release knows of scenarios.

    Attributes:
        settings: The settings.
        lists: The lists of each scenario that has settings.
        intervals: float32 [items + 1], days between two actions of a user on the item; see `repeat_inputs`.
    """

    settings: ScenarioSettings = field(default_factory=ScenarioSettings)
    lists: Mapping[ListScenario, Lists] = field(default_factory=dict)
    intervals: Floats = field(default_factory=lambda: np.empty(0, np.float32))

    def save(self, features: Path) -> None:
        """Write both files into the features of a release."""
        arrays: dict[str, object] = {"intervals": self.intervals}
        for name, lists in self.lists.items():
            arrays |= {f"{name}_start": lists.start, f"{name}_items": lists.items, f"{name}_scores": lists.scores}
        np.savez(features / LISTS_FILE, **arrays)  # type: ignore[arg-type]
        (features / SCENARIO_FILE).write_text(self.settings.model_dump_json(indent=1), encoding="utf-8")

    @classmethod
    def load(cls, features: Path, items: int) -> "Scenarios":
        """Read what `save` wrote; nothing from a release without these files.

        Args:
            features: The features of the release.
            items: The number of items of its catalogue.

        Raises:
            ReleaseError: If a file is damaged, or does not fit the catalogue.
        """
        path = features / SCENARIO_FILE
        if not path.exists():
            return cls()
        try:
            settings = ScenarioSettings.model_validate_json(path.read_bytes())
            with np.load(features / LISTS_FILE) as arrays:
                lists = {
                    name: Lists(*(arrays[f"{name}_{part}"] for part in ("start", "items", "scores")))
                    for name in settings.lists
                }
                intervals = arrays["intervals"]
        except (OSError, EOFError, ValueError, KeyError, BadZipFile, ValidationError) as error:
            raise ReleaseError(f"{path}: damaged scenarios ({error}); train again") from error
        fit = all(found.fit(items) for found in lists.values()) and intervals.shape == (items + 1,)
        weights = settings.repeat.weights if settings.repeat else ()
        if not fit or len(weights) not in (0, len(REPEAT_INPUTS)):
            raise ReleaseError(f"{path}: damaged release (the scenarios do not fit the catalogue); train again")
        return cls(settings, lists, intervals)


def listed_with(
    lists: Lists, context: Ints, exclude: Ints, depth: int, scratch: Scratch, allowed: Mask | None = None
) -> Scored:
    """Return the items that go with some items: the sums of their scores in the lists of these.

    Args:
        lists: The lists.
        context: int32, distinct catalogue items.
        exclude: int32, items to leave out.
        depth: How many items to return at most.
        scratch: Scratch memory.
        allowed: For each item of the catalogue whether a filter lets it pass; None without a filter.
    """
    ones = np.ones(len(context), np.float32)
    votes = kernels.votes(lists.start, lists.items, lists.scores, context, ones, ones, lists.longest, scratch)
    return best(votes.items, votes.all, depth, scratch, exclude, above=0, allowed=allowed)


def repeat_inputs(user: User, statistics: Statistics, intervals: Floats) -> Floats:
    """Return what the order of `repeat` depends on, float32 [items of the history, len(REPEAT_INPUTS)].

    They are logarithms, except the shares and the recency:

        count, share            how often the user acted on the item, also as a share of the user's visits
        days, steps, recency    how long ago: by the calendar, in visits, and the weight that falls with each visit
        repeat_rate, popularity of the item among all users
        due, overdue, early     the age of the last action relative to the interval after which the item is acted on
                                again: the user's own if there are two actions, mixed with the mean of the item

    Args:
        user: The user.
        statistics: The statistics of the release.
        intervals: float32 [items + 1], the mean interval of each item in days.
    """
    owned, history = user.owned, user.history
    interval = intervals[owned.items]
    first = _first_days(user.now, history.items, history.times, owned.items)
    # The item's mean counts as one interval of the user's own.
    interval = (interval + np.maximum(first - owned.days, 0)) / np.maximum(owned.counts, 1)
    due = np.log1p(owned.days) - np.log1p(interval)
    visits = np.float32(max(user.distinct_times, 1))
    columns = (
        np.log(np.maximum(owned.counts, 1)),
        owned.counts / visits,
        np.log1p(owned.days),
        np.log1p(owned.steps),
        owned.weights,
        statistics.repeat_rate[owned.items],
        statistics.popularity[owned.items, 0],
        due,
        np.maximum(due, 0),
        np.minimum(due, 0) ** 2,
    )
    return np.stack(columns, 1).astype(np.float32)


def _first_days(now: int, items: Ints, times: Longs, owned: Ints) -> Floats:
    """Return the age in days of the oldest action on each owned item, float32. Histories are newest first."""
    listed = items >= 0
    known, last = np.unique(items[listed][::-1], return_index=True)
    oldest = times[listed][::-1][last]
    days: Floats = ((now - oldest[np.searchsorted(known, owned)]) / DAY_MS).astype(np.float32)
    return days
