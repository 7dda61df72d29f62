"""docs/models.md: its commands bring its model into the mesh; then towers, which Milvus searches."""

from collections.abc import Iterator

import grpc
import numpy as np
import pytest

from recmesh.pb.recall_pb2 import RecallRequest
from recmesh.pb.recall_pb2_grpc import RecallServiceStub
from recmesh.pb.user_info_pb2 import UserInfo
from tests.mesh.conftest import ask_as
from tests.models_page import USER, Page, follow
from tests.processes import Service, running
from tests.servers import wait_until
from tests.train import elsewhere

SIZE = 20


@pytest.fixture(scope="module")
def service(models_page: Page) -> Iterator[Service]:
    """All five services in one process, over the page's own store."""
    with running("compact", models_page.shop.environment) as one:
        yield one


def test_the_page_works(service: Service, models_page: Page) -> None:
    assert "ranker: ONNX and Paddle's own inference differ by " in models_page.said
    said = ""
    for command in models_page.commands:
        said = follow(command, models_page.folder, models_page.shop, RECMESH_AS_TARGET=service.target("as"))
        if command.startswith("recmesh release activate"):
            switched(service, models_page.release)

    assert models_page.release in said
    check_ranked(service, models_page)


def test_towers_from_elsewhere_are_searched(service: Service, models_page: Page) -> None:
    """On top of the page's release, whose ranker stays."""
    page, shop = models_page, models_page.shop
    folder = page.dssm.write_mapping(elsewhere.dssm_mapping())
    command = f"recmesh release import --towers {folder} --base {page.release} --dataset shop"
    release = follow(command, page.folder, shop).splitlines()[-1].removeprefix("release ")
    shop.ingest("--release", release, "--only", "milvus", "--no-activate")
    follow(f"recmesh release activate {release} --force", page.folder, shop)
    switched(service, release)

    user_id, *profile = (shop.folder / "data" / "users.dat").read_text().splitlines()[0].split(":")
    asked = RecallRequest(
        user_info=UserInfo(user_id=user_id, **dict(zip(elsewhere.PROFILE, profile, strict=True))),
        recall_type="two_tower",
        request_num=len(shop.sku_ids),
    )
    with grpc.insecure_channel(service.target("recall")) as channel:
        found = RecallServiceStub(channel).recall(asked, timeout=10)

    user = np.array(page.dssm.answers["user", user_id])
    items = np.array([page.dssm.answers["item", pair.nid] for pair in found.score_pairs])
    cosines = items @ user / np.linalg.norm(items, axis=1) / np.linalg.norm(user)
    assert len(found.score_pairs) > 50
    np.testing.assert_allclose([pair.score for pair in found.score_pairs], cosines, atol=1e-5)
    check_ranked(service, page)


def switched(service: Service, release: str) -> None:
    """Wait until the service answers with a release."""
    wait_until(lambda: ask_as(service.target("as"), user_id=USER).release == release, service, "the switch")


def check_ranked(service: Service, page: Page) -> None:
    """The chain's list is whole, and its scores are those of the page's model."""
    answer = ask_as(service.target("as"), user_id=USER, size=SIZE)
    assert not answer.degraded
    assert len(answer.item_infos) == SIZE
    expected = [page.deepfm.answers[USER, item.sku_id] for item in answer.item_infos]
    np.testing.assert_allclose([item.rank_score for item in answer.item_infos], expected, atol=1e-5)
