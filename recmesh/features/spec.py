"""FeatureSpec: what turns raw fields and histories into the inputs of the models of one release. JSON, small, without
arrays."""

from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, ValidationError

from recmesh.errors import ReleaseError
from recmesh.kernels import Floats as Floats
from recmesh.kernels import Ints as Ints
from recmesh.kernels import Longs as Longs

Mask = npt.NDArray[np.bool_]
Array = npt.NDArray[Any]

DAY = 86_400_000
"""Milliseconds of a day."""

Segment = Literal["cold", "novel", "repeat"]

SEGMENTS: tuple[Segment, ...] = ("cold", "novel", "repeat")
"""No history; a history, only new items wanted; a history, repeats welcome. The index is the ranker's segment
number."""

Kind = Literal["categorical", "numeric", "multi"]

CHANNELS = ("two_tower", "neighbours", "popular", "bought_before")
"""The channels of recall, in the order in which they are merged."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Field(_Frozen):
    """A declared field. `bounds`: inner edges of a numeric field's quantile buckets, in the field's own unit.

    `center` and `scale` standardise a numeric field's logarithm. `width`: codes a value has at most (1 unless multi).
    """

    name: str
    kind: Kind
    separator: str = "|"
    width: int = 1
    bounds: tuple[float, ...] = ()
    center: float = 0.0
    scale: float = 1.0


class Popularity(_Frozen):
    """One popularity of the statistics: actions weighted by exp(-age / days), of all actions or of first ones only.

    `days` None: no decay. `late`: weighted by .7 to the number of the user's later moments, instead of by the clock.
    `power`: weighted by how often the user acted, to the power of minus that: 0 counts actions, 1 counts users alike.
    `listed`: the channel of popular items has a list of it.
    """

    name: str
    days: float | None = None
    first_only: bool = False
    late: bool = False
    power: float = 0.0
    listed: bool = True


class Channel(_Frozen):
    """A channel's part in a merge: at most `depth` of its best items, each worth `weight` / (RRF constant +
    position)."""

    weight: float = 1.0
    depth: int = 150


class Tower(_Frozen):
    """Shape of the two towers. `dim` counts the bias; `history` is the number of newest distinct items that the user
    tower reads."""

    dim: int = 33
    history: int = 100


class FeatureSpec(_Frozen):
    """All that is fixed about a release's features.

    `clock`: whether calendar time means something here (else recency is counted in steps of the user's own order).
    `granularity`: milliseconds between the moments that the times of the data distinguish. `recency`: weight of a
    history
    item for each step back. `list_scale` and so on are not here: weights live in the models. `dense`: names of the
    ranker's
    dense inputs, in order. `columns`: number of entries of each sparse input. `neutral_logit`: what the two-tower
    score is
    taken for where it is not known. `rankers`: segments whose candidates the ranker orders; the others keep the
    merged order.
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
        return tuple(self.action_weights)

    def segment(self, has_history: bool, new_only: bool) -> Segment:
        """The segment of a request. Data without repeats only ever wants what is new."""
        if not has_history:
            return "cold"
        return "novel" if new_only or not self.repeats else "repeat"

    def save(self, path: Path) -> None:
        path.write_text(self.model_dump_json(indent=1), encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> "FeatureSpec":
        """Raises ReleaseError when the file is missing or of another version."""
        try:
            return cls.model_validate_json(path.read_bytes())
        except (OSError, ValidationError) as error:
            raise ReleaseError(f"{path}: not a feature spec of this version ({error}); train again") from error
