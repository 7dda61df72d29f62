"""The feature spec: the settings that fix the inputs of a release's models. It is small JSON without arrays."""

from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, ValidationError

from recmesh.errors import ReleaseError
from recmesh.kernels import Floats as Floats
from recmesh.kernels import Ints as Ints
from recmesh.kernels import Longs as Longs
from recmesh.values import ValueRule

Mask = npt.NDArray[np.bool_]
Array = npt.NDArray[Any]

DAY_MS = 86_400_000
"""A day in milliseconds."""

Segment = Literal["cold", "novel", "repeat"]

SEGMENTS: tuple[Segment, ...] = ("cold", "novel", "repeat")
"""The segments of requests: `cold` has no history, `novel` has a history and wants only new items, `repeat` has a
history and allows items from it. The index of a segment is the ranker's number for it."""

Kind = Literal["categorical", "numeric", "multi"]

CHANNELS = ("two_tower", "neighbours", "popular", "bought_before", "new", "trending")
"""The channels of recall, in the order in which they are merged."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Field(_Frozen):
    """A declared field of users or items.

    Attributes:
        name: The name in the data set.
        kind: `multi` is a categorical field with several values, joined by `separator`.
        separator: Between the values of a multi field.
        width: The number of codes; 1 unless the field is multi.
        bounds: The inner edges of a numeric field's quantile buckets, in the unit of the field.
        center: The mean of a numeric field's signed logarithm.
        scale: Its standard deviation.
    """

    name: str
    kind: Kind
    separator: str = "|"
    width: int = 1
    bounds: tuple[float, ...] = ()
    center: float = 0.0
    scale: float = 1.0


class Popularity(_Frozen):
    """A measure of popularity: a weighted count of actions.

    Attributes:
        name: Used in the name of the dense input.
        days: Actions are weighted by exp(-age / days); None means no decay.
        first_only: Count only a user's first action on an item.
        late: Weight an action by 0.7 to the power of the number of the user's later action times, not by its age.
        power: Weight an action by the number of the user's actions to the power of -`power`: 0 counts actions, 1 gives
            all users the same weight.
        listed: Whether the channel `popular` has a list of the best items by this measure.
    """

    name: str
    days: float | None = None
    first_only: bool = False
    late: bool = False
    power: float = 0.0
    listed: bool = True


class Channel(_Frozen):
    """The part of a channel in a merge.

    Attributes:
        weight: An item at a position counts weight / (RRF_CONSTANT + position). With weight 0, the items follow those
            of all other channels.
        depth: Only this many of the channel's best items take part.
    """

    weight: float = 1.0
    depth: int = 150


class Tower(_Frozen):
    """The shape of the two towers.

    Attributes:
        dim: The dimension of the vectors, the item bias included.
        history: How many of the newest distinct items the user tower reads.
    """

    dim: int = 33
    history: int = 100


class FeatureSpec(_Frozen):
    """All settings of a release's features.

    Attributes:
        version: The version of this format.
        as_of: The time in milliseconds up to which the release has seen actions; 0 if they have no times.
        repeats: Whether users of this data set act on the same item again.
        clock: Whether calendar time has a meaning. If not, recency is counted in a user's own action times.
        granularity: The resolution of the data's times in milliseconds.
        recency: The factor by which the weight of a history item falls with each later action time.
        user_fields: The fields of users, in the order of `User.codes`.
        item_fields: The fields of items.
        missing: Field values that mean "missing".
        action_weights: The weight of each action type.
        values: How the values of actions are understood; None if the data set has none.
        popularities: The measures of popularity.
        tower: The shape of the two towers.
        dense: The names of the ranker's dense inputs, in order.
        columns: The number of entries of each sparse input.
        neutral_logit: Stands in for the two-tower score where that is unknown.
        candidates: How many candidates the ranker is trained to order.
        channels: For each segment the channels that serve it.
        rankers: Whether the ranker orders the candidates of a segment. If not, they keep the order of the merge.
    """

    version: int = 1
    as_of: int
    repeats: bool
    clock: bool
    granularity: int = 1
    recency: float = 0.7
    user_fields: tuple[Field, ...] = ()
    item_fields: tuple[Field, ...] = ()
    missing: tuple[str, ...] = ("",)
    action_weights: dict[str, float]
    values: ValueRule | None = None
    popularities: tuple[Popularity, ...]
    tower: Tower = Tower()
    dense: tuple[str, ...] = ()
    columns: tuple[int, ...] = ()
    neutral_logit: float = 0.0
    candidates: int = 400
    channels: dict[Segment, dict[str, Channel]] = {}
    rankers: dict[Segment, bool] = {}

    @property
    def action_types(self) -> tuple[str, ...]:
        """The action types; `History.types` holds indices into them."""
        return tuple(self.action_weights)

    def segment(self, has_history: bool, new_only: bool) -> Segment:
        """Return the segment of a request. With a data set without repeats, every request wants only new items."""
        if not has_history:
            return "cold"
        return "novel" if new_only or not self.repeats else "repeat"

    def save(self, path: Path) -> None:
        """Write the spec as JSON."""
        path.write_text(self.model_dump_json(indent=1), encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> "FeatureSpec":
        """Read what `save` wrote.

        Raises:
            ReleaseError: If the file is missing, damaged or of another version.
        """
        try:
            return cls.model_validate_json(path.read_bytes())
        except (OSError, ValidationError) as error:
            raise ReleaseError(f"{path}: not a feature spec of this version ({error}); train again") from error
