"""The client library over a real feed."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc

from recmesh.client import Action, Item, Mesh, Recorded, Rejected, Targets, User, sync
from tests.component.client.live import LiveMesh
from tests.processes import Service, start_service
from tests.waiting import eventually

DAY = 86_400_000
NOBODY = 'user_id is empty or "-1", which means an anonymous user'
TYPO = "type 'vieww' is not one of order, cart, view"


def many(user: str) -> list[Action]:
    """2,500 actions of ten users; the one at position 1,700 has a type that the data set does not know."""
    actions = [
        Action(f"{user}{k % 10}", f"i{k}", time=DAY + k, type="view", value=k / 2, event_id=f"e{k}")
        for k in range(2500)
    ]
    actions[1700] = Action(f"{user}0", "i1700", time=DAY, type="vieww")
    return actions


def has_all_but_the_rejected(live: LiveMesh, user: str) -> None:
    for number in range(10):
        expected = [(f"i{k}", DAY + k, "view", k / 2) for k in reversed(range(2500)) if k % 10 == number and k != 1700]
        live.has_actions(f"{user}{number}", expected)


async def test_2500_actions_are_recorded_in_three_calls_with_the_positions_of_the_caller(live: LiveMesh) -> None:
    before = live.feed.metric("recmesh_requests_total")
    async with Mesh(live.targets) as mesh:
        recorded = await mesh.record(many("async"))
        assert recorded == Recorded(2499, 0, (Rejected(1700, TYPO),))
        assert live.feed.metric("recmesh_requests_total") == before + 3
        again = await mesh.record(iter(many("async")))
    assert again == Recorded(2499, 2499, (Rejected(1700, TYPO),))
    has_all_but_the_rejected(live, "async")


def test_the_blocking_client_does_the_same(live: LiveMesh) -> None:
    with sync.Mesh(live.targets) as mesh:
        assert mesh.record(many("sync")) == Recorded(2499, 0, (Rejected(1700, TYPO),))
        assert mesh.record(many("sync")) == Recorded(2499, 2499, (Rejected(1700, TYPO),))
    has_all_but_the_rejected(live, "sync")


def test_equal_actions_without_event_ids_and_times_are_two_actions(live: LiveMesh) -> None:
    with sync.Mesh(live.targets) as mesh:
        first = mesh.record([Action("now", "i1")])
        eventually(lambda: len(live.actions("now")) == 1, lambda: live.actions("now"))
        assert [first, mesh.record([Action("now", "i1")])] == [Recorded(1, 0, ())] * 2
    eventually(lambda: len(live.actions("now")) == 2, lambda: live.actions("now"))
    assert {(sku_id, kind, value) for sku_id, _, kind, value in live.actions("now")} == {("i1", "order", 1.0)}


def test_nothing_is_sent_for_an_empty_list(live: LiveMesh) -> None:
    before = live.feed.metric("recmesh_requests_total")
    with sync.Mesh(live.targets) as mesh:
        assert mesh.record([]) == mesh.put_items([]) == mesh.remove_items([]) == Recorded(0, 0, ())
    assert live.feed.metric("recmesh_requests_total") == before


async def test_users_items_and_their_availability(live: LiveMesh) -> None:
    async with Mesh(live.targets) as mesh:
        users = [User("u1", {"age": "30", "income": "12.5"}), User("-1"), User("u2", {"income": "high"})]
        not_a_number = Rejected(2, "user field income is numeric, but 'high' is no number")
        assert await mesh.put_users(users) == Recorded(1, 0, (Rejected(1, NOBODY), not_a_number))
        live.has_profile("u1", {"age": "30", "income": "12.5"})
        await mesh.put_users([User("u1", {"income": ""})])
        live.has_profile("u1", {"age": "30"})
        assert await mesh.delete_user("u1") == Recorded(1, 0, ())
        live.has_profile("u1", None)
        assert await mesh.delete_user("-1") == Recorded(0, 0, (Rejected(0, NOBODY),))

        assert await mesh.put_items([Item("n1", {"cate": "70", "price": "9.5"}), Item("n2")]) == Recorded(2, 0, ())
        live.offers("n1", Item("n1", {"cate": "70", "price": "9.5"}))
        assert await mesh.set_availability(["n1", "", "n2"], False) == Recorded(2, 0, (Rejected(1, "sku_id is empty"),))
        live.offers("n1", None)
        assert await mesh.set_availability(["n1", "n2"], True) == Recorded(2, 0, ())
        live.offers("n1", Item("n1", {"cate": "70", "price": "9.5"}))
        assert await mesh.remove_items(["n1"]) == Recorded(1, 0, ())
        live.offers("n1", None)
        live.offers("n2", Item("n2"))


def test_more_than_a_mebibyte_is_sent_in_several_calls(live: LiveMesh) -> None:
    before = live.feed.metric("recmesh_requests_total")
    items = [Item(f"large{k}", {"brand": "x" * 16_384}) for k in range(100)]
    with sync.Mesh(live.targets) as mesh:
        assert mesh.put_items([*items, Item("")]) == Recorded(100, 0, (Rejected(100, "sku_id is empty"),))
    assert live.feed.metric("recmesh_requests_total") == before + 2  # 63 items are 1 MiB
    live.offers("large99", items[99])


class LostAnswer(grpc.UnaryUnaryClientInterceptor):
    """Loses an answer: kills feed, so that the client sees UNAVAILABLE, and starts it for the next attempt."""

    def __init__(self, lost: int, feed: Service, restart: Callable[[], Service]) -> None:
        self._lost = lost
        self._restart = restart
        self.attempts = 0
        self.feed = feed

    def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        self.attempts += 1
        if self.attempts == self._lost:
            assert continuation(client_call_details, request).result().accepted == 1000
            self.feed.kill()
        if self.attempts == self._lost + 1:
            self.feed = self._restart()
        return continuation(client_call_details, request)


def test_every_action_counts_once_though_feed_is_killed_and_an_answer_lost(own_live: LiveMesh, tmp_path: Path) -> None:
    def restart() -> Service:
        return start_service("feed", tmp_path, {"RECMESH_REDIS_URL": own_live.redis.url}, own_live.feed.ports)

    lost = LostAnswer(2, own_live.feed, restart)
    # Without times, a repeated action would be another action.
    actions = [Action(f"kill{k % 10}", f"i{k}") for k in range(2500)]
    try:
        with sync.Mesh(Targets({"feed": own_live.targets["feed"]}), timeout=60, interceptors=[lost]) as mesh:
            assert mesh.record(actions) == Recorded(2500, 1000, ())
        assert lost.attempts > 3
        assert own_live.logged() == 2500
        expected = {f"kill{number}": Counter(f"i{k}" for k in range(number, 2500, 10)) for number in range(10)}

        def found() -> dict[str, Counter[str]]:
            return {user: Counter(sku_id for sku_id, *_ in own_live.actions(user)) for user in expected}

        eventually(lambda: found() == expected, found)
    finally:
        lost.feed.kill()
