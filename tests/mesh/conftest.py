"""Both ways to run the five services."""

from collections.abc import Callable

import grpc
import pytest

from recmesh.pb.as_pb2 import ASRequest, ASResponse
from recmesh.pb.as_pb2_grpc import ASServiceStub
from tests.processes import Service


@pytest.fixture(scope="session", params=["compact", "apart"])
def chain(request: pytest.FixtureRequest) -> str:
    """The target of `as`: in the one process, then as one of five."""
    running = request.getfixturevalue(request.param)
    return running.target("as") if isinstance(running, Service) else running["as"].target("as")


@pytest.fixture
def ask(chain: str) -> "Ask":
    """One `as` call: `ask(user_id="5", size=10)`."""
    return lambda **request: ask_as(chain, **request)


Ask = Callable[..., ASResponse]


def ask_as(target: str, timeout: float = 10.0, **request: object) -> ASResponse:
    """One `as` call; generous, since tests share two cores."""
    with grpc.insecure_channel(target) as channel:
        return ASServiceStub(channel).as_call(ASRequest(**request), timeout=timeout)


def ids(answer: ASResponse) -> list[str]:
    return [item.sku_id for item in answer.item_infos]
