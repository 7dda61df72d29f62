"""What the client takes and returns: frozen dataclasses without protobuf."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class History:
    """A user's actions, newest first, as columns of equal length: entry k of each column belongs to action k.

    Attributes:
        sku_ids: The items.
        times: Milliseconds since 1970-01-01 UTC; 0 means unknown.
        types: Types of action, such as `"order"`.
        values: Values of the actions; 1 if the data set has none.
        older_sku_ids: The distinct items of earlier actions, of which no details are kept.

    Example:
        >>> History(("99654",), (1_700_000_000_000,), ("order",), (1.0,)).sku_ids
        ('99654',)
    """

    sku_ids: tuple[str, ...] = ()
    times: tuple[int, ...] = ()
    types: tuple[str, ...] = ()
    values: tuple[float, ...] = ()
    older_sku_ids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class User:
    """A user, known by id or (with an empty `user_id`) by profile alone.

    Attributes:
        user_id: The id.
        profile: The profile fields that are set.
        history: The recent actions.

    Example:
        >>> User(profile={"age": "5.0", "city": "120.0"}).user_id
        ''
    """

    user_id: str = ""
    profile: Mapping[str, str] = field(default_factory=dict)
    history: History = History()


@dataclass(frozen=True, slots=True)
class Item:
    """An item.

    Attributes:
        sku_id: The id.
        fields: The fields that are set.
        rank_score: The score by which a recommendation is ordered; 0 elsewhere.

    Example:
        >>> Item("99654", {"cate": "70"}).fields["cate"]
        '70'
    """

    sku_id: str
    fields: Mapping[str, str] = field(default_factory=dict)
    rank_score: float = 0.0


@dataclass(frozen=True, slots=True)
class Items:
    """The answer of cm.

    Attributes:
        found: The items that exist, in the order of the request.
        missing: The requested ids that do not exist.

    Example:
        >>> Items((Item("99654"),), ("12048",)).missing
        ('12048',)
    """

    found: tuple[Item, ...]
    missing: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Candidate:
    """An item that recall proposes.

    Attributes:
        sku_id: The id.
        score: The merged score.
        channels: The score in each channel that proposed the item.

    Example:
        >>> Candidate("99654", 0.5, {"popular": 9.0}).channels["popular"]
        9.0
    """

    sku_id: str
    score: float
    channels: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Candidates:
    """The answer of recall.

    Attributes:
        candidates: The candidates, best first.
        release: The release that proposed them.
        degraded: The channels that did not answer.

    Example:
        >>> Candidates((), "r1", ("two_tower",)).degraded
        ('two_tower',)
    """

    candidates: tuple[Candidate, ...]
    release: str
    degraded: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Scores:
    """The answer of rank.

    Attributes:
        by_sku_id: The score of each item, in the order of the answer.
        release: The release that scored them.
        degraded: The backends that did not answer.

    Example:
        >>> Scores({"99654": 0.5}, "r1", ()).by_sku_id["99654"]
        0.5
    """

    by_sku_id: Mapping[str, float]
    release: str
    degraded: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Missing:
    """Why an item is not in a list.

    Attributes:
        sku_id: The item.
        reason: What left it out: `"unknown"`, `"excluded"`, `"context"`, `"filter"`, `"history"`, `"not_proposed"`,
            `"rank"` or `"rule"`; `"listed"` if it is in the list. See docs/services.md.
        text: The same in words, with figures.

    Example:
        >>> Missing("99654", "excluded", "exclude_ids has it").reason
        'excluded'
    """

    sku_id: str
    reason: str
    text: str


@dataclass(frozen=True, slots=True)
class Recommendation:
    """The answer of `as`.

    Attributes:
        items: The items, best first.
        release: The release that recommended them.
        degraded: The stages that did not answer (`"um"`, `"recall"`, `"cm"`, `"rank"`), and parts of stages
            (`"recall:two_tower"`).
        reasons: For item k, the score in each channel that proposed it; empty unless requested.
        unknown_user: Whether no user with the requested id is stored. The profile in the request was used instead, or
            popular items.
        next_cursor: Continues the list, with `Mesh.next_page`; empty after its last items, and unless requested.
        effects: For item k, the groups of features that moved its score most, such as `"history"`, and how much; empty
            unless an explanation is requested.
        missing: Why the items of `explain_missing` are not in the list.
        rules: For item k, the names of the rules that moved it, in the order in which they were applied; empty unless
            an explanation is requested.

    Example:
        >>> Recommendation((Item("99654"),), "r1", ("rank",)).degraded
        ('rank',)
    """

    items: tuple[Item, ...]
    release: str
    degraded: tuple[str, ...]
    reasons: tuple[Mapping[str, float], ...] = ()
    unknown_user: bool = False
    next_cursor: str = ""
    effects: tuple[Mapping[str, float], ...] = ()
    missing: tuple[Missing, ...] = ()
    rules: tuple[tuple[str, ...], ...] = ()


@dataclass(frozen=True, slots=True)
class Action:
    """What a user did with an item.

    Attributes:
        user_id: The user; created if it is not stored.
        sku_id: The item; it need not be known.
        time: Milliseconds since 1970-01-01 UTC, as in `History.times`, at most a day ahead; None means the time of
            arrival.
        type: Type of action, such as `"order"`; empty means the type with the greatest weight in the data set.
        value: Rating or amount; None means 1.
        event_id: Unique among the actions of the user, up to 128 bytes. Of actions with the same id, the first one
            counts. If it is empty, `Mesh.record` chooses one.

    Example:
        >>> Action("8888", "99654", time=1_700_000_000_000, type="order").event_id
        ''
    """

    user_id: str
    sku_id: str
    time: int | None = None
    type: str = ""
    value: float | None = None
    event_id: str = ""


@dataclass(frozen=True, slots=True)
class Rejected:
    """An entry that feed did not accept.

    Attributes:
        position: Its position among the entries that the caller gave, from 0.
        reason: Why.

    Example:
        >>> Rejected(3, "sku_id is empty").position
        3
    """

    position: int
    reason: str


@dataclass(frozen=True, slots=True)
class Recorded:
    """The answer of feed.

    Attributes:
        accepted: Number of entries that are in feed's log, those that were there before included.
        repeated: Number of accepted entries that were in the log before, by their `event_id`.
        rejected: The others, in the order of the caller's entries.

    Example:
        >>> Recorded(1, 0, (Rejected(1, "sku_id is empty"),)).accepted
        1
    """

    accepted: int
    repeated: int
    rejected: tuple[Rejected, ...]
