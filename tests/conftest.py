"""Fixtures shared by several kinds of tests."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

from tests.models_page import Page, open_page
from tests.processes import Service, running
from tests.servers import ROOT, MilvusServer, RedisServer, running_milvus, running_redis
from tests.shop import Shop, open_shop, running_apart, trained_once

_SHOP_TESTS = ("contract", "explorer", "mesh", "observe", "paddle_serving")
# The files of tests/train whose tests share one training. The others train data sets of their own.
_SHARED_TRAINING = tuple(
    f"tests/train/test_{name}.py" for name in ("debiased_score", "import", "new_items", "orders", "report", "training")
)
_ORDER = ("local", *_SHOP_TESTS, "train", "clients", "component", "chart", "packaging", "unit", "cluster")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options of the tests."""
    parser.addoption("--hostile", type=int, default=400, help="requests of tests/paddle_serving/test_hostile.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes longest: in the end, no worker waits for another one."""
    items.sort(key=lambda item: _ORDER.index(item.path.relative_to(ROOT / "tests").parts[0]))


class _SharedFixtureScheduling(LoadScopeScheduling):  # type: ignore[misc]  # xdist has no types
    """Gives all tests that share an expensive fixture to the same worker.

    The trained shop is one of them. It is trained once, and ingested by each worker that has a folder of its tests.
    """

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.split("::")[0]
        folder = file.split("/")[1]
        if folder in _SHOP_TESTS:
            return folder
        return "the training" if file in _SHARED_TRAINING else file


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> _SharedFixtureScheduling:
    """Make the scheduler."""
    return _SharedFixtureScheduling(config, log)


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """A real Redis, shared by the session. Use your own keys, or flush it first."""
    with running_redis() as server:
        yield server


@pytest.fixture(scope="session")
def milvus_server() -> Iterator[MilvusServer]:
    """A real Milvus standalone, shared by the session. Use your own collection names."""
    with running_milvus() as server:
        yield server


@pytest.fixture(scope="session")
def training_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small shop and its release; see `trained_once`."""
    base = tmp_path_factory.getbasetemp()
    return trained_once(base.parent if "PYTEST_XDIST_WORKER" in os.environ else base)


@pytest.fixture(scope="session")
def trained_shop(
    training_folder: Path, milvus_server: MilvusServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Shop]:
    """A small shop with an active release and its own Redis."""
    with running_redis() as redis:
        yield open_shop(training_folder, tmp_path_factory.mktemp("shop"), redis, milvus_server)


@pytest.fixture(scope="session")
def models_page(trained_shop: Shop, tmp_path_factory: pytest.TempPathFactory) -> Page:
    """The model of docs/models.md, imported into a copy of the store of the shop."""
    return open_page(tmp_path_factory.mktemp("page"), trained_shop)


@pytest.fixture(scope="session")
def compact(trained_shop: Shop) -> Iterator[Service]:
    """The trained shop, served by a single process."""
    with running("compact", trained_shop.environment) as service:
        yield service


@pytest.fixture(scope="session")
def apart(trained_shop: Shop) -> Iterator[dict[str, Service]]:
    """The trained shop, served by five connected processes, by service name."""
    with running_apart(trained_shop) as services:
        yield services
