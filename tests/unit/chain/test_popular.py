"""The popular list that replaces recall."""

from dataclasses import replace

import pytest
from structlog.testing import capture_logs

from recmesh.chain.popular import PopularList
from recmesh.conditions import Condition
from recmesh.errors import RecmeshError, Unavailable
from recmesh.pb.user_info_pb2 import History, UserInfo
from recmesh.serving.stages import ANONYMOUS, CandidateList, CandidateQuery, ChannelScores, RequestUser
from tests.unit.clock import Clock

POPULAR = CandidateList(["a", "b", "c", "d"], [9.0, 7.0, 4.0, 2.0], "r1", missing=("", "NA"))
USER = RequestUser(UserInfo(), History(sku_ids=["a"], older_sku_ids=["c"]))


class _Ended(Exception):
    """Ends the endless refreshing."""


class _Recall:
    """recall with listed answers.

    Attributes:
        asked: The queries, with their timeouts.
    """

    def __init__(self, *answers: CandidateList | RecmeshError) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[CandidateQuery, float]] = []

    async def recall(self, query: CandidateQuery, timeout: float) -> CandidateList:
        self.asked.append((query, timeout))
        answer = self.answers.pop(0)
        if isinstance(answer, RecmeshError):
            raise answer
        return answer


async def followed(
    monkeypatch: pytest.MonkeyPatch, *answers: CandidateList | RecmeshError
) -> tuple[PopularList, Clock, _Recall]:
    """A list that has been refreshed with these answers."""
    clock, recall = Clock(monkeypatch, "recmesh.chain.popular", "recmesh.throttle"), _Recall(*answers)
    popular = PopularList(recall)

    def end() -> None:
        if not recall.answers:
            raise _Ended

    clock.at_pause = end
    with pytest.raises(_Ended):
        await popular.follow(30.0)
    return popular, clock, recall


async def test_recall_is_asked_for_a_thousand_popular_items_of_nobody_within_two_seconds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _, _, recall = await followed(monkeypatch, POPULAR)
    assert recall.asked == [(CandidateQuery(ANONYMOUS, size=1_000, channel="popular"), 2.0)]


async def test_it_is_refreshed_at_intervals_and_after_a_failure_in_half_a_second(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    down = Unavailable("down")
    popular, clock, _ = await followed(monkeypatch, down, down, POPULAR, down, replace(POPULAR, release="r2"))
    assert clock.pauses == [0.5, 0.5, 30, 0.5, 30]
    assert popular.candidates(CandidateQuery(USER, 1)).release == "r2"


async def test_while_recall_does_not_answer_the_log_says_so_with_growing_pauses(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Half a second between two attempts, for a minute; then recall answers."""
    with capture_logs() as lines:
        await followed(monkeypatch, *[Unavailable("down")] * 120, POPULAR)
    *failures, end = lines
    assert [(line["event"], line["reason"]) for line in failures] == [("popular list not refreshed", "down")] * 6
    assert [(line["seconds"], line["attempts"]) for line in failures] == [
        (0, 1), (1, 2), (3, 4), (7, 8), (15, 16), (31, 32)
    ]  # fmt: skip
    assert (end["event"], end["seconds"], end["attempts"]) == ("popular list refreshed again", 60, 120)


async def test_a_failure_keeps_the_latest_list(monkeypatch: pytest.MonkeyPatch) -> None:
    popular, _, _ = await followed(monkeypatch, POPULAR, Unavailable("down"))
    await popular.check()
    assert popular.missing == ("", "NA")
    assert popular.candidates(CandidateQuery(USER, 2)).ids == ["a", "b"]


async def test_before_the_first_list_there_are_no_candidates(monkeypatch: pytest.MonkeyPatch) -> None:
    popular, _, _ = await followed(monkeypatch, Unavailable("down"))
    for failing in (popular.check, lambda: popular.candidates(CandidateQuery(USER, 1))):
        with pytest.raises(Unavailable, match="as: recall has not answered yet"):
            await failing()  # type: ignore[misc]  # one raises before it is awaited
    assert popular.missing == ("",)


@pytest.mark.parametrize(
    ("query", "release_new_only", "expected"),
    [
        (CandidateQuery(USER, 3), False, (["a", "b", "c"], [9, 7, 4], False)),
        (CandidateQuery(USER, 3, exclude=("b",)), False, (["a", "c", "d"], [9, 4, 2], False)),
        (CandidateQuery(USER, 3, new_only=True), False, (["b", "d"], [7, 2], True)),
        (CandidateQuery(USER, 1, new_only=True), False, (["b"], [7], True)),
        (CandidateQuery(USER, 3), True, (["b", "d"], [7, 2], True)),
        (CandidateQuery(USER, 3, new_only=True, exclude=("b", "d")), False, ([], [], True)),
    ],
)
async def test_it_obeys_the_query(
    monkeypatch: pytest.MonkeyPatch,
    query: CandidateQuery,
    release_new_only: bool,
    expected: tuple[list[str], list[float], bool],
) -> None:
    popular, _, _ = await followed(monkeypatch, replace(POPULAR, new_only=release_new_only))
    ids, scores, new_only = expected
    channels = {"popular": ChannelScores(range(len(ids)), scores)}
    assert popular.candidates(query) == CandidateList(ids, scores, "r1", new_only, channels, missing=("", "NA"))


async def test_the_present_is_after_the_release_and_after_the_newest_action(monkeypatch: pytest.MonkeyPatch) -> None:
    popular, _, _ = await followed(monkeypatch, replace(POPULAR, now=1_000))
    for times, now in (([], 1_000), ([998, 997], 1_000), ([2_000, 1], 2_001)):
        user = RequestUser(UserInfo(), History(sku_ids=["a"] * len(times), times=times))
        assert popular.candidates(CandidateQuery(user, 1)).now == now


async def test_with_conditions_it_gives_the_whole_list_and_then_the_best_of_those_that_meet_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    popular, _, _ = await followed(monkeypatch, replace(POPULAR, separators={"genres": "|"}))
    query = CandidateQuery(USER, 1, exclude=["b"], conditions=[Condition("cate", any_of=("5",))])
    whole = popular.candidates(query)
    assert (whole.ids, whole.missing, whole.separators) == (["a", "c", "d"], ("", "NA"), {"genres": "|"})
    assert popular.candidates(query, among={"b", "c", "d"}).ids == ["c"]
    assert popular.candidates(query, among=set()).ids == []
