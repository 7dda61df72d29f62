"""Fixtures that several kinds of tests share."""

from collections.abc import Iterator

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

from tests.models_page import Page, open_page
from tests.processes import Service, running
from tests.servers import ROOT, MilvusServer, RedisServer, running_milvus, running_redis
from tests.shop import Shop, open_shop, running_apart

_OF_THE_SHOP = ("contract", "mesh", "paddle_serving")
_ORDER = ("unit", "packaging", "component", "chart", "train", *_OF_THE_SHOP, "clients", "local", "cluster")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--hostile", type=int, default=400, help="requests of tests/paddle_serving/test_hostile.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What is quick comes first."""
    items.sort(key=lambda item: _ORDER.index(item.path.relative_to(ROOT / "tests").parts[0]))


class _Together(LoadScopeScheduling):  # type: ignore[misc]  # xdist has no types
    """Of several workers, one gets all tests that share something long in the making."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.split("::")[0]
        folder = file.split("/")[1]
        if folder in _OF_THE_SHOP:
            return "the trained shop"
        return "trainings" if folder == "train" else file


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> _Together:
    return _Together(config, log)


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """A real Redis (`.url`, `.port`, `.pid`), shared by the session: use your own keys or flush what you need empty."""
    with running_redis() as server:
        yield server


@pytest.fixture(scope="session")
def milvus_server() -> Iterator[MilvusServer]:
    """The real Milvus standalone (`.uri`, `.port`, `.pid`), shared by the session: use your own collection names."""
    with running_milvus() as server:
        yield server


@pytest.fixture(scope="session")
def trained_shop(milvus_server: MilvusServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """A small shop with an active release, in a Redis of its own."""
    with running_redis() as redis:
        yield open_shop(tmp_path_factory.mktemp("shop"), redis, milvus_server)


@pytest.fixture(scope="session")
def models_page(trained_shop: Shop, tmp_path_factory: pytest.TempPathFactory) -> Page:
    """The model of docs/models.md, imported into a copy of the shop's store."""
    return open_page(tmp_path_factory.mktemp("page"), trained_shop)


@pytest.fixture(scope="session")
def compact(trained_shop: Shop) -> Iterator[Service]:
    """The trained shop served by one process."""
    with running("compact", trained_shop.environment) as service:
        yield service


@pytest.fixture(scope="session")
def apart(trained_shop: Shop) -> Iterator[dict[str, Service]]:
    """The trained shop served by five processes, by name; they find each other."""
    with running_apart(trained_shop) as services:
        yield services
