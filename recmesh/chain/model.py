"""What the chain is asked, and what it answers."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from recmesh.chain.cursor import Cursor
from recmesh.chain.missing import Missing
from recmesh.conditions import Condition
from recmesh.pb.user_info_pb2 import History, UserInfo
from recmesh.serving.stages import CandidateList, RequestUser, ScoreList


@dataclass(frozen=True, slots=True)
class Request:
    """A request for recommendations.

    Attributes:
        user_id: A known user, or one of `NO_USER_IDS`.
        profile: Sent with the request. Its fields take precedence over stored ones.
        size: Number of items in the answer.
        exclude: Ids of items that must not be in the answer.
        new_only: Whether to leave out items of the user's history.
        explain: Whether the answer contains reasons.
        record: Whether the answer keeps what it was made of.
        history: Replaces the stored history; empty for none.
        paged: Whether the answer contains the rest of the list, as a cursor.
        explain_missing: Items of which the answer says why they are not in the list.
        conditions: What every item of the answer must meet.
        scenario: What the list is for; empty means home.
        context: Ids of the items that the scenario refers to. They are not in the answer.
    """

    user_id: str
    profile: UserInfo
    size: int
    exclude: Sequence[str] = ()
    new_only: bool = False
    explain: bool = False
    record: bool = False
    history: History = field(default_factory=History)
    paged: bool = False
    explain_missing: Sequence[str] = ()
    conditions: Sequence[Condition] = ()
    scenario: str = ""
    context: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Item:
    """A recommended item.

    Attributes:
        sku_id: Its id.
        info: A serialized ItemInfo that ends with its rank_score.
    """

    sku_id: str
    info: bytes


@dataclass(frozen=True, slots=True)
class Reason:
    """Why an item is in the list.

    Attributes:
        sku_id: The item.
        channels: The channels that proposed it, each with its score.
        effects: The groups of features that moved its score, each with how much; the largest effect first.
        rules: The names of the rules that moved it, in the order of their application.
    """

    sku_id: str
    channels: Sequence[tuple[str, float]]
    effects: Sequence[tuple[str, float]] = ()
    rules: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Origin:
    """What an answer was made of.

    Attributes:
        user: The user with the profile and the history that the other stages got.
        candidates: All candidates, with their channels.
        ranked: All of them in the order of their scores; as recall scored them if rank failed.
    """

    user: RequestUser
    candidates: CandidateList
    ranked: ScoreList


@dataclass(frozen=True, slots=True)
class Answer:
    """Recommendations.

    Attributes:
        items: Best first.
        release: The release that gave the candidates.
        degraded: The stages, and parts of stages, that are missing from the answer.
        unknown_user: Whether the request names a user who is not stored.
        reasons: One for each item, in the order of the items, if the request asks for them.
        origin: What it was made of, if the request asks for that.
        rest: The list after these items, if the request is paged.
        missing: For each item of `explain_missing` why it is not in the list.
    """

    items: Sequence[Item]
    release: str
    degraded: Sequence[str]
    unknown_user: bool = False
    reasons: Sequence[Reason] = ()
    origin: Origin | None = None
    rest: Cursor | None = None
    missing: Sequence[Missing] = ()
