"""The chain over made-up stages: who wins, what drops out, and what happens when a stage is away."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from recmesh.chain import chain, popular
from recmesh.errors import RecmeshError, Unavailable
from recmesh.pb.item_info_pb2 import ItemInfo
from recmesh.pb.user_info_pb2 import History, UserInfo
from recmesh.serving.deadline import within
from recmesh.serving.stages import CandidateList, CandidateQuery, ChannelScores, RequestUser, ScoreList, ScoreQuery
from recmesh.serving.tracing import Tracer

CATALOGUE = [f"i{n:03}" for n in range(300)]
PROFILE = UserInfo(age="3", city="176")


@dataclass
class Mesh:
    """Four stages at once. rank turns the order of recall around. `away` fail, `hanging` do not answer."""

    users: dict[str, RequestUser] = field(default_factory=dict)
    absent: set[str] = field(default_factory=set)
    unlisted: Sequence[str] = ()
    away: set[str] = field(default_factory=set)
    hanging: set[str] = field(default_factory=set)
    recall_release: str = "r1"
    rank_release: str = "r1"
    recalled: list[CandidateQuery] = field(default_factory=list)
    ranked: list[ScoreQuery] = field(default_factory=list)
    looked_up: list[str] = field(default_factory=list)

    async def find(self, user_id: str, timeout: float) -> RequestUser | None:
        await self._arrive("um", timeout)
        return self.users.get(user_id)

    async def recall(self, query: CandidateQuery, timeout: float) -> CandidateList:
        await self._arrive("recall", timeout)
        self.recalled.append(query)
        unwanted = {*query.exclude, *(query.user.history.sku_ids if query.new_only else ())}
        ids = [sku for sku in CATALOGUE if sku not in unwanted][: query.size]
        scores = [1 / (1 + k) for k in range(len(ids))]
        return CandidateList(
            ids,
            scores,
            query.release or self.recall_release,
            query.new_only,
            {query.channel or "two_tower": ChannelScores(range(len(ids)), scores)},
            self.unlisted,
            ("two_tower",) if "two_tower" in self.away else (),
        )

    async def rank(self, query: ScoreQuery, timeout: float) -> ScoreList:
        await self._arrive("rank", timeout)
        self.ranked.append(query)
        ids = sorted([*query.ids, *(item.sku_id for item in query.items)], reverse=True)[: query.size or None]
        return ScoreList(ids, [float(sku[1:]) for sku in ids], self.rank_release)

    async def get(self, sku_ids: Sequence[str], timeout: float) -> list[bytes | None]:
        await self._arrive("cm", timeout)
        self.looked_up += sku_ids
        return [None if sku in self.absent else ItemInfo(sku_id=sku, brand="b").SerializeToString() for sku in sku_ids]

    async def _arrive(self, stage: str, timeout: float) -> None:
        if stage in self.away:
            raise Unavailable(f"{stage} is away")
        if stage in self.hanging:
            await within(timeout, stage, asyncio.Event().wait())


async def ask(mesh: Mesh, timeout: float = 5.0, **request: Any) -> Any:
    """The answer of a chain that has seen recall once."""
    away, mesh.away, hanging, mesh.hanging = mesh.away, set(), mesh.hanging, set()
    kept = popular.PopularList(mesh)
    task = asyncio.create_task(kept.follow(3600))
    await asyncio.sleep(0)
    mesh.away, mesh.hanging = away, hanging
    mesh.recalled.clear()
    request = {"user_id": "", "given": UserInfo(), "size": 5, **request}
    try:
        one = chain.Chain(mesh, mesh, mesh, mesh, kept, 100, Tracer("test", 0, None))
        return await one.answer(chain.Ask(**request), timeout)
    finally:
        task.cancel()


def ids(answer: Any) -> list[str]:
    return [item.sku_id for item in answer.items]


def best(count: int, of: int = 100) -> list[str]:
    """What rank puts first of the first `of` items."""
    return CATALOGUE[of - count : of][::-1]


def known() -> dict[str, RequestUser]:
    return {"7": RequestUser(UserInfo(user_id="7", age="1", sex="0"), History(sku_ids=["i001"], times=[1], types=[0]))}


async def test_the_best_of_rank_come_with_details_and_score() -> None:
    answer = await ask(Mesh(users=known()), user_id="7")

    assert ids(answer) == best(5)
    info = ItemInfo.FromString(answer.items[0].info)
    assert (info.sku_id, info.brand, info.rank_score) == ("i099", "b", 99.0)
    assert (answer.release, answer.degraded) == ("r1", [])


async def test_only_the_best_are_looked_up() -> None:
    mesh = Mesh()
    await ask(mesh, given=PROFILE)

    assert len(mesh.looked_up) == 5 + 10


async def test_given_fields_win_over_stored_ones() -> None:
    mesh = Mesh(users=known())
    await ask(mesh, user_id="7", given=UserInfo(user_id="0", age="9"))

    (query,) = mesh.recalled
    assert query.user.info == UserInfo(user_id="7", age="9", sex="0")
    assert list(query.user.history.sku_ids) == ["i001"]


@pytest.mark.parametrize("user_id", ["", "-1"])
async def test_a_new_user_is_known_by_profile(user_id: str) -> None:
    mesh = Mesh(away={"um"})
    answer = await ask(mesh, user_id=user_id, given=UserInfo(user_id="0", age="3"))

    assert answer.degraded == []
    assert mesh.recalled[0].channel == ""
    assert mesh.recalled[0].user.info.age == "3"


async def test_an_unknown_id_without_profile_gets_what_is_popular() -> None:
    mesh = Mesh()
    answer = await ask(mesh, user_id="nobody")

    assert len(answer.items) == 5
    assert answer.degraded == ["um"]
    assert mesh.recalled[0].channel == "popular"


async def test_an_unknown_id_with_a_profile_is_a_new_user() -> None:
    answer = await ask(Mesh(), user_id="nobody", given=PROFILE)

    assert answer.degraded == []


async def test_items_that_cm_does_not_know_are_replaced_by_the_next_best() -> None:
    mesh = Mesh(absent=set(best(40)))
    answer = await ask(mesh, given=PROFILE)

    assert ids(answer) == best(45)[40:]
    assert answer.degraded == []


async def test_a_list_ends_where_the_candidates_end() -> None:
    answer = await ask(Mesh(absent=set(CATALOGUE[3:])), given=PROFILE)

    assert ids(answer) == ["i002", "i001", "i000"]


async def test_excluded_items_do_not_come_and_pages_do_not_overlap() -> None:
    first = await ask(Mesh(), given=PROFILE)
    second = await ask(Mesh(), given=PROFILE, exclude=ids(first))

    assert len(set(ids(first)) | set(ids(second))) == 10


async def test_new_only_reaches_recall_and_rank() -> None:
    mesh = Mesh(users=known())
    await ask(mesh, user_id="7", new_only=True)

    assert mesh.recalled[0].new_only
    assert mesh.ranked[0].new_only
    assert "i001" not in mesh.ranked[0].ids


async def test_items_younger_than_the_release_are_ranked_by_their_fields() -> None:
    mesh = Mesh(unlisted=["i004", "i050"])
    answer = await ask(mesh, given=PROFILE)

    assert [item.sku_id for item in mesh.ranked[0].items] == ["i004", "i050"]
    assert not {"i004", "i050"} & set(mesh.ranked[0].ids)
    assert ids(answer) == best(5)


async def test_reasons_say_which_channel_gave_an_item() -> None:
    answer = await ask(Mesh(), given=PROFILE, explain=True)

    assert [reason.sku_id for reason in answer.reasons] == ids(answer)
    assert [name for name, _ in answer.reasons[0].channels] == ["two_tower"]


async def test_without_um_a_known_user_is_taken_for_a_new_one() -> None:
    answer = await ask(Mesh(users=known(), away={"um"}), user_id="7", given=PROFILE)

    assert ids(answer) == best(5)
    assert answer.degraded == ["um"]


async def test_without_recall_the_kept_popular_list_is_ranked() -> None:
    mesh = Mesh(users=known(), away={"recall"})
    answer = await ask(mesh, user_id="7", new_only=True, exclude=["i099"])

    assert ids(answer) == ["i101", "i100", "i098", "i097", "i096"]
    assert answer.degraded == ["recall"]


async def test_without_a_channel_recall_is_named_with_it() -> None:
    answer = await ask(Mesh(away={"two_tower"}), given=PROFILE)

    assert ids(answer) == best(5)
    assert answer.degraded == ["recall", "recall:two_tower"]


async def test_without_rank_the_order_of_recall_stays() -> None:
    answer = await ask(Mesh(away={"rank"}), given=PROFILE)

    assert ids(answer) == CATALOGUE[:5]
    assert answer.degraded == ["rank"]


async def test_a_backend_that_rank_went_without_is_named() -> None:
    class Fallback(Mesh):
        async def rank(self, query: ScoreQuery, timeout: float) -> ScoreList:
            return replace(await super().rank(query, timeout), degraded=("paddle_serving",))

    answer = await ask(Fallback(), given=PROFILE)

    assert ids(answer) == best(5)
    assert answer.degraded == ["rank", "rank:paddle_serving"]


async def test_without_cm_items_come_by_id_alone() -> None:
    answer = await ask(Mesh(away={"cm"}), given=PROFILE)

    assert ids(answer) == best(5)
    assert ItemInfo.FromString(answer.items[0].info) == ItemInfo(sku_id="i099", rank_score=99.0)
    assert answer.degraded == ["cm"]


async def test_without_anything_there_still_is_an_answer() -> None:
    answer = await ask(Mesh(users=known(), away={"um", "recall", "rank", "cm"}), user_id="7")

    assert ids(answer) == CATALOGUE[:5]
    assert answer.degraded == ["um", "recall", "rank", "cm"]


async def test_stages_that_hang_leave_time_to_answer() -> None:
    mesh = Mesh(users=known(), hanging={"um", "recall", "rank", "cm"})
    started = time.monotonic()
    answer = await ask(mesh, user_id="7", timeout=1.0)

    assert time.monotonic() - started < 1.0
    assert len(answer.items) == 5
    assert answer.degraded == ["um", "recall", "rank", "cm"]


async def test_without_recall_since_the_start_the_caller_is_told() -> None:
    mesh = Mesh(away={"recall"})
    one = chain.Chain(mesh, mesh, mesh, mesh, popular.PopularList(mesh), 100, Tracer("test", 0, None))

    with pytest.raises(RecmeshError, match="recall"):
        await one.answer(chain.Ask("", PROFILE, 5), 1.0)


async def test_during_a_switch_recall_and_rank_answer_from_one_release() -> None:
    mesh = Mesh(recall_release="r2", rank_release="r1")
    answer = await ask(mesh, given=PROFILE)

    assert answer.release == "r1"
    assert answer.degraded == []
    assert [query.release for query in mesh.recalled] == ["", "r1"]
    assert replace(mesh.recalled[0], release="r1") == mesh.recalled[1]


async def test_two_releases_in_one_answer_are_named() -> None:
    class Stubborn(Mesh):
        async def recall(self, query: CandidateQuery, timeout: float) -> CandidateList:
            return replace(await super().recall(query, timeout), release="r2")

    answer = await ask(Stubborn(rank_release="r1"), given=PROFILE)

    assert answer.degraded == ["rank", "rank:release"]
