"""The path of a request, from top to bottom: the user, candidates, their scores, and the fields of the best items.

A stage that fails, or does not answer within its share of the remaining time, is replaced and named in `degraded`:

    um      the profile in the request alone, without a stored profile or history
    recall  the popular list that this service keeps; its items that meet the conditions, if cm answers
    rank    the order of recall
    cm      items with their ids only; the same if cm has lost its items

Then the active rules change the order (docs/rules.md). Without cm, those that read fields are skipped (`rules`).
Without item vectors, diversity is (`rules:diversity`).

Only the lists of home are ranked. Those of other scenarios have the order of recall.

If the time left is shorter than the stages after um usually take, recall is asked for a quarter of the candidates, and
the answer names that too.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

import structlog

from recmesh import spans
from recmesh.chain.active_rules import ActiveRules
from recmesh.chain.cursor import Cursor
from recmesh.chain.items import bare, meets, score_of, with_scores
from recmesh.chain.missing import Absence, Missing
from recmesh.chain.model import Answer, Item, Origin, Reason, Request
from recmesh.chain.popular import PopularList
from recmesh.chain.profiles import has_fields, updated, without_missing
from recmesh.chain.ruled import KnownItems, item_columns, joined, part_of, pinnable
from recmesh.chain.shown import Shown
from recmesh.contract import (
    CONTEXT_SCENARIOS,
    MAX_CANDIDATES,
    MAX_EXCLUDED,
    MAX_RECOMMENDATIONS,
    NO_USER_IDS,
    POPULAR,
    RELEASE,
    ServiceName,
)
from recmesh.errors import InvalidRequest, RecmeshError
from recmesh.pb.item_info_pb2 import ItemInfo
from recmesh.pb.user_info_pb2 import UserInfo
from recmesh.rules import NO_RULES, RankedItems, RequestRules
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
from recmesh.throttle import LogThrottle

# A stage may take this share of the time that is left when it starts: one that hangs leaves enough for those after it.
_TIME_SHARES: Final[dict[ServiceName, float]] = {"um": 0.3, "recall": 0.5, "rank": 0.5, "cm": 0.7}
# Kept back for assembling the answer and sending it.
_RESERVED_TIME_SHARE = 0.05

# In place of a request that would run out of time: rank takes about a quarter of its time, too.
_SHORT_SHARE = 4
FEWER_CANDIDATES = "recall:fewer_candidates"
_SMOOTHING = 0.05

# rank is asked for this many items more than the answer needs, to replace items that cm does not know.
_SPARE_ITEMS = 10

# If rules leave too few candidates, recall is asked for others up to this many times.
_MORE_CANDIDATES_ROUNDS = 3

# Candidates that are not ranked follow those that are. Each has a score that is lower by this than the one before.
_SCORE_STEP = 0.001

# The largest number of groups of features in an explanation.
_EXPLAINED_GROUPS = 5

# A stage that has not failed for so long answers again: others may fail while one call succeeds.
_QUIET_SECONDS = 10.0

_STAGE_SECONDS = {stage: metrics.STAGE_SECONDS.labels(stage) for stage in _TIME_SHARES}

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Progress:
    """The state of a request on its way through the chain."""

    request: Request
    deadline: Deadline
    candidates: int
    explain: bool
    rules: RequestRules = NO_RULES
    moved: Mapping[str, Sequence[str]] = field(default_factory=dict)
    left_out: Mapping[str, str] = field(default_factory=dict)
    degraded: list[str] = field(default_factory=list)
    unknown_user: bool = False
    effects: dict[str, list[tuple[str, float]]] = field(default_factory=dict)
    filtered_out: int = 0

    def time_for(self, stage: ServiceName) -> float:
        """Seconds for a call to a stage that starts now."""
        return self.deadline.share(_TIME_SHARES[stage])

    def mark_degraded(self, *parts: str) -> None:
        self.degraded.extend(part for part in parts if part not in self.degraded)

    def mark_parts(self, stage: ServiceName, parts: Iterable[str]) -> None:
        """Mark the missing parts of a stage. Another release is none: the chain compares the releases itself."""
        if missing := [f"{stage}:{part}" for part in parts if part != RELEASE]:
            self.mark_degraded(stage, *missing)


class Chain:
    """Answers requests by calling the four stages."""

    def __init__(
        self,
        users: UserStage,
        candidates: CandidateStage,
        ranker: RankStage,
        items: ItemStage,
        popular: PopularList,
        candidate_count: int,
        clock: Callable[[], float] = time.monotonic,
        rules: ActiveRules | None = None,
    ) -> None:
        """Connect the stages.

        Args:
            users: um.
            candidates: recall.
            ranker: rank.
            items: cm.
            popular: Replaces recall while it is unavailable.
            candidate_count: Number of candidates per request.
            clock: Measures the usual time of an answer, in seconds.
            rules: Change the order of lists; None for no rules.
        """
        self._users = users
        self._candidates = candidates
        self._ranker = ranker
        self._items = items
        self._popular = popular
        self._candidate_count = candidate_count
        self._faults = LogThrottle(quiet=_QUIET_SECONDS)
        self._clock = clock
        self._usual_seconds = 0.0
        self._shown = Shown(popular)
        self._rules = rules or ActiveRules()

    async def answer(self, request: Request, timeout: float) -> Answer:
        """Recommendations within `timeout` seconds.

        Raises:
            InvalidRequest: A stage refused the request.
            Unavailable: recall failed, and has never answered since the start.
        """
        explain = self._shown.explains_next() or request.explain or request.record
        progress = _Progress(request, Deadline(timeout * (1 - _RESERVED_TIME_SHARE)), self._candidate_count, explain)
        user = await self._find_user(progress)
        profile = request.profile if user is ANONYMOUS else user.profile
        progress.rules = self._rules.of(request.scenario, profile, self._popular.missing)
        began = self._clock()
        progress.candidates = self._candidates_for(progress)
        found = await self._find_candidates(progress, user)
        found, ranked = await self._rank_by_one_release(progress, user, found)
        rest: Cursor | None = None
        if progress.rules:
            found, items = await self._apply_rules(progress, user, found, ranked)
            if request.paged:
                items, rest = items[: request.size], _rest(progress, found, items[request.size :])
        elif request.paged:
            items, rest = await self._take(progress, found, _with_unranked(ranked, found))
        else:
            items = await self._describe_best(progress, user, found, ranked)
        self._remember(progress, self._clock() - began)
        missing = await self._explain_missing(progress, user, found, ranked, items) if request.explain_missing else ()
        _describe_answer(progress, items, found.release)
        reasons = _reasons(progress, items, found) if progress.explain else ()
        self._shown.count([item.sku_id for item in items], [[name for name, _ in of.channels] for of in reasons])
        shown = reasons if request.explain else ()
        origin = Origin(user, found, ranked) if request.record else None
        return Answer(items, found.release, progress.degraded, progress.unknown_user, shown, origin, rest, missing)

    async def go_on(self, cursor: Cursor, size: int, timeout: float) -> Answer:
        """The next `size` items of a list, within `timeout` seconds. Only cm is asked."""
        request = Request(user_id="", profile=UserInfo(), size=size, paged=True, conditions=cursor.conditions)
        progress = _Progress(request, Deadline(timeout * (1 - _RESERVED_TIME_SHARE)), candidates=0, explain=False)
        progress.mark_degraded(*cursor.degraded)
        progress.unknown_user = cursor.unknown_user
        ranked = ScoreList(cursor.ids, cursor.scores, cursor.release)
        found = CandidateList((), (), cursor.release, missing=cursor.missing, separators=cursor.separators)
        items, rest = await self._take(progress, found, ranked)
        _describe_answer(progress, items, cursor.release)
        self._shown.count([item.sku_id for item in items], ())
        return Answer(items, cursor.release, progress.degraded, cursor.unknown_user, rest=rest)

    def _candidates_for(self, progress: _Progress) -> int:
        """How many candidates there is time for."""
        if progress.deadline.remaining() >= self._usual_seconds:
            return self._candidate_count
        progress.mark_degraded(FEWER_CANDIDATES)
        return max(1, self._candidate_count // _SHORT_SHARE)

    def _remember(self, progress: _Progress, seconds: float) -> None:
        """Learn the usual time of the stages after um from complete answers. Without these, it fades."""
        if not progress.degraded:
            self._usual_seconds += _SMOOTHING * (seconds - self._usual_seconds)
        elif FEWER_CANDIDATES in progress.degraded:
            self._usual_seconds *= 1 - _SMOOTHING

    async def _find_user(self, progress: _Progress) -> RequestUser:
        """um: a stored user, updated by profile and history of the request; for new users these alone.

        A list for some context items needs a user only to leave out the items of the history.
        """
        request, given = progress.request, progress.request.history
        if request.scenario in CONTEXT_SCENARIOS and not request.new_only:
            return ANONYMOUS  # The list depends on the context alone.
        user_id, profile = request.user_id, without_missing(request.profile, self._popular.missing)
        new_user = RequestUser(profile, given) if has_fields(profile) or given.sku_ids else ANONYMOUS
        if user_id in NO_USER_IDS:
            return new_user
        try:
            with self._stage("um"):
                stored = await self._users.find(user_id, progress.time_for("um"))
        except RecmeshError as error:
            self._failed(progress, "um", error)
            return new_user
        if stored is None:
            progress.unknown_user = True
            metrics.UNKNOWN_USERS.inc()
            return new_user
        if not has_fields(profile) and not given.sku_ids:
            return stored
        return RequestUser(updated(stored.profile, profile), given if given.sku_ids else stored.history)

    async def _find_candidates(
        self, progress: _Progress, user: RequestUser, release: str = "", but: Sequence[str] = ()
    ) -> CandidateList:
        """recall: candidates from all channels, except some items; popular items for an anonymous user."""
        request = progress.request
        query = CandidateQuery(
            user=user,
            size=self._recalled(progress),
            channel=POPULAR if user is ANONYMOUS and not request.scenario else "",
            exclude=[*request.exclude, *but] if but else request.exclude,
            new_only=request.new_only,
            release=release,
            explain=progress.explain,
            conditions=request.conditions,
            scenario=request.scenario,
            context=request.context,
        )
        try:
            with self._stage("recall"):
                found = await self._candidates.recall(query, progress.time_for("recall"))
        except RecmeshError as error:
            self._failed(progress, "recall", error)
            return await self._popular_candidates(progress, query)
        progress.mark_parts("recall", found.degraded)
        return found

    def _recalled(self, progress: _Progress) -> int:
        """How many candidates recall is asked for. Without rules, a list in pages goes on after the ranked ones."""
        whole = progress.request.paged and not progress.rules and FEWER_CANDIDATES not in progress.degraded
        return MAX_CANDIDATES if whole else progress.candidates

    async def _popular_candidates(self, progress: _Progress, query: CandidateQuery) -> CandidateList:
        """Items of the popular list in place of recall. Without the fields in cm, none of them meets a condition."""
        popular = self._popular.candidates(query)
        if not query.conditions:
            return popular
        infos = await self._look_up(progress, popular.ids) or ()
        if infos and not any(infos):
            progress.mark_degraded("cm")  # it has lost its items
        kept = {
            sku_id
            for sku_id, info in zip(popular.ids, infos, strict=False)
            if info is not None and meets(query.conditions, ItemInfo.FromString(info), popular)
        }
        return self._popular.candidates(query, among=kept)

    async def _rank_by_one_release(
        self, progress: _Progress, user: RequestUser, found: CandidateList
    ) -> tuple[CandidateList, ScoreList]:
        """rank: the best candidates, scored by the release that gave them."""
        request = progress.request
        size = request.size + _SPARE_ITEMS
        if request.record or request.paged or request.explain_missing or progress.rules:
            size = max(size, progress.candidates)
        ranked = await self._rank(progress, user, found, size)
        if ranked.release != found.release and not progress.degraded:
            # recall has switched to a new release and rank has not. recall still holds the old one, so use that.
            found = await self._find_candidates(progress, user, ranked.release)
            ranked = await self._rank(progress, user, found, size)
            if ranked.release != found.release:
                progress.mark_degraded("rank", "rank:release")
        return found, ranked

    async def _rank(self, progress: _Progress, user: RequestUser, found: CandidateList, size: int) -> ScoreList:
        """The `size` best candidates (0: all of them).

        All candidates, in the order of recall, if rank fails or the scenario is not home.
        """
        if progress.request.scenario or not found.ids:
            vectors = await self._vectors(progress, user, found) if progress.rules.needs_vectors else b""
            return ScoreList(found.ids, found.scores, found.release, vectors=vectors)
        ids, items = found.ids[: progress.candidates], list[ItemInfo]()
        if found.unlisted:
            unlisted = set(found.unlisted)
            items = await self._look_up_fields(progress, [sku_id for sku_id in ids if sku_id in unlisted])
            ids = [sku_id for sku_id in ids if sku_id not in unlisted]
        query = ScoreQuery(
            user,
            ids,
            items,
            size,
            found.new_only,
            found.release,
            ordered=True,
            explain=progress.request.explain,
            vectors=progress.rules.needs_vectors,
        )
        ranked = await self._score(progress, query)
        if ranked is None:
            return ScoreList(found.ids, found.scores, found.release)
        progress.mark_parts("rank", ranked.degraded)
        progress.effects |= _effects(ranked)
        return ranked

    async def _vectors(self, progress: _Progress, user: RequestUser, found: CandidateList) -> bytes:
        """rank: the vectors of candidates that it does not order; none if it fails."""
        query = ScoreQuery(user, found.ids, new_only=found.new_only, release=found.release, vectors=True)
        ranked = await self._score(progress, query)
        if ranked is None:
            return b""
        width = len(ranked.vectors) // max(len(ranked.ids), 1)
        of = {sku_id: ranked.vectors[k * width : (k + 1) * width] for k, sku_id in enumerate(ranked.ids)}
        return b"".join(of.get(sku_id, bytes(width)) for sku_id in found.ids)

    async def _score(self, progress: _Progress, query: ScoreQuery) -> ScoreList | None:
        """The answer of rank; None if it fails."""
        try:
            with self._stage("rank"):
                return await self._ranker.rank(query, progress.time_for("rank"))
        except RecmeshError as error:
            self._failed(progress, "rank", error)
            return None

    async def _look_up_fields(self, progress: _Progress, unlisted: Sequence[str]) -> list[ItemInfo]:
        """The fields of candidates that are newer than the release. rank can score these by their fields only."""
        if not unlisted:
            return []
        infos = await self._look_up(progress, unlisted)
        known = map(bare, unlisted) if infos is None else infos
        return [ItemInfo.FromString(info) for info in known if info is not None]

    async def _describe_best(
        self, progress: _Progress, user: RequestUser, found: CandidateList, ranked: ScoreList
    ) -> list[Item]:
        """cm: the fields of the best items. Items that cm does not know are left out, and the next best follow."""
        size = progress.request.size
        first = size + _SPARE_ITEMS
        items = await self._describe(progress, found, ranked.ids[:first], ranked.scores[:first])
        if len(items) < size and len(found.ids) > first:
            # If rank fails now, the order of recall follows, in which the items above stand anywhere.
            described = set(ranked.ids[:first])
            ranked = await self._rank(progress, user, found, size=0)
            rest = [position for position, sku_id in enumerate(ranked.ids) if sku_id not in described]
            ids, scores = [ranked.ids[position] for position in rest], [ranked.scores[position] for position in rest]
            items += await self._describe(progress, found, ids, scores)
        if not items and ranked.ids and not progress.filtered_out:
            items = _without_fields(progress, ranked)
        return items[:size]

    async def _take(self, progress: _Progress, found: CandidateList, ranked: ScoreList) -> tuple[list[Item], Cursor]:
        """The first items of a complete list that cm knows, and the rest of the list."""
        size = progress.request.size
        first, total = size + _SPARE_ITEMS, len(ranked.ids)
        items = await self._describe(progress, found, ranked.ids[:first], ranked.scores[:first])
        if len(items) < size and total > first:
            items += await self._describe(progress, found, ranked.ids[first:], ranked.scores[first:])
        if not items and total and not progress.filtered_out:
            items = _without_fields(progress, ranked)
        items = items[:size]
        end = ranked.ids.index(items[-1].sku_id) + 1 if len(items) == size else total
        return items, _cursor(progress, found, ranked.ids[end:], ranked.scores[end:])

    async def _apply_rules(
        self, progress: _Progress, user: RequestUser, found: CandidateList, ranked: ScoreList
    ) -> tuple[CandidateList, list[Item]]:
        """cm and rules: the fields of the candidates, and the best items in the order of the rules.

        If rules leave out so many candidates that the list is not full, recall is asked for other ones. A list in pages
        is returned as a whole.
        """
        request, rules, known = progress.request, progress.rules, KnownItems()
        pinned = pinnable(rules.pinned, [*request.exclude, *request.context], user, found)[:MAX_RECOMMENDATIONS]
        # Pins alone need no more items than the list has.
        first = len(ranked.ids) if rules.reorders or request.paged else request.size + _SPARE_ITEMS
        batch, rest, rounds = part_of(ranked, 0, first), part_of(ranked, first), 0
        while True:
            wanted = [*batch.ids, *pinned]
            infos = await self._look_up(progress, wanted) if wanted else ()
            if infos is not None and wanted and not any(infos):
                progress.mark_degraded("cm")  # as in _describe_best
                infos = None
            if infos is None:  # only cm knows whether a pinned item is offered
                known.add(batch, list(map(bare, batch.ids)))
            else:
                infos = self._meeting(progress, found, infos)
                known.add(batch, infos[: len(batch.ids)])
                known.pin(pinned, infos[len(batch.ids) :])
            pinned = []
            ids, scores, described = known.columns()
            fields = None if "cm" in progress.degraded else item_columns(rules.fields, described, found)
            size = len(ids) if request.paged else request.size
            ordered = self._rules.order(rules, RankedItems(ids, known.ranked, fields, known.vectors()), size)
            if len(ordered.positions) >= request.size:
                break
            if rest.ids:
                batch, rest = rest, part_of(rest, len(rest.ids))
                continue
            full = len(request.exclude) + len(found.ids) > MAX_EXCLUDED
            if not ordered.excluded or full or rounds == _MORE_CANDIDATES_ROUNDS:
                break
            rounds += 1
            more = await self._find_candidates(progress, user, found.release, found.ids)
            if not more.ids:
                break
            found, batch = joined(found, more), await self._rank(progress, user, more, size=0)
        progress.mark_degraded(*ordered.skipped)
        progress.moved = {ids[position]: names for position, names in ordered.rules.items()}
        progress.left_out = {ids[position]: name for position, name in ordered.excluded.items()}
        best = ordered.positions
        return found, with_scores(
            [ids[position] for position in best],
            [scores[position] for position in best],
            [described[position] for position in best],
        )

    async def _explain_missing(
        self, progress: _Progress, user: RequestUser, found: CandidateList, ranked: ScoreList, items: Sequence[Item]
    ) -> list[Missing]:
        """Why items are not in the list. Those that are no candidates are scored for it."""
        request = progress.request
        infos = await self._look_up_fields(progress, request.explain_missing)
        scores, candidates = dict(zip(ranked.ids, ranked.scores, strict=True)), set(found.ids)
        others = [info for info in infos if info.sku_id not in candidates]
        if others and not request.scenario and "rank" not in progress.degraded:
            query = ScoreQuery(user, (), others, new_only=found.new_only, release=found.release)
            if scored := await self._score(progress, query):
                scores |= zip(scored.ids, scored.scores, strict=True)
        known = infos if "cm" not in progress.degraded else ()  # if cm failed, they have no fields
        absence = Absence(
            listed={item.sku_id: position for position, item in enumerate(items, start=1)},
            known={info.sku_id for info in infos},
            filtered=[info.sku_id for info in known if not meets(request.conditions, info, found)],
            exclude=request.exclude,
            context=request.context,
            ruled_out=progress.left_out,
            user=user,
            found=found,
            ranked=ranked,
            scores=scores,
            last=scores.get(items[-1].sku_id) if items else None,
        )
        return [absence.explain(sku_id) for sku_id in request.explain_missing]

    async def _describe(
        self, progress: _Progress, found: CandidateList, ids: Sequence[str], scores: Sequence[float]
    ) -> list[Item]:
        """Items with their fields; with their ids only if cm fails.

        recall has applied the conditions already. But cm has the latest fields, those that the answer shows.
        """
        if not ids:
            return []
        infos = await self._look_up(progress, ids)
        if infos is None:
            return with_scores(ids, scores, map(bare, ids))
        return with_scores(ids, scores, self._meeting(progress, found, infos))

    def _meeting(
        self, progress: _Progress, found: CandidateList, infos: Sequence[bytes | None]
    ) -> Sequence[bytes | None]:
        """The infos that meet the conditions of the request; None for the others."""
        conditions = progress.request.conditions
        if not conditions:
            return infos
        kept = [
            info if info is not None and meets(conditions, ItemInfo.FromString(info), found) else None for info in infos
        ]
        progress.filtered_out += kept.count(None) - infos.count(None)
        return kept

    async def _look_up(self, progress: _Progress, ids: Sequence[str]) -> Sequence[bytes | None] | None:
        """The fields of items, serialized; None if cm fails."""
        try:
            with self._stage("cm"):
                return await self._items.get(ids, progress.time_for("cm"))
        except RecmeshError as error:
            self._failed(progress, "cm", error)
            return None

    @contextmanager
    def _stage(self, stage: ServiceName) -> Iterator[None]:
        """Measure and trace a call to a stage."""
        started = time.perf_counter()
        with spans.span(stage):
            yield
        _STAGE_SECONDS[stage].observe(time.perf_counter() - started)
        if line := self._faults.over(stage):
            log.info("stage answers again", stage=stage, requests=line.events, seconds=line.seconds)

    def _failed(self, progress: _Progress, stage: ServiceName, error: RecmeshError) -> None:
        """Continue without a stage, unless the request itself is at fault."""
        if isinstance(error, InvalidRequest):
            raise error
        metrics.STAGE_FAILURES.labels(stage, error.grpc_status).inc()
        progress.mark_degraded(stage)
        if line := self._faults.due(stage):
            log.warning("stage failed", stage=stage, requests=line.events, seconds=line.seconds, reason=str(error))


def _describe_answer(progress: _Progress, items: Sequence[Item], release: str) -> None:
    """Describe the answer in metrics and in the span of the request."""
    for part in progress.degraded:
        metrics.DEGRADED.labels(part).inc()
    spans.annotate({spans.RELEASE: release, spans.ITEMS: len(items)})
    if progress.degraded:
        spans.annotate({spans.DEGRADED: tuple(progress.degraded)})
    for item in items if progress.moved else ():
        for kind in {progress.rules.kind(name) for name in progress.moved.get(item.sku_id, ())}:
            metrics.RULE_ITEMS.labels(kind).inc()


def _cursor(progress: _Progress, found: CandidateList, ids: Sequence[str], scores: Sequence[float]) -> Cursor:
    """The rest of a list."""
    return Cursor(
        ids=ids,
        scores=scores,
        release=found.release,
        degraded=progress.degraded,
        unknown_user=progress.unknown_user,
        conditions=progress.request.conditions,
        separators=found.separators,
        missing=found.missing,
    )


def _rest(progress: _Progress, found: CandidateList, items: Sequence[Item]) -> Cursor:
    """The rest of a list whose items are looked up already."""
    return _cursor(progress, found, [item.sku_id for item in items], [score_of(item) for item in items])


def _with_unranked(ranked: ScoreList, found: CandidateList) -> ScoreList:
    """The ranked candidates, followed by the others in the order of recall, with lower scores."""
    listed = set(ranked.ids)
    others = [sku_id for sku_id in found.ids if sku_id not in listed]
    lowest = ranked.scores[-1] if ranked.scores else 1.0
    scores = [lowest - place * _SCORE_STEP for place in range(1, len(others) + 1)]
    return ScoreList([*ranked.ids, *others], [*ranked.scores, *scores], found.release, ranked.degraded)


def _without_fields(progress: _Progress, ranked: ScoreList) -> list[Item]:
    """The best items without their fields, since cm knows none: it has lost its items.

    An empty answer would look like a shop that has none.
    """
    progress.mark_degraded("cm")
    best, scores = ranked.ids[: progress.request.size], ranked.scores[: progress.request.size]
    return with_scores(best, scores, map(bare, best))


def _effects(ranked: ScoreList) -> dict[str, list[tuple[str, float]]]:
    """For each item the groups of features that moved its score most, the largest effect first."""
    found: dict[str, list[tuple[str, float]]] = {}
    for position, sku_id in enumerate(ranked.ids if ranked.effects else ()):
        moved = [(group, effects[position]) for group, effects in ranked.effects.items() if effects[position]]
        found[sku_id] = sorted(moved, key=lambda effect: -abs(effect[1]))[:_EXPLAINED_GROUPS]
    return found


def _reasons(progress: _Progress, items: Sequence[Item], found: CandidateList) -> list[Reason]:
    channels: dict[str, list[tuple[str, float]]] = {item.sku_id: [] for item in items}
    for name, part in found.channels.items():
        for position, score in zip(part.positions, part.scores, strict=True):
            if (reason := channels.get(found.ids[position])) is not None:
                reason.append((name, float(score)))
    effects, moved = progress.effects, progress.moved
    return [
        Reason(sku_id, reason, effects.get(sku_id, ()), moved.get(sku_id, ())) for sku_id, reason in channels.items()
    ]
