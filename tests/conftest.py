"""Fixtures that several kinds of tests share."""

from collections.abc import Iterator

import pytest

from tests.models_page import Page, open_page
from tests.processes import Service, running
from tests.servers import ROOT, MilvusServer, RedisServer, running_milvus, running_redis
from tests.shop import Shop, open_shop, running_apart

_OF_THE_SHOP = ("contract", "mesh", "paddle_serving")
_ORDER = ("unit", "chart", "component", *_OF_THE_SHOP, "train", "local", "cluster")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--hostile", type=int, default=400, help="requests of tests/paddle_serving/test_hostile.py")


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What is quick comes first. Of several workers, one gets all tests that share something long in the making."""
    items.sort(key=lambda item: _ORDER.index(_folder(item)))
    for item in items:
        item.add_marker(pytest.mark.xdist_group(_shared(item)))


def _shared(item: pytest.Item) -> str:
    if _folder(item) in _OF_THE_SHOP:
        return "trained_shop"
    return "trained" if "trained" in getattr(item, "fixturenames", ()) else str(item.path)


def _folder(item: pytest.Item) -> str:
    return item.path.relative_to(ROOT / "tests").parts[0]


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
