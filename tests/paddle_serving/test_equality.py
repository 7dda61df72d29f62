"""rank gives the same scores and order with the ranker in its own process and in Paddle Serving."""

import asyncio
import random
from collections.abc import Iterator

import grpc
import numpy as np
import pytest
import redis

from recmesh.pb.item_info_pb2 import ItemInfo
from recmesh.pb.rank_pb2 import RankRequest, RankResponse
from recmesh.pb.user_info_pb2 import History, UserInfo
from recmesh.releases.agreement import disagreement
from recmesh.stores.keys import Keys
from tests.calls import RANK
from tests.paddle_serving.conftest import LONG_TIMEOUT, Gateway, with_paddle_serving
from tests.processes import Service, running
from tests.shop import Shop

KEYS = Keys.of()
REQUESTS = 1000
UNKNOWN_ITEM = ItemInfo(sku_id="unknown", brand="never seen", shopid="", cate="never seen")
ANSWERS = 'recmesh_rank_backend_seconds_count{backend="paddle-serving"}'


@pytest.fixture(scope="module")
def requests(trained_shop: Shop) -> list[RankRequest]:
    """Known and new users, empty and unknown fields, 1 and 300 items, and items that are not in the catalogue."""
    draw = random.Random(5)
    users = trained_shop.user_ids
    with redis.Redis.from_url(trained_shop.redis.url) as client:
        infos = client.mget([KEYS.user(user_id) for user_id in users])
        histories = client.mget([KEYS.history(user_id) for user_id in users])
    requests = []
    for number in range(REQUESTS):
        chosen = draw.randrange(len(users))
        info = UserInfo.FromString(infos[chosen] or b"")
        if number % 5 < 2:
            info.age, info.city = ("", "") if number % 5 else ("never seen", "never seen")
        history = History() if number % 4 == 0 else History.FromString(histories[chosen] or b"")
        ids = draw.sample(trained_shop.sku_ids, 1 if number % 3 == 0 else 300)
        unknown = [UNKNOWN_ITEM] if number % 7 == 0 else []
        request = RankRequest(user_info=info, history=history, item_ids=ids, item_infos=unknown)
        request.new_only, request.affinity = bool(number % 2), number % 11 == 0
        requests.append(request)
    return requests


@pytest.fixture(scope="module")
def ranks(paddle_serving: Gateway, trained_shop: Shop) -> Iterator[tuple[Service, Service]]:
    """rank with the ranker in its own process, and in Paddle Serving."""
    settings = with_paddle_serving(trained_shop, paddle_serving) | LONG_TIMEOUT
    with running("rank", trained_shop.environment) as local, running("rank", settings) as remote:
        yield local, remote


async def rank_all(service: Service, requests: list[RankRequest], concurrency: int) -> list[RankResponse]:
    limit = asyncio.Semaphore(concurrency)
    async with grpc.aio.insecure_channel(service.target("rank")) as channel:
        method = RANK.on_aio(channel)

        async def call(request: RankRequest) -> RankResponse:
            async with limit:
                return await method(request, timeout=60)

        return await asyncio.gather(*map(call, requests))


def check_equal(expected: RankResponse, actual: RankResponse) -> None:
    assert not expected.degraded and not actual.degraded
    by_id = {pair.nid: pair.score for pair in expected.score_pairs}
    assert len(by_id) == len(actual.score_pairs)
    expected_scores = np.array([by_id[pair.nid] for pair in actual.score_pairs])
    actual_scores = np.array([pair.score for pair in actual.score_pairs])
    assert (np.diff(actual_scores) <= 0).all()
    assert disagreement(expected_scores, actual_scores) == ""


def test_paddle_serving_gives_the_same_scores_in_the_same_order(
    ranks: tuple[Service, Service], requests: list[RankRequest]
) -> None:
    local, remote = ranks
    before = remote.metrics().get(ANSWERS, 0)
    expected = asyncio.run(rank_all(local, requests, 8))
    serial = asyncio.run(rank_all(remote, requests, 1))
    concurrent = asyncio.run(rank_all(remote, requests, 32))

    for expected_answer, answer in zip(expected, serial, strict=True):
        check_equal(expected_answer, answer)
    assert concurrent == serial, "an answer depends on concurrent requests"
    assert len({round(answer.score_pairs[0].score, 4) for answer in serial}) > REQUESTS / 4, "users get equal scores"
    assert remote.metrics()[ANSWERS] == before + 2 * REQUESTS, "the scores did not come from Paddle Serving"
