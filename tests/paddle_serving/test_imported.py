"""The model of docs/models.md in the real Paddle Serving gives the scores of Paddle's own inference."""

import numpy as np

from recmesh.pb.rank_pb2 import RankRequest
from recmesh.pb.user_info_pb2 import UserInfo
from tests.calls import RANK
from tests.models_page import USER, Page
from tests.paddle_serving.conftest import LONG_TIMEOUT, gateway, with_paddle_serving
from tests.processes import running
from tests.train.elsewhere import PROFILE


def test_an_imported_ranker_gives_its_own_scores(models_page: Page) -> None:
    shop, answers = models_page.shop, models_page.deepfm.answers
    shop.store.activate(models_page.release, ())
    users = (line.split(":") for line in (shop.folder / "data" / "users.dat").read_text().splitlines())
    profile = next(row for user_id, *row in users if user_id == USER)
    user_info = UserInfo(user_id=USER)
    for name, value in zip(PROFILE, profile, strict=True):
        setattr(user_info, name, value)
    request = RankRequest(user_info=user_info, item_ids=shop.sku_ids)
    with (
        gateway(shop.environment) as server,
        running("rank", with_paddle_serving(shop, server) | LONG_TIMEOUT) as rank,
    ):
        answer = RANK.call(rank.target("rank"), request, timeout=30)

    assert (answer.release, list(answer.degraded)) == (models_page.release, [])
    scores = {pair.nid: pair.score for pair in answer.score_pairs}
    np.testing.assert_allclose(
        [scores[item] for item in shop.sku_ids], [answers[USER, item] for item in shop.sku_ids], atol=1e-5
    )
