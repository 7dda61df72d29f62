"""A new installation: the ingestion serves a starter before anything is trained, and the trained release takes over."""

import contextlib
import math
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from recmesh.contract import OK
from recmesh.explorer.releases import ReleaseShelf
from recmesh.pb.as_pb2 import ASRequest, ASResponse
from recmesh.pb.filter_pb2 import Condition, Filter
from recmesh.pb.item_info_pb2 import ItemInfo
from recmesh.pb.rank_pb2 import RankRequest
from recmesh.pb.recall_pb2 import RecallRequest
from recmesh.pb.user_info_pb2 import History, UserInfo
from recmesh.releases import ModelStore
from recmesh.serving.stages import CandidateQuery, RequestUser, ScoreQuery
from tests.calls import AS, RANK, RECALL
from tests.mesh.conftest import ask_as, ids
from tests.mesh.test_faults import load
from tests.processes import Service, running
from tests.servers import MilvusServer, RedisServer, Server, running_redis, spawn, wait_until
from tests.shop import Shop, ids_in, run, run_any, running_apart

NOWHERE = "http://127.0.0.1:1"
"""A Milvus that nobody has started yet."""

# Of 24 users, the first 24 bought item 1, the first 22 item 2, and so on; the first two item 12. Users 25 to 31 bought
# A, the first five of them B, the first three C.
BUYERS = {**{str(item): range(1, 27 - 2 * item) for item in range(1, 13)}}
BUYERS |= {"A": range(25, 32), "B": range(25, 30), "C": range(25, 28)}
POPULAR = ["1", "2", "3", "4", "5", "6", "7", "8", "9", "A", "10", "B", "11", "C", "12"]
SCHEMA = """
user: {id: user}
item: {id: item, fields: {colour: {kind: categorical}}}
action: {user: user, item: item}
repeats: false
"""


@dataclass(frozen=True)
class SmallShop:
    """The shop of `BUYERS` with a starter, served by one process, without Milvus.

    Attributes:
        store: Its model store.
        service: The process.
    """

    store: ModelStore
    service: Service

    def ask(self, request: ASRequest) -> ASResponse:
        return AS.call(self.service.target("as"), request)


def write_small_shop(folder: Path) -> Path:
    folder.mkdir()
    (folder / "schema.yaml").write_text(SCHEMA)
    items = "".join(f"{item},{'red' if item in 'ABC' else 'blue'}\n" for item in BUYERS)
    (folder / "products.csv").write_text(f"item,colour\n{items}")
    rows = "".join(f"{user},{item}\n" for item, users in BUYERS.items() for user in users)
    (folder / "actions.csv").write_text(f"user,item\n{rows}")
    return folder


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    with running_redis() as server:
        yield server


@pytest.fixture(scope="module")
def small_shop(redis: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmallShop]:
    folder = tmp_path_factory.mktemp("small")
    data, store = write_small_shop(folder / "data"), ModelStore(str(folder / "store"))
    environment = {
        "RECMESH_REDIS_URL": redis.url,
        "RECMESH_MILVUS_URI": NOWHERE,
        "RECMESH_MODEL_STORE": store.url,
        "RECMESH_HOME": str(folder / "home"),
        "RECMESH_RELEASE_POLL": "0.2",
    }
    command = [sys.executable, "-m", "jobs.ingest", "--dataset", str(data), "--starter", "--mark", "training"]
    ended = run_any(command, environment)
    # Nobody trains in this test, and the ingestion does not wait.
    assert "no training with the mark training has finished" in ended.stderr
    assert ended.returncode == 4
    with running("compact", environment) as service:
        yield SmallShop(store, service)


def test_a_visitor_gets_what_most_users_bought(small_shop: SmallShop) -> None:
    answer = small_shop.ask(ASRequest(user_id="-1"))
    assert ids(answer) == POPULAR
    assert (answer.error.code, list(answer.degraded)) == (OK, [])
    assert answer.release == small_shop.store.active()
    assert answer.release.startswith("starter-")


def test_a_customer_gets_the_neighbours_of_what_he_bought_before_what_is_popular(small_shop: SmallShop) -> None:
    """User 31 bought A alone. Five buyers of A also bought B, and three C; both are popular as well, further down."""
    assert ids(small_shop.ask(ASRequest(user_id="31"))) == ["B", "C", *(str(item) for item in range(1, 13))]


def test_recall_scores_neighbours_by_shared_users(small_shop: SmallShop) -> None:
    request = RecallRequest(recall_type="neighbours", history=History(sku_ids=["A"]))
    pairs = RECALL.call(small_shop.service.target("recall"), request).score_pairs
    assert [pair.nid for pair in pairs] == ["B", "C"]


def test_a_filter_uses_the_fields_of_the_items(small_shop: SmallShop) -> None:
    blue = Filter(conditions=[Condition(field="colour", any_of=["blue"])])
    answer = small_shop.ask(ASRequest(user_id="31", filter=blue))
    assert ids(answer) == [str(item) for item in range(1, 13)]


@pytest.mark.parametrize("scenario", ["related", "basket"])
def test_what_goes_with_an_item_are_its_neighbours(small_shop: SmallShop, scenario: str) -> None:
    answer = small_shop.ask(ASRequest(user_id="-1", scenario=scenario, context_ids=["A"]))
    assert ids(answer) == ["B", "C", *(str(item) for item in range(1, 13))]


def test_rank_scores_any_items_by_popularity_and_neighbours(small_shop: SmallShop) -> None:
    target, items = small_shop.service.target("rank"), [ItemInfo(sku_id=sku) for sku in ("12", "B", "1", "unknown")]
    pairs = RANK.call(target, RankRequest(item_infos=items)).score_pairs
    # 171 actions on 15 items, one of which is added to each.
    expected = {"1": 25.0, "B": 6.0, "12": 3.0, "unknown": 1.0}
    assert [pair.nid for pair in pairs] == list(expected)
    assert [pair.score for pair in pairs] == pytest.approx([math.log(n / 186) for n in expected.values()], rel=1e-5)

    pairs = RANK.call(target, RankRequest(item_infos=items, history=History(sku_ids=["A"]))).score_pairs
    # Five buyers of A, of whom there are seven, bought B.
    expected["B"] *= 1 + 20 * 5 / (math.sqrt(7 * 5) + 50)
    assert {pair.nid: pair.score for pair in pairs} == pytest.approx(
        {sku: math.log(n / 186) for sku, n in expected.items()}, rel=1e-5
    )


async def test_the_explorer_computes_the_same_list_and_scores(small_shop: SmallShop, tmp_path: Path) -> None:
    release = await ReleaseShelf(small_shop.store, tmp_path).get(small_shop.store.active() or "")
    user = RequestUser(UserInfo(), History(sku_ids=["A"]))
    found = await release.recall(CandidateQuery(user, size=2), 1.0)
    assert list(found.ids) == ["B", "C"]
    scored = await release.rank(ScoreQuery(user, ids=["12", "1", "B"]), 1.0)
    assert list(scored.ids) == ["1", "B", "12"]


def test_the_release_is_named_as_a_starter(small_shop: SmallShop) -> None:
    active = small_shop.store.active()
    listed = run([sys.executable, "-m", "recmesh", "release", "list", "--store", small_shop.store.url], {})
    (line,) = [line for line in listed.splitlines() if active and active in line]
    assert "active" in line
    assert "starter" in line.replace(f"{active}", "")
    series = f'recmesh_release_active{{release="{active}",service="compact"}}'
    assert small_shop.service.metrics()[series] == 1


@contextlib.contextmanager
def ingesting(shop: Shop, *options: str) -> Iterator[Server]:
    """Run an ingestion that waits for what it needs."""
    command = [sys.executable, "-m", "jobs.ingest", "--dataset", str(shop.folder / "data"), "--wait", "600", *options]
    log = shop.folder / "ingest.log"
    server = Server(spawn(command, log, shop.environment), log)
    try:
        yield server
    finally:
        server.stop()


def test_the_trained_release_takes_over_under_load(
    training_folder: Path, milvus_server: MilvusServer, tmp_path: Path
) -> None:
    trained = ModelStore(str(training_folder / "store"))
    (release,) = trained.list()
    shutil.copytree(training_folder / "data", tmp_path / "data")
    data = tmp_path / "data"
    with running_redis() as redis:
        shop = Shop(tmp_path, redis, milvus_server, ids_in(data / "users.dat"), ids_in(data / "products.dat"))
        with ingesting(shop, "--starter", "--mark", "training") as ingestion:
            wait_until(lambda: shop.store.active() is not None, ingestion, "the starter")
            starter = shop.store.active()
            assert starter is not None
            with running_apart(shop) as services:
                target = services["as"].target("as")
                with load(target, shop) as answers:
                    shop.store.put(trained.fetch(release.id, tmp_path / "copy"))
                    shop.store.set_mark("training", release.id)
                    wait_until(
                        lambda: bool(answers) and answers[-1].release == release.id, services["as"], "the switch"
                    )
                assert {answer.release for answer in answers} == {starter, release.id}
                assert not [answer for answer in answers if answer.degraded or answer.error.code != OK]
                assert ids(ask_as(target, shop.user_ids[0]))
            assert ingestion.process.wait() == 0

        # Another ingestion of the installation, with the mark of a training that has not finished.
        with ingesting(shop, "--starter", "--mark", "next") as ingestion:
            wait_until(lambda: "Waiting for the release" in ingestion.log.read_text(), ingestion, "the wait")
            assert shop.store.active() == release.id
        record = shop.store.active_record()
        assert record is not None
        assert record.history == ()
        assert shop.store.prune() == (starter,)
