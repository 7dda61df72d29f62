"""What the client takes and gives: plain frozen values, no protobuf."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class History:
    """What a user did, newest first, in columns of equal length: entry k of each is action k.

    `times` are milliseconds since 1970-01-01 UTC; `values` are 1 where the data set has none. `older_sku_ids` are the
    distinct items acted on before, without detail.
    """

    sku_ids: tuple[str, ...] = ()
    times: tuple[int, ...] = ()
    types: tuple[str, ...] = ()
    values: tuple[float, ...] = ()
    older_sku_ids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class User:
    """A user: known by id, or (with `user_id` empty) by profile alone. `profile` holds the fields that are set."""

    user_id: str = ""
    profile: Mapping[str, str] = field(default_factory=dict)
    history: History = History()


@dataclass(frozen=True, slots=True)
class Item:
    """An item and its fields that are set; `rank_score` is 0 outside a recommendation."""

    sku_id: str
    fields: Mapping[str, str] = field(default_factory=dict)
    rank_score: float = 0.0


@dataclass(frozen=True, slots=True)
class Items:
    """cm's answer: the items that exist, in the order asked for, and the ids that do not."""

    found: tuple[Item, ...]
    missing: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Candidate:
    """An item that recall proposes; `channels` maps each channel that gave it to its score there."""

    sku_id: str
    score: float
    channels: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Candidates:
    """recall's answer, best first; `degraded` names the channels that did not answer."""

    candidates: tuple[Candidate, ...]
    release: str
    degraded: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Scores:
    """rank's answer: a score an item, in the order that rank gave; `degraded` names backends that did not answer."""

    by_sku_id: Mapping[str, float]
    release: str
    degraded: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Recommendation:
    """as's answer, best first. `reasons[k]` maps channels to their scores of item k; it is empty unless asked for.

    `degraded` names the stages that did not answer (`"um"`, `"recall"`, `"cm"`, `"rank"`) and parts of them
    (`"recall:two_tower"`).
    """

    items: tuple[Item, ...]
    release: str
    degraded: tuple[str, ...]
    reasons: tuple[Mapping[str, float], ...] = ()
