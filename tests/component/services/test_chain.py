"""The chain over simulated stages: which profile wins, what is left out, and what happens without a stage."""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import pytest
from prometheus_client import REGISTRY

from recmesh.chain.chain import Chain
from recmesh.chain.model import Answer, Request
from recmesh.chain.popular import PopularList
from recmesh.contract import RELEASE
from recmesh.errors import RecmeshError, Unavailable
from recmesh.pb.item_info_pb2 import ItemInfo
from recmesh.pb.user_info_pb2 import History, UserInfo
from recmesh.serving.deadline import within
from recmesh.serving.stages import (
    ANONYMOUS,
    CandidateList,
    CandidateQuery,
    ChannelScores,
    RequestUser,
    ScoreList,
    ScoreQuery,
)

CATALOGUE = [f"i{n:03}" for n in range(300)]
CANDIDATES = 100
PROFILE = UserInfo(age="3", city="176")
NEVER = 3600.0
MISSING = ("", "-1", "NA")


@dataclass
class Stages:
    """All four stages. rank reverses the order of recall.

    Attributes:
        users: That um knows, by id.
        absent: Ids that cm does not know.
        unlisted: Ids that recall marks as newer than the release.
        failing: Stages, or the channel `two_tower`, that fail immediately.
        hanging: Stages that never answer.
        recall_release: That recall answers from, unless the query names another.
        rank_release: That rank answers from.
        recalled: The queries to recall.
        ranked: The queries to rank.
        looked_up: The ids that cm was asked for.
    """

    users: dict[str, RequestUser] = field(default_factory=dict)
    absent: set[str] = field(default_factory=set)
    unlisted: Sequence[str] = ()
    failing: set[str] = field(default_factory=set)
    hanging: set[str] = field(default_factory=set)
    recall_release: str = "r1"
    rank_release: str = "r1"
    recalled: list[CandidateQuery] = field(default_factory=list)
    ranked: list[ScoreQuery] = field(default_factory=list)
    looked_up: list[str] = field(default_factory=list)

    async def find(self, user_id: str, timeout: float) -> RequestUser | None:
        await self._simulate("um", timeout)
        return self.users.get(user_id)

    async def recall(self, query: CandidateQuery, timeout: float) -> CandidateList:
        await self._simulate("recall", timeout)
        self.recalled.append(query)
        excluded = {*query.exclude, *(query.user.history.sku_ids if query.new_only else ())}
        ids = [sku_id for sku_id in CATALOGUE if sku_id not in excluded][: query.size]
        scores = [1 / (1 + position) for position in range(len(ids))]
        return CandidateList(
            ids,
            scores,
            query.release or self.recall_release,
            query.new_only,
            {query.channel or "two_tower": ChannelScores(range(len(ids)), scores)},
            self.unlisted,
            ("two_tower",) if "two_tower" in self.failing else (),
            MISSING,
        )

    async def rank(self, query: ScoreQuery, timeout: float) -> ScoreList:
        await self._simulate("rank", timeout)
        self.ranked.append(query)
        ids = sorted([*query.ids, *(item.sku_id for item in query.items)], reverse=True)[: query.size or None]
        return ScoreList(ids, [float(sku_id[1:]) for sku_id in ids], self.rank_release)

    async def get(self, sku_ids: Sequence[str], timeout: float) -> list[bytes | None]:
        await self._simulate("cm", timeout)
        self.looked_up += sku_ids
        return [
            None if sku_id in self.absent else ItemInfo(sku_id=sku_id, brand="b").SerializeToString()
            for sku_id in sku_ids
        ]

    async def _simulate(self, stage: str, timeout: float) -> None:
        if stage in self.failing:
            raise Unavailable(f"{stage} is unavailable")
        if stage in self.hanging:
            await within(timeout, stage, asyncio.Event().wait())


def chain_over(stages: Stages, popular: PopularList, clock: Callable[[], float] = time.monotonic) -> Chain:
    return Chain(stages, stages, stages, stages, popular, CANDIDATES, clock)


async def ask(
    stages: Stages,
    user_id: str = "",
    profile: UserInfo | None = None,
    exclude: Sequence[str] = (),
    *,
    new_only: bool = False,
    explain: bool = False,
    scenario: str = "",
    context: Sequence[str] = (),
    timeout: float = 5.0,
) -> Answer:
    """The answer of a chain that has fetched the popular list once; five items."""
    failing, stages.failing, hanging, stages.hanging = stages.failing, set(), stages.hanging, set()
    popular = PopularList(stages)
    following = asyncio.create_task(popular.follow(NEVER))
    await asyncio.sleep(0)
    stages.failing, stages.hanging = failing, hanging
    stages.recalled.clear()
    request = Request(user_id, profile or UserInfo(), 5, exclude, new_only, explain, scenario=scenario, context=context)
    try:
        return await chain_over(stages, popular).answer(request, timeout)
    finally:
        following.cancel()


def ids(answer: Answer) -> list[str]:
    return [item.sku_id for item in answer.items]


def best(count: int, of: int = CANDIDATES) -> list[str]:
    """What rank puts first among the first `of` items of the catalogue."""
    return CATALOGUE[of - count : of][::-1]


def known_users() -> dict[str, RequestUser]:
    return {"7": RequestUser(UserInfo(user_id="7", age="1", sex="0"), History(sku_ids=["i001"], times=[1], types=[0]))}


async def test_the_best_items_have_fields_and_a_score() -> None:
    answer = await ask(Stages(users=known_users()), "7")

    assert ids(answer) == best(5)
    info = ItemInfo.FromString(answer.items[0].info)
    assert (info.sku_id, info.brand, info.rank_score) == ("i099", "b", 99.0)
    assert (answer.release, answer.degraded) == ("r1", [])


async def test_only_the_best_items_are_looked_up() -> None:
    stages = Stages()
    await ask(stages, profile=PROFILE)

    assert len(stages.looked_up) == 5 + 10


async def test_fields_in_the_request_take_precedence_over_stored_ones() -> None:
    stages = Stages(users=known_users())
    await ask(stages, "7", UserInfo(user_id="0", age="9"))

    (query,) = stages.recalled
    assert query.user.profile == UserInfo(user_id="7", age="9", sex="0")
    assert list(query.user.history.sku_ids) == ["i001"]


@pytest.mark.parametrize("user_id", ["", "-1"])
async def test_a_new_user_is_described_by_the_profile(user_id: str) -> None:
    stages = Stages(failing={"um"})
    answer = await ask(stages, user_id, UserInfo(user_id="0", age="3"))

    assert answer.degraded == []
    assert stages.recalled[0].channel == ""
    assert stages.recalled[0].user.profile.age == "3"


async def test_an_unknown_id_without_a_profile_gets_popular_items() -> None:
    stages = Stages()
    answer = await ask(stages, "nobody")

    assert len(answer.items) == 5
    assert (answer.degraded, answer.unknown_user) == ([], True)
    assert stages.recalled[0].channel == "popular"


async def test_an_unknown_id_with_a_profile_is_a_new_user() -> None:
    before = REGISTRY.get_sample_value("recmesh_unknown_users_total") or 0.0
    answer = await ask(Stages(), "nobody", PROFILE)

    assert (answer.degraded, answer.unknown_user) == ([], True)
    assert REGISTRY.get_sample_value("recmesh_unknown_users_total") == before + 1


@pytest.mark.parametrize(("user_id", "unknown"), [("7", False), ("", False), ("-1", False), ("nobody", True)])
async def test_only_an_id_that_is_not_stored_is_an_unknown_user(user_id: str, unknown: bool) -> None:
    answer = await ask(Stages(users=known_users()), user_id, PROFILE)

    assert answer.unknown_user is unknown


async def test_a_user_whom_um_cannot_look_up_is_not_unknown() -> None:
    answer = await ask(Stages(failing={"um"}), "nobody")

    assert (answer.degraded, answer.unknown_user) == (["um"], False)


NOTHING_KNOWN = UserInfo(
    user_id="0", age="-1", sex="-1", province="NA", attributes={"income": "-1", "hobby": "", "member": "NA"}
)


async def recalled(stages: Stages, user_id: str, profile: UserInfo) -> CandidateQuery:
    """What recall is asked for this request."""
    await ask(stages, user_id, profile)
    return stages.recalled[-1]


async def test_a_profile_of_missing_values_is_no_profile() -> None:
    queries = [await recalled(Stages(), "", profile) for profile in (NOTHING_KNOWN, UserInfo())]

    assert [(query.channel, query.user) for query in queries] == [("popular", ANONYMOUS)] * 2


async def test_a_missing_value_in_the_request_hides_no_stored_value() -> None:
    stages = Stages(users=known_users())
    partly = UserInfo(age="-1", sex="2", attributes={"income": "-1", "hobby": "chess"})

    assert (await recalled(stages, "7", NOTHING_KNOWN)).user.profile == known_users()["7"].profile
    assert (await recalled(stages, "7", partly)).user.profile == UserInfo(
        user_id="7", age="1", sex="2", attributes={"hobby": "chess"}
    )


async def test_items_unknown_to_cm_are_replaced_by_the_next_best() -> None:
    answer = await ask(Stages(absent=set(best(40))), profile=PROFILE)

    assert ids(answer) == best(45)[40:]
    assert answer.degraded == []


async def test_a_list_is_shorter_if_there_are_not_enough_candidates() -> None:
    answer = await ask(Stages(absent=set(CATALOGUE[3:])), profile=PROFILE)

    assert ids(answer) == ["i002", "i001", "i000"]


async def test_pages_do_not_overlap_if_earlier_items_are_excluded() -> None:
    first = await ask(Stages(), profile=PROFILE)
    second = await ask(Stages(), profile=PROFILE, exclude=ids(first))

    assert len(set(ids(first)) | set(ids(second))) == 10


async def test_new_only_reaches_recall_and_rank() -> None:
    stages = Stages(users=known_users())
    await ask(stages, "7", new_only=True)

    assert stages.recalled[0].new_only
    assert stages.ranked[0].new_only
    assert "i001" not in stages.ranked[0].ids


async def test_items_newer_than_the_release_are_ranked_by_their_fields() -> None:
    stages = Stages(unlisted=["i004", "i050"])
    answer = await ask(stages, profile=PROFILE)

    assert [item.sku_id for item in stages.ranked[0].items] == ["i004", "i050"]
    assert not {"i004", "i050"} & set(stages.ranked[0].ids)
    assert ids(answer) == best(5)


async def test_reasons_name_the_channel_of_each_item() -> None:
    answer = await ask(Stages(), profile=PROFILE, explain=True)

    assert [reason.sku_id for reason in answer.reasons] == ids(answer)
    assert [name for name, _ in answer.reasons[0].channels] == ["two_tower"]


async def test_without_um_a_known_user_is_treated_as_new() -> None:
    answer = await ask(Stages(users=known_users(), failing={"um"}), "7", PROFILE)

    assert ids(answer) == best(5)
    assert answer.degraded == ["um"]


async def test_without_recall_the_popular_list_is_ranked() -> None:
    stages = Stages(users=known_users(), failing={"recall"})
    answer = await ask(stages, "7", new_only=True, exclude=["i099"])

    assert ids(answer) == ["i101", "i100", "i098", "i097", "i096"]
    assert answer.degraded == ["recall"]


async def test_a_failed_channel_is_named_together_with_recall() -> None:
    answer = await ask(Stages(failing={"two_tower"}), profile=PROFILE)

    assert ids(answer) == best(5)
    assert answer.degraded == ["recall", "recall:two_tower"]


async def test_without_rank_the_order_of_recall_is_kept() -> None:
    answer = await ask(Stages(failing={"rank"}), profile=PROFILE)

    assert ids(answer) == CATALOGUE[:5]
    assert answer.degraded == ["rank"]


async def test_a_failed_backend_is_named_together_with_rank() -> None:
    class WithoutBackend(Stages):
        async def rank(self, query: ScoreQuery, timeout: float) -> ScoreList:
            return replace(await super().rank(query, timeout), degraded=("paddle_serving",))

    answer = await ask(WithoutBackend(), profile=PROFILE)

    assert ids(answer) == best(5)
    assert answer.degraded == ["rank", "rank:paddle_serving"]


async def test_without_cm_items_have_only_an_id_and_a_score() -> None:
    answer = await ask(Stages(failing={"cm"}), profile=PROFILE)

    assert ids(answer) == best(5)
    assert ItemInfo.FromString(answer.items[0].info) == ItemInfo(sku_id="i099", rank_score=99.0)
    assert answer.degraded == ["cm"]


async def test_if_cm_has_lost_all_items_the_answer_says_so() -> None:
    answer = await ask(Stages(absent=set(CATALOGUE)), profile=PROFILE)

    assert ids(answer) == best(5)
    assert ItemInfo.FromString(answer.items[0].info) == ItemInfo(sku_id="i099", rank_score=99.0)
    assert answer.degraded == ["cm"]


async def test_an_answer_of_another_release_is_no_missing_part() -> None:
    """The chain compares the releases itself, and asks again."""

    class OfAnotherRelease(Stages):
        async def rank(self, query: ScoreQuery, timeout: float) -> ScoreList:
            return replace(await super().rank(query, timeout), degraded=(RELEASE,))

        async def recall(self, query: CandidateQuery, timeout: float) -> CandidateList:
            return replace(await super().recall(query, timeout), degraded=(RELEASE,))

    answer = await ask(OfAnotherRelease(), profile=PROFILE)

    assert answer.degraded == []


async def test_there_is_an_answer_even_without_any_stage() -> None:
    answer = await ask(Stages(users=known_users(), failing={"um", "recall", "rank", "cm"}), "7")

    assert ids(answer) == CATALOGUE[:5]
    assert answer.degraded == ["um", "recall", "rank", "cm"]


async def test_hanging_stages_leave_time_to_answer() -> None:
    stages = Stages(users=known_users(), hanging={"um", "recall", "rank", "cm"})
    started = time.monotonic()
    answer = await ask(stages, "7", timeout=1.0)

    assert time.monotonic() - started < 1.0
    assert len(answer.items) == 5
    assert answer.degraded == ["um", "recall", "rank", "cm"]


async def test_there_is_no_answer_if_recall_has_never_answered() -> None:
    stages = Stages(failing={"recall"})

    with pytest.raises(RecmeshError, match="recall"):
        await chain_over(stages, PopularList(stages)).answer(Request("", PROFILE, 5), 1.0)


async def test_during_a_switch_recall_and_rank_use_one_release() -> None:
    stages = Stages(recall_release="r2", rank_release="r1")
    answer = await ask(stages, profile=PROFILE)

    assert answer.release == "r1"
    assert answer.degraded == []
    assert [query.release for query in stages.recalled] == ["", "r1"]
    assert replace(stages.recalled[0], release="r1") == stages.recalled[1]


async def test_an_answer_from_two_releases_is_degraded() -> None:
    class WithoutOldRelease(Stages):
        async def recall(self, query: CandidateQuery, timeout: float) -> CandidateList:
            return replace(await super().recall(query, timeout), release="r2")

    answer = await ask(WithoutOldRelease(rank_release="r1"), profile=PROFILE)

    assert answer.degraded == ["rank", "rank:release"]


async def test_fewer_candidates_are_ranked_if_the_time_is_shorter_than_usual() -> None:
    stages, now = Stages(), 0.0
    chain = chain_over(stages, PopularList(stages), lambda: now)

    async def answer(seconds: float, timeout: float) -> Answer:
        """An answer for which the stages after um take `seconds`, by the clock of the chain."""

        async def rank(query: ScoreQuery, timeout: float) -> ScoreList:
            nonlocal now
            now += seconds
            return await Stages.rank(stages, query, timeout)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(stages, "rank", rank)
            return await chain.answer(Request("", PROFILE, 5), timeout)

    for _ in range(14):
        assert (await answer(20, 3600)).degraded == []
    # The usual time is 20 * (1 - 0.95 ** 14), or 10.2 s.
    hurried = await answer(5, 10)
    assert hurried.degraded == ["recall:fewer_candidates"]
    assert ids(hurried) == best(5, CANDIDATES // 4)
    assert stages.recalled[-1].size == CANDIDATES // 4
    # It fades to 9.7 s, and 95 % of 10.3 s are longer.
    assert (await answer(5, 10.3)).degraded == []
    assert stages.recalled[-1].size == CANDIDATES


async def pages(stages: Stages, size: int, **degraded: set[str]) -> list[list[str]]:
    """The pages of a list, until it ends. Stages in `degraded` fail after the first page."""
    popular = PopularList(stages)
    following = asyncio.create_task(popular.follow(NEVER))
    await asyncio.sleep(0)
    chain = chain_over(stages, popular)
    answer = await chain.answer(Request("", PROFILE, size, paged=True), 5.0)
    following.cancel()
    found = [ids(answer)]
    stages.failing |= degraded.get("later", set())
    while answer.rest is not None and answer.rest.ids:
        answer = await chain.go_on(answer.rest, size, 5.0)
        found.append(ids(answer))
    return found


async def test_pages_show_every_candidate_once_the_ranked_ones_first() -> None:
    stages = Stages()
    found = await pages(stages, 70)
    assert [len(page) for page in found] == [70, 70, 70, 70, 20]
    assert [sku_id for page in found for sku_id in page] == [*best(CANDIDATES), *CATALOGUE[CANDIDATES:]]
    assert [query.size for query in stages.recalled] == [1000, 1000]  # the popular list, and the request
    assert len(stages.ranked) == 1


async def test_later_pages_need_cm_alone() -> None:
    found = await pages(Stages(), 100, later={"um", "recall", "rank"})
    assert [sku_id for page in found for sku_id in page] == [*best(CANDIDATES), *CATALOGUE[CANDIDATES:]]


async def test_pages_are_full_without_the_items_that_cm_does_not_know() -> None:
    absent = {*best(30), *CATALOGUE[120:200]}
    found = await pages(Stages(absent=absent), 60)
    assert [len(page) for page in found] == [60, 60, 60, 10]
    listed = [sku_id for page in found for sku_id in page]
    assert listed == [sku_id for sku_id in [*best(CANDIDATES), *CATALOGUE[CANDIDATES:]] if sku_id not in absent]


async def test_pages_without_rank_keep_the_order_of_recall_and_say_so() -> None:
    stages, popular = Stages(failing={"rank"}), PopularList(Stages())
    chain = chain_over(stages, popular)
    answer = await chain.answer(Request("", PROFILE, 50, paged=True), 5.0)
    assert (ids(answer), answer.degraded) == (CATALOGUE[:50], ["rank"])
    assert answer.rest is not None
    second = await chain.go_on(answer.rest, 50, 5.0)
    assert (ids(second), second.degraded, second.release) == (CATALOGUE[50:100], ["rank"], "r1")


async def test_a_page_without_cm_has_ids_and_goes_on() -> None:
    stages = Stages()
    chain = chain_over(stages, PopularList(stages))
    answer = await chain.answer(Request("", PROFILE, 50, paged=True), 5.0)
    assert answer.rest is not None
    stages.failing = {"cm"}
    second = await chain.go_on(answer.rest, 50, 5.0)
    assert (ids(second), second.degraded) == (best(CANDIDATES)[50:], ["cm"])
    assert second.rest is not None
    stages.failing = set()
    third = await chain.go_on(second.rest, 50, 5.0)
    assert (ids(third), third.degraded) == (CATALOGUE[100:150], ["cm"])


class _Negative(Stages):
    async def rank(self, query: ScoreQuery, timeout: float) -> ScoreList:
        ranked = await super().rank(query, timeout)
        return replace(ranked, scores=[score - len(CATALOGUE) for score in ranked.scores])


@pytest.mark.parametrize("stages", [Stages(), _Negative()])
async def test_scores_fall_from_page_to_page(stages: Stages) -> None:
    chain = chain_over(stages, PopularList(stages))
    answer = await chain.answer(Request("", PROFILE, 200, paged=True), 5.0)
    scores = [ItemInfo.FromString(item.info).rank_score for item in answer.items]
    assert answer.rest is not None
    lowest = -len(CATALOGUE) if isinstance(stages, _Negative) else 0
    assert scores[:CANDIDATES] == [lowest + float(sku_id[1:]) for sku_id in best(CANDIDATES)]
    scores += answer.rest.scores
    assert len(scores) == len(set(scores)) == len(CATALOGUE)
    assert scores == sorted(scores, reverse=True)


async def test_the_last_page_has_no_cursor() -> None:
    chain = chain_over(stages := Stages(), PopularList(stages))
    answer = await chain.answer(Request("", PROFILE, 300, paged=True), 5.0)
    assert len(answer.items) == 300
    assert answer.rest is not None
    assert answer.rest.encode() == ""
    assert (await chain.answer(Request("", PROFILE, 300), 5.0)).rest is None
