"""C16: the same requests to rank, with the ranker in its process and in Paddle Serving: the same scores and order."""

import asyncio
import random
from collections.abc import Iterator

import grpc
import numpy as np
import pytest
import redis

from recmesh.pb.item_info_pb2 import ItemInfo
from recmesh.pb.rank_pb2 import RankRequest, RankResponse
from recmesh.pb.rank_pb2_grpc import RankServiceStub
from recmesh.pb.user_info_pb2 import History, UserInfo
from recmesh.stores.redis import HISTORY, USER
from tests.paddle_serving.conftest import PATIENT, Gateway, by_paddle_serving
from tests.processes import Service, running
from tests.shop import Shop

TOLERANCE = 1e-5
RECORDED = 1000
STRANGE = ItemInfo(sku_id="strange", brand="never seen", shopid="", cate="never seen")
ANSWERS = 'recmesh_rank_backend_seconds_count{backend="paddle-serving"}'


@pytest.fixture(scope="module")
def requests(trained_shop: Shop) -> list[RankRequest]:
    """Known users and new ones, blank and unseen fields, 1 and 300 items, items that the release does not hold."""
    draw = random.Random(5)
    users = trained_shop.user_ids
    with redis.Redis.from_url(trained_shop.redis.url) as client:
        infos = client.mget([USER + user_id for user_id in users])
        histories = client.mget([HISTORY + user_id for user_id in users])
    made = []
    for number in range(RECORDED):
        chosen = draw.randrange(len(users))
        info = UserInfo.FromString(infos[chosen] or b"")
        if number % 5 < 2:
            info.age, info.city = ("", "") if number % 5 else ("never seen", "never seen")
        history = History() if number % 4 == 0 else History.FromString(histories[chosen] or b"")
        ids = draw.sample(trained_shop.sku_ids, 1 if number % 3 == 0 else 300)
        strange = [STRANGE] if number % 7 == 0 else []
        request = RankRequest(user_info=info, history=history, item_ids=ids, item_infos=strange)
        request.new_only, request.affinity = bool(number % 2), number % 11 == 0
        made.append(request)
    return made


@pytest.fixture(scope="module")
def ranks(paddle_serving: Gateway, trained_shop: Shop) -> Iterator[tuple[Service, Service]]:
    """rank with the ranker in its own process, and in Paddle Serving."""
    remote = by_paddle_serving(trained_shop, paddle_serving) | PATIENT
    with running("rank", trained_shop.environment) as here, running("rank", remote) as there:
        yield here, there


async def ask(service: Service, requests: list[RankRequest], concurrency: int) -> list[RankResponse]:
    limit = asyncio.Semaphore(concurrency)
    async with grpc.aio.insecure_channel(service.target("rank")) as channel:
        stub = RankServiceStub(channel)

        async def one(request: RankRequest) -> RankResponse:
            async with limit:
                return await stub.rank_predict(request, timeout=60)

        return await asyncio.gather(*map(one, requests))


def check_equal(expected: RankResponse, got: RankResponse) -> None:
    assert not expected.degraded and not got.degraded
    scores = {pair.nid: pair.score for pair in expected.score_pairs}
    figures = np.array([[scores[pair.nid], pair.score] for pair in got.score_pairs])
    assert len(scores) == len(figures)
    scale = np.maximum(1, np.abs(figures[:, 0]))
    assert (np.abs(figures[:, 0] - figures[:, 1]) <= TOLERANCE * scale).all()
    # The same order, save for items that are no further apart than the tolerance.
    assert (np.diff(figures[:, 0]) <= 2 * TOLERANCE * scale[1:]).all()


def test_both_give_the_same_scores_in_the_same_order_alone_and_at_once(
    ranks: tuple[Service, Service], requests: list[RankRequest]
) -> None:
    here, there = ranks
    before = there.metrics().get(ANSWERS, 0)
    expected = asyncio.run(ask(here, requests, 8))
    alone = asyncio.run(ask(there, requests, 1))
    at_once = asyncio.run(ask(there, requests, 32))

    for one, other in zip(expected, alone, strict=True):
        check_equal(one, other)
    assert at_once == alone, "company changes an answer"
    assert len({round(answer.score_pairs[0].score, 4) for answer in alone}) > RECORDED / 4, "all users get the same"
    assert there.metrics()[ANSWERS] == before + 2 * RECORDED, "the scores did not come from Paddle Serving"
