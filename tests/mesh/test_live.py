"""What feed records is in the next answers of the other services."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from recmesh.contract import NEW, TRENDING
from recmesh.pb.as_pb2 import ASRequest, ASResponse
from recmesh.pb.cm_pb2 import CMRequest
from recmesh.pb.feed_pb2 import (
    Action,
    DeleteUserRequest,
    ItemUpdate,
    PutItemsRequest,
    PutUsersRequest,
    RecordActionsRequest,
    RemoveItemsRequest,
    SetAvailabilityRequest,
    UserUpdate,
)
from recmesh.pb.recall_pb2 import RecallRequest
from recmesh.pb.um_pb2 import UserModelRequest
from recmesh.stores.wire import item_fields, user_fields
from tests.calls import (
    AS,
    CM,
    DELETE_USER,
    PUT_ITEMS,
    PUT_USERS,
    RECALL,
    RECORD_ACTIONS,
    REMOVE_ITEMS,
    SET_AVAILABILITY,
    UM,
)
from tests.mesh.conftest import ids
from tests.mesh.test_release_switch import copied_release
from tests.processes import Service, running
from tests.servers import MilvusServer, running_redis
from tests.shop import Shop, open_shop
from tests.waiting import eventually

SIZE = 20
CHANNELS = ("two_tower", "neighbours", "popular", "bought_before", "new", "trending", "")


@dataclass(frozen=True)
class Live:
    """A shop of its own, with feed beside compact."""

    shop: Shop
    compact: Service
    feed: Service

    def recommend(self, user_id: str) -> ASResponse:
        return AS.call(self.compact.target("as"), ASRequest(user_id=user_id, size=SIZE))

    @contextmanager
    def another_release(self, name: str, folder: Path) -> Iterator[None]:
        """A copy of the active release, without its collection in Milvus, is active during the block."""
        first = self.shop.store.active()
        assert first is not None
        copied_release(self.shop, folder, name)
        self._activate(name)
        yield
        self._activate(first)

    def _activate(self, release: str) -> None:
        self.shop.store.activate(release, ())
        user = self.shop.user_ids[0]
        eventually(lambda: self.recommend(user).release == release, lambda: self.recommend(user).release)

    def trending(self, user_id: str, **request: Any) -> list[str]:
        return ids(
            AS.call(self.compact.target("as"), ASRequest(user_id=user_id, scenario=TRENDING, size=SIZE, **request))
        )

    def act(self, counts: dict[str, int]) -> None:
        """Record actions on items, each by another user, of the strongest type."""
        actions = [
            Action(user_id=f"trend-{number}", sku_id=sku_id)
            for sku_id, count in counts.items()
            for number in range(count)
        ]
        assert RECORD_ACTIONS.call(self.feed.target("feed"), RecordActionsRequest(actions=actions)).accepted == len(
            actions
        )

    def recall(self, user_id: str, channel: str = "", size: int = 400) -> list[str]:
        user = UM.call(self.compact.target("um"), UserModelRequest(user_id=user_id))
        request = RecallRequest(
            user_info=user.user_info, history=user.history, recall_type=channel, request_num=size, columnar=True
        )
        return list(RECALL.call(self.compact.target("recall"), request).candidates.ids)

    def set_available(self, sku_id: str, available: bool) -> None:
        request = SetAvailabilityRequest(sku_ids=[sku_id], available=available)
        assert SET_AVAILABILITY.call(self.feed.target("feed"), request).accepted == 1

    def fields(self, sku_id: str) -> dict[str, str]:
        (info,) = CM.call(self.compact.target("cm"), CMRequest(item_ids=[sku_id])).item_infos
        return item_fields(info)

    def put_item(self, sku_id: str, fields: dict[str, str]) -> None:
        request = PutItemsRequest(items=[ItemUpdate(sku_id=sku_id, fields=fields)])
        assert PUT_ITEMS.call(self.feed.target("feed"), request).accepted == 1

    def shows(self, user_id: str, sku_id: str) -> bool:
        """Whether an answer of any service has the item."""
        found = any(sku_id in self.recall(user_id, channel) for channel in CHANNELS)
        items = CM.call(self.compact.target("cm"), CMRequest(item_ids=[sku_id])).item_infos
        return found or bool(items) or sku_id in ids(self.recommend(user_id))


@pytest.fixture(scope="module")
def live(
    training_folder: Path, milvus_server: MilvusServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Live]:
    with running_redis() as redis:
        shop = open_shop(training_folder, tmp_path_factory.mktemp("live"), redis, milvus_server)
        with running("compact", shop.environment) as compact, running("feed", shop.environment) as feed:
            yield Live(shop, compact, feed)


def test_a_user_with_the_recorded_actions_of_another_one_gets_the_same_list(live: Live) -> None:
    original = live.shop.user_ids[0]
    stored = UM.call(live.compact.target("um"), UserModelRequest(user_id=original))
    expected, history = live.recommend(original), stored.history
    assert len(ids(expected)) == SIZE
    assert live.recommend("twin").unknown_user
    actions = [
        Action(user_id="twin", sku_id=sku_id, time=time, type=history.type_names[kind], value=value)
        for sku_id, time, kind, value in zip(history.sku_ids, history.times, history.types, history.values, strict=True)
    ]
    # Oldest first, as they happened.
    recorded = RECORD_ACTIONS.call(live.feed.target("feed"), RecordActionsRequest(actions=actions[::-1]))
    assert recorded.accepted == len(actions)
    users = [UserUpdate(user_id="twin", fields=user_fields(stored.user_info))]
    assert PUT_USERS.call(live.feed.target("feed"), PutUsersRequest(users=users)).accepted == 1

    def same() -> bool:
        return list(live.recommend("twin").item_infos) == list(expected.item_infos)

    eventually(same, lambda: (ids(live.recommend("twin")), ids(expected)))
    assert not live.recommend("twin").unknown_user


def test_a_new_item_is_recalled_with_the_vector_of_its_fields(live: Live) -> None:
    user = live.shop.user_ids[1]
    best = live.recall(user, "two_tower", 1)[0]
    live.put_item("fresh-1", live.fields(best))
    live.put_item("fresh-2", live.fields(best))
    eventually(lambda: {"fresh-1", "fresh-2"} <= set(live.recall(user, NEW)), lambda: live.recall(user, NEW))
    stored = UM.call(live.compact.target("um"), UserModelRequest(user_id=user))
    request = RecallRequest(user_info=stored.user_info, history=stored.history, recall_type=NEW, request_num=400)
    answer = RECALL.call(live.compact.target("recall"), request)
    scores = {pair.nid: pair.score for pair in answer.score_pairs}
    assert scores["fresh-1"] == scores["fresh-2"]
    assert {"fresh-1", "fresh-2"} <= set(answer.unlisted_ids)
    assert {"fresh-1", "fresh-2"} <= set(live.recall(user))
    removal = RemoveItemsRequest(sku_ids=["fresh-1", "fresh-2"])
    assert REMOVE_ITEMS.call(live.feed.target("feed"), removal).accepted == 2
    eventually(lambda: not live.shows(user, "fresh-1") and not live.shows(user, "fresh-2"), lambda: live.recall(user))


def test_what_is_acted_on_now_is_trending(live: Live) -> None:
    user, popular = live.shop.user_ids[3], live.recall("", "popular", 400)
    first, second, hidden = popular[-1], popular[-2], popular[-3]
    live.put_item("hot", live.fields(first))
    live.act({first: 5, "hot": 4, second: 3, hidden: 9, "nowhere": 9})
    expected = [hidden, first, "hot", second]
    eventually(lambda: live.trending(user)[:4] == expected, lambda: live.trending(user)[:5])
    # Popular items fill the list, for anonymous users as well, and new_only and exclude_ids hold.
    assert live.trending("") == [*expected, *(sku_id for sku_id in popular if sku_id not in expected)][:SIZE]
    assert live.trending(user, exclude_ids=[hidden, "hot"])[:2] == [first, second]
    assert live.recall(user, TRENDING) == expected
    answer = AS.call(live.compact.target("as"), ASRequest(user_id=user, scenario=TRENDING, size=SIZE, explain=True))
    assert not answer.degraded
    channels = [[part.channel for part in reason.channels] for reason in answer.reasons]
    assert channels == [[TRENDING]] * 4 + [["popular"]] * (SIZE - 4)
    scores = [reason.channels[0].score for reason in answer.reasons]
    assert scores[:4] == [info.rank_score for info in answer.item_infos[:4]]
    assert [score / scores[3] for score in scores[:4]] == pytest.approx([3, 5 / 3, 4 / 3, 1], rel=1e-6)

    live.set_available(hidden, False)
    eventually(lambda: hidden not in live.trending(user), lambda: live.trending(user))
    assert live.trending(user)[:3] == [first, "hot", second]
    # Counts have no users.
    request = DeleteUserRequest(user_id="trend-0")
    assert DELETE_USER.call(live.feed.target("feed"), request).accepted == 1
    live.act({second: 9})
    eventually(lambda: live.trending(user)[:3] == [second, first, "hot"], lambda: live.trending(user)[:4])
    # A recall that starts now reads the counts of the past.
    with running("recall", live.shop.environment) as recall:
        query = RecallRequest(scenario=TRENDING, request_num=3)
        target = recall.target("recall")
        eventually(
            lambda: [pair.nid for pair in RECALL.call(target, query).score_pairs] == [second, first, "hot"],
            lambda: RECALL.call(target, query),
        )
    live.set_available(hidden, True)
    assert REMOVE_ITEMS.call(live.feed.target("feed"), RemoveItemsRequest(sku_ids=["hot"])).accepted == 1
    eventually(lambda: not live.shows(user, "hot"), lambda: live.trending(user))


def test_an_unavailable_item_is_in_no_answer_until_it_comes_back(live: Live, tmp_path: Path) -> None:
    user = live.shop.user_ids[2]
    before = ids(live.recommend(user))
    live.set_available(before[0], False)
    eventually(lambda: not live.shows(user, before[0]), lambda: ids(live.recommend(user)))
    during = live.recommend(user)
    assert len(during.item_infos) == SIZE
    assert not during.degraded
    # A release that is loaded meanwhile does not show it either.
    with live.another_release("another-release", tmp_path):
        assert not live.shows(user, before[0])
    live.set_available(before[0], True)
    eventually(lambda: ids(live.recommend(user)) == before, lambda: (ids(live.recommend(user)), before))


def test_pages_keep_one_release_and_one_order(live: Live, tmp_path: Path) -> None:
    """Between two pages the user acts, an item goes, and another release becomes active."""
    user, target = live.shop.user_ids[3], live.compact.target("as")
    first = AS.call(target, ASRequest(user_id=user, size=SIZE, paged=True))
    assert ids(first) == ids(live.recommend(user))
    expected = ids(AS.call(target, ASRequest(user_id=user, size=3 * SIZE)))
    gone = expected[SIZE + 1]
    live.set_available(gone, False)
    eventually(lambda: not live.shows(user, gone), lambda: live.recall(user))
    actions = [Action(user_id=user, sku_id=sku_id) for sku_id in expected[-5:]]
    assert RECORD_ACTIONS.call(live.feed.target("feed"), RecordActionsRequest(actions=actions)).accepted == 5
    pages, answer = [ids(first)], first
    with live.another_release("release-of-later-pages", tmp_path):
        assert ids(live.recommend(user)) != ids(first)
        while answer.next_cursor:
            answer = AS.call(target, ASRequest(cursor=answer.next_cursor, size=SIZE))
            assert (answer.release, list(answer.degraded)) == (first.release, [])
            pages.append(ids(answer))
    listed = [sku_id for page in pages for sku_id in page]
    assert listed[: 3 * SIZE - 1] == [sku_id for sku_id in expected if sku_id != gone]
    assert {len(page) for page in pages[:-1]} == {SIZE}
    assert len(listed) == len(set(listed))
    assert set(listed) == set(live.shop.sku_ids) - {gone}
    live.set_available(gone, True)
    eventually(lambda: live.shows(user, gone), lambda: live.recall(user))
