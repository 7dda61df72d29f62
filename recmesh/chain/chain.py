"""The path of a request, from top to bottom: who is asking, candidates, their scores, details of the best.

A stage that is away, or does not answer within its share of the remaining time, is replaced and named in `degraded`:

    um      as a new user, by the profile that came with the request
    recall  the popular list that this service keeps
    rank    the order of recall
    cm      items by their ids alone
"""

import struct
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import structlog

from recmesh.errors import InvalidRequest, RecmeshError
from recmesh.pb.item_info_pb2 import ItemInfo
from recmesh.pb.user_info_pb2 import History, UserInfo
from recmesh.serving import metrics
from recmesh.serving.deadline import Deadline
from recmesh.serving.stages import (
    ANONYMOUS,
    CandidateList,
    CandidateQuery,
    CandidateStage,
    ItemStage,
    RankStage,
    RequestUser,
    ScoreList,
    ScoreQuery,
    UserStage,
)
from recmesh.serving.tracing import Tracer

from .popular import PopularList

POPULAR = "popular"
NO_USER = ("", "-1")

# What a stage may take of the time that is left when it starts: whoever hangs leaves enough for those after it.
_SHARES = {"um": 0.3, "recall": 0.5, "rank": 0.5, "cm": 0.7}
_STAGE_SECONDS = {stage: metrics.STAGE_SECONDS.labels(stage) for stage in _SHARES}
# Kept for putting the answer together and sending it.
_RESERVE = 0.05

# rank is asked for this many items more than the answer needs, in place of those that cm does not know.
_MARGIN = 10

# Appended to a serialized ItemInfo, this and a float set its field rank_score (5, 32 bits).
_RANK_SCORE = struct.Struct("<Bf")
_RANK_SCORE_TAG = 5 << 3 | 5

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Ask:
    """A request: `given` is the profile that came with it, and wins over what is stored."""

    user_id: str
    given: UserInfo
    size: int
    exclude: Sequence[str] = ()
    new_only: bool = False
    explain: bool = False

    @property
    def by_id(self) -> bool:
        """Whether a known user is meant."""
        return self.user_id not in NO_USER


@dataclass(frozen=True, slots=True)
class Item:
    """A recommended item: `info` is a serialized ItemInfo that ends with its rank_score."""

    sku_id: str
    info: bytes


@dataclass(frozen=True, slots=True)
class Reason:
    """The channels that gave an item, each with its score."""

    sku_id: str
    channels: Sequence[tuple[str, float]]


@dataclass(frozen=True, slots=True)
class Answer:
    """Items best first; reasons only where they were asked for."""

    items: Sequence[Item]
    release: str
    degraded: Sequence[str]
    reasons: Sequence[Reason] = ()


@dataclass(slots=True)
class _Trip:
    """One request under way."""

    ask: Ask
    deadline: Deadline
    degraded: list[str] = field(default_factory=list)

    def time_for(self, stage: str) -> float:
        return self.deadline.share(_SHARES[stage])

    def without(self, *parts: str) -> None:
        self.degraded.extend(part for part in parts if part not in self.degraded)


class Chain:
    """Answers requests from the four stages.

    Args:
        popular: what to recommend while recall is away.
        candidates_size: how many candidates are asked for.
    """

    def __init__(
        self,
        who: UserStage,
        candidates: CandidateStage,
        scores: RankStage,
        details: ItemStage,
        popular: PopularList,
        candidates_size: int,
        tracer: Tracer,
    ) -> None:
        self._who = who
        self._candidates = candidates
        self._scores = scores
        self._details = details
        self._popular = popular
        self._candidates_size = candidates_size
        self._tracer = tracer
        self._misses = _Misses()

    async def answer(self, ask: Ask, timeout: float) -> Answer:
        """Recommendations within `timeout` seconds.

        Raises:
            Unavailable: recall is away and was never there.
        """
        trip = _Trip(ask, Deadline(timeout * (1 - _RESERVE)))
        user = await self._who_asks(trip)
        found = await self._find_candidates(trip, user)
        found, scored = await self._score(trip, user, found)
        items = await self._describe(trip, user, found, scored)
        for part in trip.degraded:
            metrics.DEGRADED.labels(part).inc()
        reasons = _reasons(items, found) if ask.explain else ()
        return Answer(items, found.release, trip.degraded, reasons)

    async def _who_asks(self, trip: _Trip) -> RequestUser:
        """um: a stored user, completed by the given profile; a new one by the given profile alone."""
        ask = trip.ask
        newcomer = RequestUser(ask.given, History()) if _has_profile(ask.given) else ANONYMOUS
        if not ask.by_id:
            return newcomer
        try:
            with self._stage("um"):
                stored = await self._who.find(ask.user_id, trip.time_for("um"))
        except RecmeshError as error:
            self._miss(trip, "um", error)
            return newcomer
        if stored is None:
            if newcomer is ANONYMOUS:
                trip.without("um")
            return newcomer
        return RequestUser(_completed(stored.info, ask.given), stored.history) if _has_profile(ask.given) else stored

    async def _find_candidates(self, trip: _Trip, user: RequestUser, release: str = "") -> CandidateList:
        """recall: candidates from all channels; of somebody wholly unknown, what is popular."""
        query = CandidateQuery(
            user=user,
            size=self._candidates_size,
            channel=POPULAR if user is ANONYMOUS else "",
            exclude=trip.ask.exclude,
            new_only=trip.ask.new_only,
            release=release,
            explain=trip.ask.explain,
        )
        try:
            with self._stage("recall"):
                found = await self._candidates.recall(query, trip.time_for("recall"))
        except RecmeshError as error:
            self._miss(trip, "recall", error)
            return self._popular.candidates(query)
        if found.degraded:
            trip.without("recall", *(f"recall:{channel}" for channel in found.degraded))
        return found

    async def _score(self, trip: _Trip, user: RequestUser, found: CandidateList) -> tuple[CandidateList, ScoreList]:
        """rank: the best of the candidates, by the release that they come from."""
        scored = await self._rank(trip, user, found, trip.ask.size + _MARGIN)
        if scored.release != found.release and not trip.degraded:
            # In the middle of a switch: recall still holds the release that rank is at, so both can answer from it.
            found = await self._find_candidates(trip, user, scored.release)
            scored = await self._rank(trip, user, found, trip.ask.size + _MARGIN)
            if scored.release != found.release:
                trip.without("rank", "rank:release")
        return found, scored

    async def _rank(self, trip: _Trip, user: RequestUser, found: CandidateList, size: int) -> ScoreList:
        if not found.ids:
            return ScoreList((), (), found.release)
        ids, items = found.ids, await self._unlisted_items(trip, found)
        if found.unlisted:
            unlisted = set(found.unlisted)
            ids = [sku_id for sku_id in ids if sku_id not in unlisted]
        query = ScoreQuery(user, ids, items, size, found.new_only, found.release, ordered=True)
        try:
            with self._stage("rank"):
                scored = await self._scores.rank(query, trip.time_for("rank"))
        except RecmeshError as error:
            self._miss(trip, "rank", error)
            return ScoreList(found.ids, found.scores, found.release)
        if scored.degraded:
            trip.without("rank", *(f"rank:{backend}" for backend in scored.degraded))
        return scored

    async def _unlisted_items(self, trip: _Trip, found: CandidateList) -> list[ItemInfo]:
        """Candidates younger than the release: rank can score them only by their fields."""
        infos = await self._look_up(trip, found.unlisted) if found.unlisted else ()
        return [ItemInfo.FromString(info) for info in infos if info is not None]

    async def _describe(self, trip: _Trip, user: RequestUser, found: CandidateList, scored: ScoreList) -> list[Item]:
        """cm: details of the best. Items that cm does not know drop out, and the next best move up."""
        size, asked = trip.ask.size, trip.ask.size + _MARGIN
        items = await self._items(trip, scored.ids[:asked], scored.scores[:asked])
        if len(items) < size and len(found.ids) > asked:
            everything = await self._rank(trip, user, found, size=0)
            items += await self._items(trip, everything.ids[asked:], everything.scores[asked:])
        return items[:size]

    async def _items(self, trip: _Trip, ids: Sequence[str], scores: Sequence[float]) -> list[Item]:
        infos = await self._look_up(trip, ids) if ids else ()
        pack = _RANK_SCORE.pack
        return [
            Item(sku_id, info + pack(_RANK_SCORE_TAG, score))
            for sku_id, score, info in zip(ids, scores, infos, strict=True)
            if info is not None
        ]

    async def _look_up(self, trip: _Trip, ids: Sequence[str]) -> Sequence[bytes | None]:
        try:
            with self._stage("cm"):
                return await self._details.get(ids, trip.time_for("cm"))
        except RecmeshError as error:
            self._miss(trip, "cm", error)
            return [ItemInfo(sku_id=sku_id).SerializeToString() for sku_id in ids]

    @contextmanager
    def _stage(self, name: str) -> Iterator[None]:
        started = time.perf_counter()
        with self._tracer.span(name):
            yield
        _STAGE_SECONDS[name].observe(time.perf_counter() - started)

    def _miss(self, trip: _Trip, stage: str, error: RecmeshError) -> None:
        if isinstance(error, InvalidRequest):
            raise error
        trip.without(stage)
        self._misses.report(stage, error)


class _Misses:
    """Logs which stages are away: each once a second, however many requests miss it."""

    def __init__(self) -> None:
        self._unreported: dict[str, int] = {}
        self._next_report: dict[str, float] = {}

    def report(self, stage: str, error: RecmeshError) -> None:
        """Count a request that was answered without a stage, and log the count when it is time."""
        self._unreported[stage] = self._unreported.get(stage, 0) + 1
        now = time.monotonic()
        if now >= self._next_report.get(stage, 0.0):
            log.warning("answered without a stage", stage=stage, requests=self._unreported[stage], reason=str(error))
            self._unreported[stage] = 0
            self._next_report[stage] = now + 1.0


def _has_profile(info: UserInfo) -> bool:
    """Whether anything but an id is given: the seed system's client sends "0" for that."""
    return any(descriptor.name != "user_id" for descriptor, _ in info.ListFields())


def _completed(stored: UserInfo, given: UserInfo) -> UserInfo:
    info = UserInfo()
    info.CopyFrom(stored)
    info.MergeFrom(given)
    info.user_id = stored.user_id
    return info


def _reasons(items: Sequence[Item], found: CandidateList) -> list[Reason]:
    channels: dict[str, list[tuple[str, float]]] = {item.sku_id: [] for item in items}
    for name, part in found.channels.items():
        for position, score in zip(part.positions, part.scores, strict=True):
            if (given := channels.get(found.ids[position])) is not None:
                given.append((name, float(score)))
    return [Reason(sku_id, given) for sku_id, given in channels.items()]
