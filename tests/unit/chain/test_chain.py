"""The chain: shares of the time, metrics, and two faults at once; more in tests/component/services/test_chain.py."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import pytest
from structlog.testing import capture_logs

from recmesh.chain.chain import Chain
from recmesh.chain.cursor import Cursor
from recmesh.chain.model import Answer, Request
from recmesh.chain.popular import PopularList
from recmesh.conditions import Condition
from recmesh.errors import InvalidRequest, RecmeshError, Unavailable
from recmesh.pb.item_info_pb2 import ItemInfo
from recmesh.pb.user_info_pb2 import History, UserInfo
from recmesh.serving.stages import (
    ANONYMOUS,
    CandidateList,
    CandidateQuery,
    ChannelScores,
    RequestUser,
    ScoreList,
    ScoreQuery,
)
from tests.component.services.test_chain import (
    CANDIDATES,
    CATALOGUE,
    PROFILE,
    Stages,
    ask,
    best,
    chain_over,
    ids,
    known_users,
)
from tests.unit.clock import Clock
from tests.unit.metric import added


class _Timed(Stages):
    """Each stage takes a quarter of a second. The timeouts are kept."""

    clock: Clock

    async def _simulate(self, stage: str, timeout: float) -> None:
        self.timeouts = [*getattr(self, "timeouts", []), (stage, timeout)]
        self.clock.now += 0.25
        await super()._simulate(stage, timeout)


def timed(monkeypatch: pytest.MonkeyPatch, stages: _Timed) -> _Timed:
    stages.clock = Clock(monkeypatch, "recmesh.serving.deadline", "recmesh.chain.chain")
    return stages


async def answered(stages: Stages, request: Request, timeout: float) -> Answer:
    return await chain_over(stages, PopularList(stages)).answer(request, timeout)


async def test_each_stage_has_a_share_of_the_time_that_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """95 % of 4 s are 3.8 s; each stage takes 0.25 s of them."""
    stages = timed(monkeypatch, _Timed(users=known_users()))
    await answered(stages, Request("7", PROFILE, 5), 4.0)
    assert stages.timeouts == [
        ("um", pytest.approx(0.3 * 3.8)),
        ("recall", pytest.approx(0.5 * 3.55)),
        ("rank", pytest.approx(0.5 * 3.3)),
        ("cm", pytest.approx(0.7 * 3.05)),
    ]


async def test_each_stage_that_answers_is_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    stages = timed(monkeypatch, _Timed(users=known_users(), failing={"rank"}))
    names = ("um", "recall", "rank", "cm")
    counts = {name: added("recmesh_stage_seconds_count", stage=name) for name in names}
    sums = {name: added("recmesh_stage_seconds_sum", stage=name) for name in names}
    await answered(stages, Request("7", PROFILE, 5), 4.0)
    assert {name: count() for name, count in counts.items()} == {"um": 1, "recall": 1, "rank": 0, "cm": 1}
    assert {name: total() for name, total in sums.items()} == {"um": 0.25, "recall": 0.25, "rank": 0, "cm": 0.25}


async def test_each_missing_part_is_counted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = ("um", "recall", "recall:two_tower", "rank", "cm")
    counted = {part: added("recmesh_degraded_total", part=part) for part in parts}
    answer = await ask(Stages(users=known_users(), failing={"um", "two_tower", "cm"}), "7")
    assert answer.degraded == ["um", "recall", "recall:two_tower", "cm"]
    assert {part: count() for part, count in counted.items()} == {
        "um": 1,
        "recall": 1,
        "recall:two_tower": 1,
        "rank": 0,
        "cm": 1,
    }


async def test_a_failing_stage_is_logged_with_its_reason() -> None:
    with capture_logs() as logs:
        await ask(Stages(failing={"rank"}), profile=PROFILE)
    assert [(line["log_level"], line["stage"], line["requests"], line["reason"]) for line in logs] == [
        ("warning", "rank", 1, "rank is unavailable")
    ]


async def test_a_failing_stage_is_logged_with_growing_pauses_and_its_end_after_ten_quiet_seconds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two requests a second, of which every tenth is answered, for a minute; then all of them are."""
    clock, stages = Clock(monkeypatch, "recmesh.throttle"), Stages(failing={"rank"})
    chain = chain_over(stages, PopularList(stages))
    with capture_logs() as logs:
        for number in range(160):
            stages.failing = {"rank"} if number < 120 and number % 10 else set()
            await chain.answer(Request("", PROFILE, 5), 4.0)
            clock.now += 0.5
    *failures, end = logs
    assert [line["event"] for line in failures] == ["stage failed"] * 6
    assert sum(line["requests"] for line in failures) < 108
    assert [line["seconds"] for line in failures] == [0, 1, 3, 7, 15, 31]
    assert (end["event"], end["stage"], end["requests"], end["seconds"]) == ("stage answers again", "rank", 108, 69)


@pytest.mark.parametrize("stage", ["find", "recall", "rank", "get"])
async def test_a_request_that_a_stage_refuses_is_the_callers_fault(stage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    stages = Stages(users=known_users())

    async def refuse(*_arguments: object) -> None:
        raise InvalidRequest("no")

    monkeypatch.setattr(stages, stage, refuse)
    with pytest.raises(InvalidRequest, match="no"):
        await answered(stages, Request("7", PROFILE, 5), 5.0)


async def test_reasons_during_an_outage_of_recall_name_the_popular_list() -> None:
    """With every stage but rank: the first five of 300, best first by rank; each with its score in the list."""
    answer = await ask(Stages(failing={"recall", "um"}), "7", PROFILE, explain=True)
    assert answer.degraded == ["um", "recall"]
    assert [(reason.sku_id, list(reason.channels)) for reason in answer.reasons] == [
        (sku_id, [("popular", 1 / (1 + CATALOGUE.index(sku_id)))]) for sku_id in best(5)
    ]


async def test_reasons_during_an_outage_of_rank_and_cm_follow_the_items() -> None:
    answer = await ask(Stages(failing={"rank", "cm"}), profile=PROFILE, explain=True)
    assert [reason.sku_id for reason in answer.reasons] == ids(answer) == CATALOGUE[:5]
    assert [list(reason.channels) for reason in answer.reasons] == [
        [("two_tower", 1 / (1 + position))] for position in range(5)
    ]


async def test_an_item_of_two_channels_has_two_reasons_and_one_of_none_has_none() -> None:
    class TwoChannels(Stages):
        async def recall(self, query: CandidateQuery, timeout: float) -> CandidateList:
            found = await super().recall(query, timeout)
            channels = {"new": ChannelScores([99, 97], [0.5, 0.25]), "popular": ChannelScores([99, 0], [9.0, 1.0])}
            return replace(found, channels=channels)

    answer = await ask(TwoChannels(), profile=PROFILE, explain=True)
    reasons = {reason.sku_id: list(reason.channels) for reason in answer.reasons}
    assert list(reasons) == best(5)
    assert reasons["i099"] == [("new", 0.5), ("popular", 9.0)]
    assert (reasons["i098"], reasons["i097"]) == ([], [("new", 0.25)])


async def test_without_explain_there_are_no_reasons() -> None:
    stages = Stages()
    chain = chain_over(stages, PopularList(stages))
    assert (await chain.answer(Request("7", PROFILE, 5), 5.0)).reasons == ()
    assert stages.recalled[0].explain, "the first of sixteen answers is among those whose channels are counted"
    assert (await chain.answer(Request("7", PROFILE, 5), 5.0)).reasons == ()
    assert not stages.recalled[1].explain
    assert (await chain.answer(Request("7", PROFILE, 5, explain=True), 5.0)).reasons
    assert stages.recalled[2].explain


async def test_what_is_trending_keeps_the_order_of_recall() -> None:
    stages = Stages(users=known_users(), absent={"i001"})
    request = Request("7", UserInfo(), 3, scenario="trending", explain=True)
    answer = await answered(stages, request, 5.0)
    assert ids(answer) == ["i000", "i002", "i003"]
    assert [ItemInfo.FromString(item.info).rank_score for item in answer.items] == pytest.approx([1, 1 / 3, 1 / 4])
    assert (stages.ranked, answer.degraded) == ([], [])
    assert [reason.channels for reason in answer.reasons] == [
        [("two_tower", 1)],
        [("two_tower", 1 / 3)],
        [("two_tower", 1 / 4)],
    ]
    (query,) = stages.recalled
    assert (query.scenario, query.channel, query.user) == ("trending", "", known_users()["7"])


async def test_an_anonymous_user_gets_what_is_trending() -> None:
    stages = Stages()
    await answered(stages, Request("", UserInfo(), 3, scenario="trending"), 5.0)
    await answered(stages, Request("", UserInfo(), 3), 5.0)
    assert [(query.scenario, query.channel) for query in stages.recalled] == [("trending", ""), ("", "popular")]


async def test_without_recall_the_popular_list_stands_for_what_is_trending() -> None:
    stages = Stages()
    popular = PopularList(stages)
    following = asyncio.create_task(popular.follow(3600.0))
    await asyncio.sleep(0)
    following.cancel()
    stages.failing = {"recall"}
    answer = await chain_over(stages, popular).answer(Request("", UserInfo(), 3, ["i001"], scenario="trending"), 5.0)
    assert ids(answer) == ["i000", "i002", "i003"]
    assert (answer.degraded, stages.ranked) == (["recall"], [])


class _RankFailsTheSecondTime(Stages):
    """rank answers the first call only."""

    async def rank(self, query: ScoreQuery, timeout: float) -> ScoreList:
        if self.ranked:
            raise Unavailable("rank is unavailable")
        return await super().rank(query, timeout)


async def test_if_cm_lacks_items_and_rank_then_fails_no_item_comes_twice() -> None:
    """rank puts i099 to i085 first, of which cm knows three; the rest follows in the order of recall."""
    known = {"i099", "i092", "i085"}
    stages = _RankFailsTheSecondTime(absent=set(best(15)) - known | set(CATALOGUE[2:84]))
    answer = await ask(stages, profile=PROFILE)
    assert ids(answer) == ["i099", "i092", "i085", "i000", "i001"]
    assert answer.degraded == ["rank"]


async def test_the_next_best_items_are_asked_for_only_if_there_are_more() -> None:
    class Few(Stages):
        async def recall(self, query: CandidateQuery, timeout: float) -> CandidateList:
            return await super().recall(replace(query, size=15), timeout)

    stages = Few(absent=set(CATALOGUE[:14]))
    answer = await ask(stages, profile=PROFILE)
    assert ids(answer) == ["i014"]
    assert [query.size for query in stages.ranked] == [15]


async def test_the_sizes_and_fields_of_the_queries() -> None:
    stages = Stages(users=known_users())
    await ask(stages, "7", exclude=["i005"], new_only=True, explain=True)
    user = known_users()["7"]
    assert stages.recalled == [CandidateQuery(user, CANDIDATES, "", ["i005"], True, "", True)]
    (query,) = stages.ranked
    expected = [sku_id for sku_id in CATALOGUE if sku_id not in ("i001", "i005")][:CANDIDATES]
    assert replace(query, ids=list(query.ids)) == ScoreQuery(user, expected, [], 15, True, "r1", False, True, True)


async def test_items_outside_the_release_are_ranked_without_their_fields_if_cm_fails() -> None:
    stages = Stages(unlisted=["i004"], failing={"cm"})
    answer = await ask(stages, profile=PROFILE)
    assert stages.ranked[0].items == [ItemInfo(sku_id="i004")]
    assert answer.degraded == ["cm"]


async def test_a_switch_while_a_stage_fails_asks_recall_only_once() -> None:
    """The answer is degraded anyway; a second round would cost time."""
    stages = Stages(users=known_users(), recall_release="r2", rank_release="r1", failing={"um"})
    answer = await ask(stages, "7", PROFILE)
    assert [query.release for query in stages.recalled] == [""]
    assert (answer.release, answer.degraded) == ("r2", ["um"])


async def test_if_recall_fails_during_a_switch_the_popular_list_is_used() -> None:
    class FailsTheSecondTime(Stages):
        async def recall(self, query: CandidateQuery, timeout: float) -> CandidateList:
            if query.release:
                raise Unavailable("recall is unavailable")
            return await super().recall(query, timeout)

    answer = await ask(FailsTheSecondTime(recall_release="r2", rank_release="r1"), profile=PROFILE)
    assert "recall" in answer.degraded
    assert len(answer.items) == 5


async def test_no_candidates_are_an_empty_answer_without_rank_and_cm() -> None:
    stages = Stages(failing={"rank", "cm"})
    answer = await ask(stages, profile=PROFILE, exclude=CATALOGUE)
    assert (answer.items, answer.release, answer.degraded) == ([], "r1", [])


@pytest.mark.parametrize("profile", [UserInfo(user_id="0"), UserInfo()])
async def test_a_user_id_alone_is_no_profile(profile: UserInfo) -> None:
    stages = Stages(users=known_users())
    await ask(stages, "7", profile)
    assert stages.recalled[0].user == known_users()["7"]


async def test_the_usual_time_fades_only_with_fewer_candidates(monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer of 20 s makes the usual time 1 s. Failures neither raise nor lower it."""
    clock = Clock(monkeypatch, "recmesh.serving.deadline")

    class Slow(Stages):
        seconds = 20.0

        async def _simulate(self, stage: str, timeout: float) -> None:
            if stage == "rank":
                clock.now += self.seconds
            await super()._simulate(stage, timeout)

    stages = Slow()
    chain = chain_over(stages, PopularList(stages), clock)

    async def sizes(timeout: float) -> int:
        await chain.answer(Request("", PROFILE, 5), timeout)
        return stages.recalled[-1].size

    assert await sizes(100) == CANDIDATES
    stages.failing, stages.seconds = {"rank"}, 40.0
    assert await sizes(100) == CANDIDATES
    stages.failing, stages.seconds = set(), 0.0
    # 95 % of 1.05 s are 0.9975 s, shorter than the usual second, which fades to 0.95 s.
    assert await sizes(1.05) == CANDIDATES // 4
    assert await sizes(1.005) == CANDIDATES
    # A complete answer in no time: 0.9025 s.
    assert await sizes(0.9) == CANDIDATES // 4


async def test_at_least_one_candidate_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    stages = Stages()
    chain = Chain(stages, stages, stages, stages, PopularList(stages), 3)
    chain._usual_seconds = 1e9
    answer = await chain.answer(Request("", PROFILE, 5), 5.0)
    assert stages.recalled[0].size == 1
    assert answer.degraded == ["recall:fewer_candidates"]


class _Unknown(Stages):
    async def find(self, user_id: str, timeout: float) -> RequestUser | None:
        raise RecmeshError("odd")


async def test_any_error_of_recmesh_degrades_the_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    found: Sequence[str] = (await ask(_Unknown(), "7", PROFILE)).degraded
    assert found == ["um"]


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (UserInfo(age="-1", city="4"), UserInfo(city="4")),
        (
            UserInfo(city="4", attributes={"income": "NA", "hobby": "chess"}),
            UserInfo(city="4", attributes={"hobby": "chess"}),
        ),
        (UserInfo(age="-1", attributes={"hobby": "chess"}), UserInfo(attributes={"hobby": "chess"})),
    ],
)
async def test_missing_values_are_left_out_of_fields_and_attributes_alike(given: UserInfo, kept: UserInfo) -> None:
    stages = Stages()
    await ask(stages, "", given)
    assert stages.recalled[0].user == RequestUser(kept, History())


async def test_reasons_name_the_features_that_moved_a_score_most() -> None:
    class Explaining(Stages):
        async def rank(self, query: ScoreQuery, timeout: float) -> ScoreList:
            ranked = await super().rank(query, timeout)
            last = len(ranked.ids) - 1
            groups = {"a": 0.1, "b": -0.4, "c": 0.0, "d": 0.2, "e": 0.3, "f": -0.05, "g": 0.06}
            return replace(ranked, effects={name: [effect] + [0.0] * last for name, effect in groups.items()})

    answer = await ask(Explaining(), profile=PROFILE, explain=True)
    assert answer.reasons[0].effects == [("b", -0.4), ("e", 0.3), ("d", 0.2), ("a", 0.1), ("g", 0.06)]
    assert answer.reasons[1].effects == []


def request_about(*sku_ids: str, size: int = 5, new_only: bool = True) -> Request:
    return Request("7", UserInfo(), size, ["i020"], new_only, explain_missing=sku_ids)


async def test_each_reason_why_an_item_is_missing() -> None:
    stages = Stages(users=known_users(), absent={"i030", "i999"})
    asked = ("i101", "i099", "i020", "i001", "i030", "i999", "i250")
    answer = await answered(stages, request_about(*asked), 5.0)
    assert ids(answer) == ["i101", "i100", "i099", "i098", "i097"]
    assert [(missing.sku_id, missing.reason, missing.text) for missing in answer.missing] == [
        ("i101", "listed", "at position 1"),
        ("i099", "listed", "at position 3"),
        ("i020", "excluded", "exclude_ids has it"),
        ("i001", "history", "the user's history has it, and only new items are recommended"),
        ("i030", "unknown", "cm has no such item: it is unknown, removed or not available"),
        ("i999", "unknown", "cm has no such item: it is unknown, removed or not available"),
        (
            "i250",
            "not_proposed",
            "no channel has it among its best: its score would be 250; the last item of the list has 97",
        ),
    ]
    (low,) = (await answered(stages, request_about("i040"), 5.0)).missing
    assert low.reason == "rank"
    assert low.text == "at place 62 of 100 candidates: its score is 40; the last item of the list has 97"
    assert (await answered(stages, Request("7", UserInfo(), 5), 5.0)).missing == ()


async def test_an_absence_is_explained_without_rank_and_without_cm() -> None:
    """Two faults at once: the order is that of recall, and cm cannot say what exists."""
    stages = Stages(users=known_users(), failing={"rank", "cm"})
    answer = await answered(stages, request_about("i250", "i060"), 5.0)
    assert answer.degraded == ["rank", "cm"]
    assert [missing.text for missing in answer.missing] == [
        "no channel has it among its best",
        "at place 59 of 100 candidates: its score is 0.01695; the last item of the list has 0.2",
    ]


async def test_a_later_candidate_of_a_list_in_pages_is_named_as_such() -> None:
    request = replace(request_about("i250", new_only=False), paged=True)
    (missing,) = (await answered(Stages(), request, 5.0)).missing
    assert missing.reason == "rank"
    assert missing.text == "recall has it at place 250, and the first 100 are ranked"


class _WithFields(Stages):
    """The brand of an item is the last digit of its id. recall applies conditions, by older fields perhaps.

    Attributes:
        stale: Items that have another brand in recall: the one of the filter.
    """

    stale: Sequence[str] = ()

    async def recall(self, query: CandidateQuery, timeout: float) -> CandidateList:
        found = await super().recall(replace(query, size=query.size if not query.conditions else 300), timeout)
        if not query.conditions:
            return found
        ids = [sku_id for sku_id in found.ids if sku_id[-1] == "7" or sku_id in self.stale][: query.size]
        scores = [1 / (1 + position) for position in range(len(ids))]
        return replace(found, ids=ids, scores=scores, channels={}, separators={"brand": "|"})

    async def get(self, sku_ids: Sequence[str], timeout: float) -> list[bytes | None]:
        found = await super().get(sku_ids, timeout)
        return [
            None if info is None else ItemInfo(sku_id=sku_id, brand=f"x|{sku_id[-1]}").SerializeToString()
            for sku_id, info in zip(sku_ids, found, strict=True)
        ]


SEVENS = Request("7", PROFILE, 5, conditions=(Condition("brand", any_of=("7",)),))


async def filtered(stages: _WithFields, request: Request = SEVENS) -> Answer:
    """The answer of a chain whose popular list is of the time before the faults."""
    failing, stages.failing = stages.failing, set()
    popular = PopularList(stages)
    popular._latest = replace(await Stages().recall(CandidateQuery(ANONYMOUS, 300), 1.0), separators={"brand": "|"})
    stages.failing = failing
    return await chain_over(stages, popular).answer(request, 5.0)


async def test_recall_gets_the_conditions_and_rank_the_items_that_meet_them() -> None:
    stages = _WithFields(users=known_users())
    answer = await filtered(stages)
    assert (ids(answer), answer.degraded) == (["i297", "i287", "i277", "i267", "i257"], [])
    assert stages.recalled[-1].conditions == SEVENS.conditions


async def test_an_item_that_no_longer_meets_the_conditions_is_replaced_by_the_next_one() -> None:
    """cm has newer fields than recall."""
    stages = _WithFields(users=known_users())
    stages.stale = ["i299", "i298", "i290"]
    answer = await filtered(stages)
    assert (ids(answer), answer.degraded) == (["i297", "i287", "i277", "i267", "i257"], [])
    stages.stale = [f"i{number}" for number in range(258, 300)]
    assert ids(await filtered(stages)) == ["i297", "i287", "i277", "i267", "i257"]


async def test_if_no_item_meets_the_conditions_any_more_the_answer_is_empty_and_not_degraded() -> None:
    stages = _WithFields(users=known_users())
    request = replace(SEVENS, conditions=(Condition("brand", any_of=("none",)),))
    answer = await filtered(stages, request)
    assert (ids(answer), answer.degraded) == ([], [])


async def test_without_recall_the_items_of_the_popular_list_that_meet_the_conditions_are_ranked() -> None:
    answer = await filtered(_WithFields(users=known_users(), failing={"recall"}))
    assert (ids(answer), answer.degraded) == (["i297", "i287", "i277", "i267", "i257"], ["recall"])
    answer = await filtered(_WithFields(users=known_users(), failing={"recall"}, absent={"i297"}))
    assert ids(answer) == ["i287", "i277", "i267", "i257", "i247"]


async def test_without_recall_and_cm_nothing_is_known_to_meet_the_conditions() -> None:
    for condition in (Condition("brand", any_of=("7",)), Condition("brand", none_of=("8",))):
        stages = _WithFields(users=known_users(), failing={"recall", "cm"})
        answer = await filtered(stages, replace(SEVENS, conditions=(condition,)))
        assert (ids(answer), answer.degraded) == ([], ["recall", "cm"])
        # The same if cm has lost its items.
        stages = _WithFields(users=known_users(), failing={"recall"}, absent=set(CATALOGUE))
        answer = await filtered(stages, replace(SEVENS, conditions=(condition,)))
        assert (ids(answer), answer.degraded) == ([], ["recall", "cm"])


async def test_without_cm_the_items_of_recall_meet_the_conditions() -> None:
    answer = await filtered(_WithFields(users=known_users(), failing={"cm"}))
    assert (ids(answer), answer.degraded) == (["i297", "i287", "i277", "i267", "i257"], ["cm"])
    # The same if cm has lost its items.
    stages = _WithFields(users=known_users(), absent=set(CATALOGUE))
    answer = await filtered(stages)
    assert (ids(answer), answer.degraded) == (["i297", "i287", "i277", "i267", "i257"], ["cm"])


async def test_pages_keep_the_conditions_also_when_fields_change() -> None:
    stages = _WithFields(users=known_users())
    first = await filtered(stages, replace(SEVENS, paged=True))
    assert (ids(first), first.rest and list(first.rest.ids)[:2]) == (
        ["i297", "i287", "i277", "i267", "i257"],
        ["i247", "i237"],
    )
    assert first.rest is not None
    stages.stale = ["i247"]

    async def changed(sku_ids: Sequence[str], timeout: float) -> list[bytes | None]:
        return [ItemInfo(sku_id=of, brand="8" if of in stages.stale else "7").SerializeToString() for of in sku_ids]

    stages.get = changed  # type: ignore[method-assign]
    second = await chain_over(stages, PopularList(stages)).go_on(Cursor.decode(first.rest.encode()), 5, 5.0)
    assert ids(second) == ["i237", "i227", "i217", "i207", "i197"]


async def test_an_item_that_does_not_meet_the_conditions_is_missing_for_that() -> None:
    answer = await filtered(_WithFields(users=known_users()), replace(SEVENS, explain_missing=("i298", "i007")))
    assert [missing.reason for missing in answer.missing] == ["filter", "rank"]
    stages = _WithFields(users=known_users(), failing={"cm"})
    answer = await filtered(stages, replace(SEVENS, explain_missing=("i298",)))
    assert [missing.reason for missing in answer.missing] == ["not_proposed"]  # nobody can say what it meets


@pytest.mark.parametrize("scenario", ["related", "basket"])
async def test_a_list_for_a_context_has_the_order_of_recall_and_needs_no_user(scenario: str) -> None:
    stages = Stages(users=known_users(), failing={"um", "rank"}, absent={"i001"})
    answer = await answered(stages, Request("7", PROFILE, 3, scenario=scenario, context=("x", "y")), 5.0)
    assert ids(answer) == ["i000", "i002", "i003"]
    assert (answer.degraded, stages.ranked) == ([], [])
    (query,) = stages.recalled
    assert (query.scenario, query.context, query.channel) == (scenario, ("x", "y"), "")
    assert not query.user.history.sku_ids


async def test_a_list_for_a_context_may_leave_out_the_history() -> None:
    stages = Stages(users=known_users())
    await answered(stages, Request("7", UserInfo(), 3, new_only=True, scenario="basket", context=("x",)), 5.0)
    (query,) = stages.recalled
    assert (list(query.user.history.sku_ids), query.new_only) == (["i001"], True)


async def test_repeat_asks_recall_for_the_stored_history_and_keeps_its_order() -> None:
    stages = Stages(users=known_users())
    answer = await answered(stages, Request("7", UserInfo(), 3, scenario="repeat"), 5.0)
    assert ids(answer) == ["i000", "i001", "i002"]
    assert stages.ranked == []
    assert list(stages.recalled[0].user.history.sku_ids) == ["i001"]


async def test_while_recall_is_down_popular_items_without_the_context_answer() -> None:
    stages = Stages(users=known_users(), failing={"recall"})
    answer = await ask(stages, scenario="related", context=("i000", "i002"))
    assert ids(answer) == ["i001", "i003", "i004", "i005", "i006"]
    assert answer.degraded == ["recall"]
    answer = await ask(stages, "7", scenario="repeat")
    assert (ids(answer), answer.degraded) == (["i001"], ["recall"])
