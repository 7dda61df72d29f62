import asyncio

import grpc
import pytest

from recmesh.client import History, Item, Mesh, User
from recmesh.errors import AnswerFailed, DeadlineExceeded, InvalidRequest, Overloaded, RecmeshError, Unavailable
from tests.component.client.conftest import LoopbackMesh

STATUS = grpc.StatusCode


async def test_answers_come_as_plain_values(loopback: LoopbackMesh) -> None:
    async with Mesh(loopback.targets) as mesh:
        user = await mesh.um("1")
        assert user == User(
            "1",
            {"age": "5.0", "city": "7", "job": "cook"},
            History(("b", "a"), (2_000, 1_000), ("view", "order"), (1.0, 2.5), ("z",)),
        )
        items = await mesh.cm(["b", "nothing", "a"])
        assert [item.sku_id for item in items.found] == ["b", "a"]
        assert items.found[0].fields == {"brand": "x", "price": "3"}
        assert items.missing == ("nothing",)
        candidates = await mesh.recall(user, size=3)
        assert [c.sku_id for c in candidates.candidates] == ["a", "b", "c"]
        assert [dict(c.channels) for c in candidates.candidates] == [{"popular": 9.0}, {}, {"popular": 7.0}]
        scores = await mesh.rank(user, [Item("new", {"brand": "x", "colour": "red"})])
        assert set(scores.by_sku_id) == {"new"}
        answer = await mesh.recommend("1", size=2, exclude=["a"])
        assert [item.sku_id for item in answer.items] == ["b", "c"]
        assert (answer.release, answer.degraded) == ("r1", ())


async def test_profile_and_history_reach_the_services_as_the_contract_says(loopback: LoopbackMesh) -> None:
    async with Mesh(loopback.targets) as mesh:
        user = await mesh.um("1")
        await mesh.recall(user)
        await mesh.recommend(profile={"age": "5.0", "job": "cook", "city": ""})
    sent = loopback.requests["recall"][0]
    assert (sent.user_info.age, dict(sent.user_info.attributes)) == ("5.0", {"job": "cook"})
    assert list(sent.history.sku_ids) == ["b", "a"]
    assert [sent.history.type_names[k] for k in sent.history.types] == ["view", "order"]
    new = loopback.requests["as"][0]
    assert (new.user_id, new.user_info.user_id, new.user_info.age, new.user_info.city) == ("", "0", "5.0", "")
    assert dict(new.user_info.attributes) == {"job": "cook"}


async def test_scoring_splits_at_the_limit_and_stays_with_one_release(loopback: LoopbackMesh) -> None:
    ids = [f"i{k}" for k in range(4_500)]
    async with Mesh(loopback.targets) as mesh:
        scores = await mesh.score(User("1"), ids + ids[:10])
        assert (await mesh.score(User("1"), [])).by_sku_id == {}
    assert set(scores.by_sku_id) == set(ids)
    assert [len(request.item_ids) for request in loopback.requests["rank"]] == [2_000, 2_000, 500]
    assert [request.release for request in loopback.requests["rank"]] == ["", "r1", "r1"]


async def test_unavailable_is_retried(loopback: LoopbackMesh) -> None:
    loopback.faults["um"].extend([STATUS.UNAVAILABLE] * 4)
    async with Mesh(loopback.targets) as mesh:
        assert (await mesh.um("1")).user_id == "1"
    assert loopback.calls["um"] == 5


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (STATUS.INVALID_ARGUMENT, InvalidRequest),
        (STATUS.RESOURCE_EXHAUSTED, Overloaded),
        (STATUS.DEADLINE_EXCEEDED, DeadlineExceeded),
        (STATUS.INTERNAL, RecmeshError),
    ],
)
async def test_other_statuses_fail_at_once(
    loopback: LoopbackMesh, status: grpc.StatusCode, error: type[RecmeshError]
) -> None:
    loopback.faults["as"].append(status)
    async with Mesh(loopback.targets) as mesh:
        with pytest.raises(error, match=f"as at {loopback.target}"):
            await mesh.recommend("1")
    assert loopback.calls["as"] == 1


async def test_overload_is_retried_on_request(loopback: LoopbackMesh) -> None:
    loopback.faults["as"].append(STATUS.RESOURCE_EXHAUSTED)
    async with Mesh(loopback.targets, retry_overload=True) as mesh:
        assert (await mesh.recommend("1", size=1)).items
    assert loopback.calls["as"] == 2


async def test_an_outage_ends_with_its_cause_at_the_deadline(loopback: LoopbackMesh) -> None:
    loopback.kill()
    async with Mesh(loopback.targets, timeout=1) as mesh:
        with pytest.raises(Unavailable, match=f"um at {loopback.target} did not answer within 1 s"):
            await mesh.um("1")


async def test_a_hanging_service_ends_at_the_deadline(loopback: LoopbackMesh) -> None:
    loopback.gate.clear()
    async with Mesh(loopback.targets) as mesh:
        with pytest.raises(DeadlineExceeded):
            await mesh.um("1", timeout=0.3)


async def test_calls_survive_a_service_that_is_killed_and_restarted(loopback: LoopbackMesh) -> None:
    loopback.gate.clear()
    async with Mesh(loopback.targets, timeout=30) as mesh:
        calls = [asyncio.create_task(mesh.recommend("1", size=1)) for _ in range(8)]
        await asyncio.to_thread(loopback.wait_for, "as", 8)
        killed = asyncio.create_task(asyncio.to_thread(loopback.kill))
        loopback.gate.set()
        await killed
        late = asyncio.create_task(mesh.recommend("2", size=1))
        await asyncio.to_thread(loopback.start)
        answers = await asyncio.gather(*calls, late)
    assert all([item.sku_id for item in answer.items] == ["a"] for answer in answers)


async def test_a_failed_answer_is_an_error_with_its_text(loopback: LoopbackMesh) -> None:
    async with Mesh(loopback.targets) as mesh:
        with pytest.raises(
            AnswerFailed, match=r'um answered 500: UM server get user_info from redis fail. \(user_id: "77" \)'
        ):
            await mesh.um("77")
