"""How the mesh answers an inquiry: the chain, run once more with recorded stages, and what follows from the record."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone

import numpy as np

from recmesh.chain.chain import Chain
from recmesh.chain.model import Answer, Request
from recmesh.chain.popular import PopularList
from recmesh.client import wire
from recmesh.contract import MAX_LOOKED_UP
from recmesh.errors import InvalidRequest, RecmeshError
from recmesh.explorer.inquiry import Inquiry
from recmesh.explorer.items import ShownItem, fields_of, shown
from recmesh.explorer.recorder import Recorder, StageCall, Stages
from recmesh.explorer.releases import LocalRelease, ReleaseShelf
from recmesh.pb.user_info_pb2 import History, UserInfo
from recmesh.serving.stages import ANONYMOUS, RequestUser, ScoreQuery
from recmesh.stores.wire import user_fields

_SECONDS = 5.0
_MAX_ACTIONS = 100
_MAX_VALUES = 30


@dataclass(frozen=True, slots=True)
class Action:
    """An action of the history; `when` is empty if the time is unknown."""

    item: ShownItem
    kind: str
    when: str


@dataclass(frozen=True, slots=True)
class Row:
    """A candidate.

    Attributes:
        item: The item.
        channels: The score in each channel that proposed it.
        recalled: Its place in the list of recall, from 1.
        ranked: Its place by the score of rank, from 1; 0 without a score.
        place: Its place in the final list, from 1; 0 if it is not there.
        score: The score that orders the list; None if rank did not answer.
        debiased: The debiased score; None if rank did not answer.
        outcome: What became of it.
    """

    item: ShownItem
    channels: Mapping[str, float]
    recalled: int
    ranked: int
    place: int
    score: float | None
    debiased: float | None
    outcome: str


@dataclass(frozen=True, slots=True)
class Feature:
    """An input of the ranker: its value for an item, and the median over the candidates."""

    name: str
    value: float
    median: float


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Items that are not in the list, and why."""

    why: str
    count: int
    items: Sequence[ShownItem]


@dataclass(frozen=True)
class Explained:
    """The answer to an inquiry, with its reasons.

    Attributes:
        inquiry: The inquiry.
        who: The kind of user, in words.
        profile: The profile that the stages saw, by field name.
        history: The newest actions that the stages saw.
        actions: The number of all actions.
        calls: The calls to the stages.
        rows: The candidates in the order of recall.
        left_out: What was filtered.
        release: The release that answered.
        is_local: Whether that release is not served, and the explorer computed recall and rank.
        degraded: Missing stages, and parts of stages.
        user: The user that the stages saw.
        new_only: Whether items of the history were left out.
    """

    inquiry: Inquiry
    who: str
    profile: Mapping[str, str]
    history: Sequence[Action]
    actions: int
    calls: Sequence[StageCall]
    rows: Sequence[Row]
    left_out: Sequence[LeftOut]
    release: str
    is_local: bool
    degraded: Sequence[str]
    user: RequestUser
    new_only: bool

    @property
    def final(self) -> list[Row]:
        """The final list, best first."""
        return sorted((row for row in self.rows if row.place), key=lambda row: row.place)

    @property
    def channels(self) -> list[str]:
        """The channels that proposed candidates."""
        return list(dict.fromkeys(name for row in self.rows for name in row.channels))

    @property
    def counts(self) -> dict[str, int]:
        """The number of candidates of each channel."""
        return {name: sum(name in row.channels for row in self.rows) for name in self.channels}

    @property
    def categories(self) -> dict[str, list[tuple[str, int]]]:
        """For each field: the most frequent values that several candidates share, each with their number."""
        counts: dict[str, Counter[str]] = {}
        for row in self.rows:
            for name, value in row.item.fields.items():
                counts.setdefault(name, Counter())[value] += 1
        shared = {
            name: [(value, count) for value, count in values.most_common(_MAX_VALUES) if count > 1]
            for name, values in counts.items()
        }
        return {name: values for name, values in shared.items() if values}

    def matching(self, channel: str, category: str) -> list[Row]:
        """The rows that a channel proposed and whose item has a field value, `name=value`; empty texts match all."""
        name, _, value = category.partition("=")
        return [
            row
            for row in self.rows
            if (not channel or channel in row.channels) and (not category or row.item.fields.get(name) == value)
        ]

    @property
    def milliseconds(self) -> float:
        """From the start of the request to the end of its last stage."""
        return max((call.start + call.duration for call in self.calls), default=0.0)


class Explorer:
    """Answers inquiries."""

    def __init__(self, stages: Stages, popular: PopularList, shelf: ReleaseShelf, candidates: int) -> None:
        """Ask the stages of a mesh for a number of candidates, and the releases of a model store."""
        self.stages = stages
        self._popular = popular
        self.shelf = shelf
        self._candidates = candidates

    async def explain(self, inquiry: Inquiry, active: str) -> Explained:
        """Answer an inquiry.

        Args:
            inquiry: The inquiry.
            active: Id of the active release; empty if the model store does not answer.

        Raises:
            RecmeshError: The inquiry is wrong, its release does not load, or the mesh does not answer.
        """
        local = await self._local(inquiry, active)
        stages = replace(self.stages, candidates=local, ranker=local) if local else self.stages
        history = await self._pasted(inquiry, local.id if local else active)
        recorder = Recorder(stages)
        answer = await self._answer(inquiry, recorder, history)
        return await self._explained(inquiry, recorder, answer, is_local=local is not None)

    async def look_up(self, sku_ids: Sequence[str]) -> dict[str, dict[str, str]]:
        """The fields of the items that cm knows.

        Raises:
            RecmeshError: cm does not answer.
        """
        ids = list(dict.fromkeys(sku_ids))[:MAX_LOOKED_UP]
        infos = await self.stages.items.get(ids, _SECONDS) if ids else ()
        return {sku_id: fields_of(info) for sku_id, info in zip(ids, infos, strict=True) if info is not None}

    async def features(self, explained: Explained, sku_id: str) -> list[Feature]:
        """The inputs of the ranker for an item and the user of an answer, apart from those that are always 0.

        Raises:
            RecmeshError: The release that answered does not load.
        """
        release = await self.shelf.get(explained.release)
        candidates = [row.item.sku_id for row in explained.rows] or [sku_id]
        inputs = release.features(explained.user, [sku_id, *candidates], explained.new_only)
        return [
            Feature(name, float(column[0]), float(np.median(column[1:])))
            for name, column in inputs.items()
            if column.any()
        ]

    async def _local(self, inquiry: Inquiry, active: str) -> LocalRelease | None:
        return await self.shelf.get(inquiry.release) if inquiry.release and inquiry.release != active else None

    async def _pasted(self, inquiry: Inquiry, release_id: str) -> History:
        """The pasted history; lines without a type have the strongest one, and those without a time are the latest."""
        if not inquiry.history:
            return History()
        kind, time = "", 0
        if release_id:
            spec = (await self.shelf.get(release_id)).encoder.spec
            kind, time = max(spec.action_weights, key=spec.action_weights.__getitem__), spec.as_of
        return wire.history_message(inquiry.actions(kind, time))

    async def _answer(self, inquiry: Inquiry, recorder: Recorder, history: History) -> Answer:
        fields, user_id = inquiry.profile_fields, inquiry.user_id
        request = Request(
            user_id=user_id,
            profile=wire.user_info(user_id, fields) if fields else UserInfo(),
            size=inquiry.count,
            exclude=inquiry.excluded,
            new_only=bool(inquiry.new_only),
            explain=True,
            history=history,
        )
        chain = Chain(recorder, recorder, recorder, recorder, self._popular, self._candidates)
        return await chain.answer(request, _SECONDS)

    async def _explained(self, inquiry: Inquiry, recorder: Recorder, answer: Answer, *, is_local: bool) -> Explained:
        user = recorder.asked.user if recorder.asked else ANONYMOUS
        new_only = bool(recorder.found and recorder.found.new_only)
        history, excluded = user.history.sku_ids, inquiry.excluded
        newest = list(history[:_MAX_ACTIONS])
        candidates = list(recorder.found.ids) if recorder.found else [item.sku_id for item in answer.items]
        known = await self._known([*candidates, *newest, *excluded])
        debiased = await self._debiased(recorder, user, new_only, candidates)
        return Explained(
            inquiry=inquiry,
            who=_who(inquiry, recorder, answer),
            profile=user_fields(user.profile),
            history=_actions(user.history, known),
            actions=len(history) + len(user.history.older_sku_ids),
            calls=tuple(recorder.calls),
            rows=_rows(recorder, answer, candidates, known, debiased),
            left_out=_left_out(recorder, candidates, known, excluded, newest if new_only else ()),
            release=answer.release,
            is_local=is_local,
            degraded=tuple(answer.degraded),
            user=user,
            new_only=new_only,
        )

    async def _known(self, sku_ids: Sequence[str]) -> dict[str, ShownItem]:
        """The items as pages show them; without fields if cm does not answer, which the answer itself says."""
        try:
            return {sku_id: shown(sku_id, fields) for sku_id, fields in (await self.look_up(sku_ids)).items()}
        except RecmeshError:
            return {}

    async def _debiased(
        self, recorder: Recorder, user: RequestUser, new_only: bool, sku_ids: Sequence[str]
    ) -> dict[str, float]:
        """The debiased scores of the candidates, asked after the request; none if rank does not answer."""
        if not sku_ids or recorder.ranked is None:
            return {}
        query = ScoreQuery(user, sku_ids, new_only=new_only, release=recorder.ranked.release, debiased=True)
        try:
            scored = await recorder.stages.ranker.rank(query, _SECONDS)
        except InvalidRequest:
            raise
        except RecmeshError:
            return {}
        return dict(zip(scored.ids, scored.scores, strict=True))


def _who(inquiry: Inquiry, recorder: Recorder, answer: Answer) -> str:
    """The kind of user, in words."""
    pasted = ", with a pasted history that is not stored" if inquiry.history else ""
    if inquiry.user and (answer.unknown_user or recorder.user is None) and "um" not in answer.degraded:
        return f"User {inquiry.user} is not stored: a new user{pasted or (' by profile' if inquiry.profile else '')}"
    if inquiry.user:
        return f"User {inquiry.user}{', with changes to the profile' if inquiry.profile else ''}{pasted}"
    if inquiry.profile:
        return f"New user, by profile{pasted}"
    return f"New user{pasted}" if pasted else "Anonymous user: nothing is known"


def _item(known: Mapping[str, ShownItem], sku_id: str) -> ShownItem:
    return known.get(sku_id) or shown(sku_id, {})


def _actions(history: History, known: Mapping[str, ShownItem]) -> list[Action]:
    columns = zip(history.sku_ids[:_MAX_ACTIONS], history.types, history.times, strict=False)
    names = history.type_names
    return [Action(_item(known, sku_id), names[kind], _date(time)) for sku_id, kind, time in columns]


def _date(milliseconds: int) -> str:
    return f"{datetime.fromtimestamp(milliseconds / 1e3, timezone.utc):%Y-%m-%d %H:%M}" if milliseconds else ""


def _rows(
    recorder: Recorder,
    answer: Answer,
    candidates: Sequence[str],
    known: Mapping[str, ShownItem],
    debiased: Mapping[str, float],
) -> list[Row]:
    channels = _channels(recorder, answer, candidates)
    ranked = recorder.ranked
    scores = dict(zip(ranked.ids, ranked.scores, strict=True)) if ranked else {}
    ranks = {sku_id: rank for rank, sku_id in enumerate(scores, 1)}
    places = {item.sku_id: place for place, item in enumerate(answer.items, 1)}
    missing = set(recorder.missing)

    def outcome(sku_id: str) -> str:
        if sku_id in places:
            return f"in the list at {places[sku_id]}"
        return "cm does not know it" if sku_id in missing else f"below the first {len(places)}"

    return [
        Row(
            item=_item(known, sku_id),
            channels=channels.get(sku_id, {}),
            recalled=number,
            ranked=ranks.get(sku_id, 0),
            place=places.get(sku_id, 0),
            score=scores.get(sku_id),
            debiased=debiased.get(sku_id),
            outcome=outcome(sku_id),
        )
        for number, sku_id in enumerate(candidates, 1)
    ]


def _channels(recorder: Recorder, answer: Answer, candidates: Sequence[str]) -> dict[str, dict[str, float]]:
    """The score in each channel for each candidate; from the answer's reasons if recall did not answer."""
    if recorder.found is None:
        return {reason.sku_id: dict(reason.channels) for reason in answer.reasons}
    scores: dict[str, dict[str, float]] = {}
    for name, part in recorder.found.channels.items():
        for position, score in zip(part.positions, part.scores, strict=True):
            scores.setdefault(candidates[position], {})[name] = float(score)
    return scores


def _left_out(
    recorder: Recorder,
    candidates: Sequence[str],
    known: Mapping[str, ShownItem],
    excluded: Sequence[str],
    owned: Sequence[str],
) -> list[LeftOut]:
    """The reasons for which items are not in the list, apart from the order; those without items are omitted."""
    why = "already in the history: this request wants new items only, or the data set has no repeats"
    reasons = {
        "the request leaves them out": excluded,
        why: list(dict.fromkeys(owned)),
        "candidates that cm does not know: gone from the data set since the release": recorder.missing,
    }
    there = set(candidates) - set(recorder.missing)
    return [
        LeftOut(reason, len(kept), [_item(known, sku_id) for sku_id in kept])
        for reason, sku_ids in reasons.items()
        if (kept := [sku_id for sku_id in sku_ids if sku_id not in there])
    ]
