"""The commands of docs/models.md import a ranker into the mesh; then towers are imported, which Milvus searches."""

from collections.abc import Iterator

import numpy as np
import pytest

from recmesh.pb.recall_pb2 import RecallRequest
from recmesh.pb.user_info_pb2 import UserInfo
from tests.calls import RECALL
from tests.mesh.conftest import ask_as
from tests.models_page import USER, Page, follow
from tests.processes import Service, running
from tests.servers import wait_until
from tests.train import elsewhere

SIZE = 20


@pytest.fixture(scope="module")
def service(models_page: Page) -> Iterator[Service]:
    """All five services in one process, with the page's own model store."""
    with running("compact", models_page.shop.environment) as compact:
        yield compact


def test_the_commands_of_the_page_work(service: Service, models_page: Page) -> None:
    assert "ranker: ONNX Runtime and Paddle Inference differ by at most " in models_page.said
    output = ""
    for command in models_page.commands:
        output = follow(command, models_page.folder, models_page.shop, RECMESH_AS_TARGET=service.target("as"))
        if command.startswith("recmesh release activate"):
            wait_for_switch(service, models_page.release)

    assert models_page.release in output
    check_ranked(service, models_page)


def test_imported_towers_are_searched(service: Service, models_page: Page) -> None:
    """The new release is based on the page's release and keeps its ranker."""
    page, shop = models_page, models_page.shop
    folder = page.dssm.write_mapping(elsewhere.dssm_mapping())
    command = f"recmesh release import --towers {folder} --base {page.release} --dataset shop"
    release = follow(command, page.folder, shop).splitlines()[-1].removeprefix("release ")
    shop.ingest("--release", release, "--only", "milvus", "--no-activate")
    follow(f"recmesh release activate {release} --force", page.folder, shop)
    wait_for_switch(service, release)

    user_id, *profile = (shop.folder / "data" / "users.dat").read_text().splitlines()[0].split(":")
    user_info = UserInfo(user_id=user_id)
    for name, value in zip(elsewhere.PROFILE, profile, strict=True):
        setattr(user_info, name, value)
    request = RecallRequest(user_info=user_info, recall_type="two_tower", request_num=len(shop.sku_ids))
    found = RECALL.call(service.target("recall"), request)

    user = np.array(page.dssm.answers["user", user_id])
    items = np.array([page.dssm.answers["item", pair.nid] for pair in found.score_pairs])
    cosines = items @ user / np.linalg.norm(items, axis=1) / np.linalg.norm(user)
    assert len(found.score_pairs) > 50
    np.testing.assert_allclose([pair.score for pair in found.score_pairs], cosines, atol=1e-5)
    check_ranked(service, page)


def wait_for_switch(service: Service, release: str) -> None:
    """Wait until the service answers from a release."""
    wait_until(lambda: ask_as(service.target("as"), USER).release == release, service, "the switch")


def check_ranked(service: Service, page: Page) -> None:
    """The chain's answer is complete, and its scores are those of the page's model."""
    answer = ask_as(service.target("as"), USER, size=SIZE)
    assert not answer.degraded
    assert len(answer.item_infos) == SIZE
    expected = [page.deepfm.answers[USER, item.sku_id] for item in answer.item_infos]
    np.testing.assert_allclose([item.rank_score for item in answer.item_infos], expected, atol=1e-5)
