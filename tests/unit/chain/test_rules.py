"""The chain with rules over simulated stages: what is asked for, what is shown, and what happens without a stage."""

import asyncio
import uuid
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

import numpy as np
import pytest

from recmesh.chain.active_rules import ActiveRules
from recmesh.chain.chain import Chain
from recmesh.chain.model import Answer, Request
from recmesh.chain.popular import PopularList
from recmesh.conditions import Condition
from recmesh.contract import MAX_EXCLUDED
from recmesh.pb.item_info_pb2 import ItemInfo
from recmesh.pb.user_info_pb2 import History, UserInfo
from recmesh.releases import ModelStore
from recmesh.serving.stages import CandidateList, CandidateQuery, RequestUser, ScoreList, ScoreQuery
from tests.component.services.test_chain import CANDIDATES, CATALOGUE, PROFILE, Stages, best, ids
from tests.unit.metric import added, eventually

PIN = "{name: pin, kind: pin, items: [i250, i001], position: 2}"


@dataclass
class Shop(Stages):
    """Stages whose items have a category, the last digit of the id, and a vector, which the last digit decides.

    Attributes:
        without_vectors: Whether the release has none.
        lost_bytes: How many bytes of the vectors are missing.
    """

    without_vectors: bool = False
    lost_bytes: int = 0

    async def rank(self, query: ScoreQuery, timeout: float) -> ScoreList:
        ranked = await super().rank(query, timeout)
        if not query.vectors or self.without_vectors:
            return ranked
        vectors = np.eye(10, dtype="<f4")[[int(sku_id[-1]) for sku_id in ranked.ids]].tobytes()
        return replace(ranked, vectors=vectors[: len(vectors) - self.lost_bytes])

    async def get(self, sku_ids: Sequence[str], timeout: float) -> list[bytes | None]:
        return [
            None if info is None else ItemInfo(sku_id=sku_id, cate=sku_id[-1]).SerializeToString()
            for sku_id, info in zip(sku_ids, await super().get(sku_ids, timeout), strict=True)
        ]


async def ask(stages: Shop, *rules: str, request: Request | None = None) -> Answer:
    """The answer of a chain with these rules; five items."""
    store = ModelStore(f"memory://{uuid.uuid4().hex}")
    store.apply_rules("rules:" + ("".join(f"\n  - {rule}" for rule in rules) or " []"))
    active = ActiveRules()
    following = asyncio.create_task(active.follow(store, 3600.0))
    await eventually(lambda: active.version == 1)
    following.cancel()
    with suppress(asyncio.CancelledError):
        await following
    failing, stages.failing = stages.failing, set()
    popular = PopularList(stages)
    await popular._refresh()
    stages.failing = failing
    stages.recalled.clear()
    chain = Chain(stages, stages, stages, stages, popular, CANDIDATES, rules=active)
    return await chain.answer(request or Request("", PROFILE, 5, explain=True), 5.0)


def moved(answer: Answer) -> dict[str, list[str]]:
    return {reason.sku_id: list(reason.rules) for reason in answer.reasons if reason.rules}


async def test_pinned_items_are_looked_up_with_the_best_ones() -> None:
    stages = Shop()
    before = added("recmesh_rule_items_total", rule="pin")
    answer = await ask(stages, PIN)

    assert ids(answer) == ["i099", "i250", "i001", "i098", "i097"]
    assert moved(answer) == {"i250": ["pin"], "i001": ["pin"]}
    assert len(stages.looked_up) == 5 + 10 + 2
    scores = [ItemInfo.FromString(item.info).rank_score for item in answer.items]
    assert scores == [99, 0, 0, 98, 97], "what rank has not scored or given has the score 0"
    assert [reason.channels for reason in answer.reasons if reason.sku_id == "i250"] == [[]]
    assert before() == 2


async def test_pinned_items_that_the_request_or_cm_does_not_allow_are_not_shown() -> None:
    request = Request("", PROFILE, 5, exclude=["i001"], explain=True)
    answer = await ask(Shop(absent={"i250"}), PIN, request=request)
    assert (ids(answer), answer.degraded) == (best(5, 101), [])


async def test_pinned_items_must_meet_the_conditions_of_the_request() -> None:
    """i250 is of category 0, i001 of category 1; the simulated recall ignores conditions, cm's fields decide."""
    conditions = (Condition("cate", any_of=("1", "9")),)
    answer = await ask(Shop(), PIN, request=Request("", PROFILE, 5, conditions=conditions))
    assert (ids(answer), answer.degraded) == (["i099", "i001", "i091", "i089", "i081"], [])


@pytest.mark.parametrize(("new_only", "shown"), [(False, True), (True, False)])
async def test_a_pin_shows_an_item_of_the_history_unless_all_must_be_new(new_only: bool, shown: bool) -> None:
    history = History(sku_ids=["i250"], times=[1], types=[0], older_sku_ids=["i251"])
    stages = Shop(users={"7": RequestUser(UserInfo(user_id="7"), history)})
    rule = "{name: pin, kind: pin, items: [i250, i251], position: 1}"
    answer = await ask(stages, rule, request=Request("7", UserInfo(), 5, new_only=new_only))
    assert ids(answer) == (["i250", "i251", *best(3)] if shown else best(5))


async def test_unlike_pins_other_rules_need_all_candidates() -> None:
    stages = Shop()
    answer = await ask(stages, "{name: round, kind: boost, factor: 100, when: cate=0}")

    assert ids(answer) == ["i090", "i080", "i070", "i060", "i050"]
    assert moved(answer) == {sku_id: ["round"] for sku_id in ids(answer)}
    assert len(stages.looked_up) == CANDIDATES
    assert (len(stages.recalled), len(stages.ranked)) == (1, 1)


async def test_rules_for_others_change_no_question() -> None:
    stages = Shop()
    answer = await ask(stages, "{name: a, kind: diversity, strength: 1, scenario: related}")

    assert (ids(answer), moved(answer)) == (best(5), {})
    assert len(stages.looked_up) == 5 + 10
    assert [(query.size, query.vectors) for query in stages.ranked] == [(15, False)]


async def test_the_scenario_and_the_profile_choose_rules() -> None:
    rules = (
        "{name: a, kind: exclude, when: cate=9, scenario: related}",
        "{name: b, kind: exclude, when: cate=8, users: city=176}",
        "{name: c, kind: exclude, when: cate=7, users: city=177}",
        "{name: d, kind: exclude, when: cate=0, scenario: [home, trending]}",
    )
    answer = await ask(Shop(), *rules, request=Request("", PROFILE, 9, scenario="related", context=("i004", "i001")))
    # In the order of recall, which does not know the context here.
    assert ids(answer) == ["i000", "i001", "i002", "i003", "i004", "i005", "i006", "i007", "i010"]
    answer = await ask(Shop(), *rules, request=Request("", PROFILE, 5))
    assert ids(answer) == ["i099", "i097", "i096", "i095", "i094"]


async def test_diversity_in_a_scenario_uses_the_vectors_of_rank() -> None:
    """rank orders nothing here: it only gives vectors. Items with the same last digit have the same vector."""
    stages = Shop()
    rule = "{name: mix, kind: diversity, strength: 1}"
    others = [sku_id for sku_id in CATALOGUE if sku_id not in ("i000", "i010", "i020", "i021")]
    request = Request("", PROFILE, 4, others, scenario="trending")
    answer = await ask(stages, rule, request=request)
    assert (ids(answer), answer.degraded) == (["i000", "i021", "i010", "i020"], [])
    assert [query.vectors for query in stages.ranked] == [True]
    answer = await ask(Shop(failing={"rank"}), rule, request=request)
    assert (ids(answer), answer.degraded) == (["i000", "i010", "i020", "i021"], ["rank", "rules:diversity"])


async def test_all_pages_follow_the_rules() -> None:
    """The candidates that are ranked are listed, without those that rules leave out."""
    rules = ("{name: no, kind: exclude, when: cate=9}", "{name: round, kind: boost, factor: 1000, when: cate=0}", PIN)
    answer = await ask(Shop(), *rules, request=Request("", PROFILE, 50, paged=True))
    round_items = [f"i{n:03}" for n in range(90, -1, -10)]
    others = [f"i{n:03}" for n in range(99, -1, -1) if n % 10 not in (0, 9) and n != 1]
    expected = [round_items[0], "i250", "i001", *round_items[1:], *others]
    assert answer.rest is not None
    assert [*ids(answer), *answer.rest.ids] == expected
    scores = [ItemInfo.FromString(item.info).rank_score for item in answer.items]
    assert [*scores, *answer.rest.scores] == [0.0 if sku_id == "i250" else float(sku_id[1:]) for sku_id in expected]


async def test_an_item_that_a_rule_leaves_out_is_missing_for_that() -> None:
    rule = "{name: no, kind: exclude, when: cate=9}"
    answer = await ask(Shop(), rule, request=Request("", PROFILE, 5, explain_missing=("i099", "i098", "i090")))
    assert [(missing.reason, missing.text) for missing in answer.missing][:2] == [
        ("rule", "the rule 'no' leaves it out"),
        ("listed", "at position 1"),
    ]
    assert answer.missing[2].reason == "rank"


async def test_a_list_is_full_although_rules_exclude_most_candidates() -> None:
    """Of each hundred candidates ten remain: recall is asked three times."""
    stages = Shop()
    rule = "{name: most, kind: exclude, when: 'cate!=9'}"
    answer = await ask(stages, rule, request=Request("", PROFILE, 25, explain=True))

    assert ids(answer) == [f"i{n:03}" for n in (*range(99, 0, -10), *range(199, 100, -10), *range(299, 250, -10))]
    assert [len(query.exclude) for query in stages.recalled] == [0, 100, 200]
    assert [name for name, _ in answer.reasons[-1].channels] == ["two_tower"]
    assert answer.degraded == []


async def test_recall_is_asked_no_more_if_it_has_nothing_else() -> None:
    stages = Shop()
    answer = await ask(stages, "{name: all, kind: exclude, when: 'cate!=x'}")
    assert (ids(answer), answer.degraded) == ([], [])
    assert [len(query.exclude) for query in stages.recalled] == [0, 100, 200, 300]


async def test_recall_is_not_asked_for_more_than_it_may_exclude() -> None:
    stages = Shop()
    request = Request("", PROFILE, 5, exclude=[f"x{n}" for n in range(MAX_EXCLUDED - 50)])
    answer = await ask(stages, "{name: all, kind: exclude, when: 'cate!=x'}", request=request)
    assert (ids(answer), len(stages.recalled)) == ([], 1)


async def test_without_a_rule_that_excludes_recall_is_asked_once() -> None:
    stages = Shop()
    answer = await ask(stages, "{name: a, kind: at_most, field: cate, count: 1}", request=Request("", PROFILE, 200))
    assert (len(answer.items), len(stages.recalled)) == (100, 1)


async def test_diversity_uses_the_vectors_of_rank() -> None:
    stages = Shop()
    answer = await ask(
        stages, "{name: mmr, kind: diversity, strength: 1}", request=Request("", PROFILE, 12, explain=True)
    )
    assert ids(answer) == [*best(10), "i089", "i088"]
    assert [query.vectors for query in stages.ranked] == [True]


@pytest.mark.parametrize("stages", [Shop(without_vectors=True), Shop(lost_bytes=1)])
async def test_without_vectors_that_fit_diversity_is_skipped(stages: Shop) -> None:
    answer = await ask(stages, "{name: mmr, kind: diversity, strength: 1}")
    assert (ids(answer), answer.degraded) == (best(5), ["rules:diversity"])


async def test_without_cm_rules_that_need_no_fields_apply() -> None:
    rules = ("{name: no, kind: exclude, when: 'sku_id=i099'}", "{name: nines, kind: boost, factor: 9, when: cate=0}")
    degraded = added("recmesh_degraded_total", part="rules")
    answer = await ask(Shop(failing={"cm"}), PIN, *rules)
    assert ids(answer) == ["i098", "i001", "i097", "i096", "i095"], "i001 is a candidate, i250 may be hidden"
    assert (answer.degraded, degraded()) == (["cm", "rules"], 1)


async def test_if_cm_has_lost_all_items_the_answer_says_so() -> None:
    answer = await ask(Shop(absent=set(CATALOGUE)), PIN, "{name: nines, kind: boost, factor: 9, when: cate=0}")
    assert ids(answer) == ["i099", "i001", "i098", "i097", "i096"]
    assert answer.degraded == ["cm", "rules"]


async def test_without_rank_rules_change_the_order_of_recall() -> None:
    answer = await ask(
        Shop(failing={"rank"}), "{name: no, kind: exclude, when: cate=0}", "{name: m, kind: diversity, strength: 1}"
    )
    assert ids(answer) == CATALOGUE[1:6]
    assert answer.degraded == ["rank", "rules:diversity"]


async def test_without_recall_rules_change_the_popular_list() -> None:
    answer = await ask(Shop(failing={"recall"}), "{name: no, kind: exclude, when: cate=9}")
    assert ids(answer) == ["i098", "i097", "i096", "i095", "i094"]
    assert answer.degraded == ["recall"]


async def test_unknown_items_are_replaced_by_the_next_best() -> None:
    answer = await ask(Shop(absent=set(best(40))), PIN)
    assert ids(answer) == [best(41)[40], "i250", "i001", *best(43)[41:]]


class Switching(Shop):
    """recall answers from a release that rank does not have yet."""

    async def recall(self, query: CandidateQuery, timeout: float) -> CandidateList:
        return replace(await super().recall(query, timeout), release=query.release or "r2")


async def test_during_a_switch_of_releases_rules_apply_to_one_release() -> None:
    stages = Switching(rank_release="r1")
    answer = await ask(
        stages, "{name: nines, kind: boost, factor: 100, when: cate=0}", "{name: m, kind: diversity, strength: 0.1}"
    )
    assert (answer.release, answer.degraded) == ("r1", [])
    assert ids(answer)[0] == "i090"
    assert [query.release for query in stages.recalled] == ["", "r1"]


async def test_an_empty_file_changes_nothing() -> None:
    stages = Shop()
    assert ids(await ask(stages, request=Request("", PROFILE, 5))) == best(5)
    assert len(stages.looked_up) == 5 + 10
