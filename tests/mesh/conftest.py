"""Both ways to run the five services."""

from collections.abc import Callable

import pytest

from recmesh.pb.as_pb2 import ASRequest, ASResponse
from recmesh.pb.user_info_pb2 import UserInfo
from tests.calls import AS
from tests.processes import Service

Ask = Callable[[ASRequest], ASResponse]


@pytest.fixture(scope="session", params=["compact", "apart"])
def chain(request: pytest.FixtureRequest) -> str:
    """The target of `as`: all services in one process, then each in its own."""
    running = request.getfixturevalue(request.param)
    return running.target("as") if isinstance(running, Service) else str(running["as"].target("as"))


@pytest.fixture
def ask(chain: str) -> Ask:
    """One call of `as`."""
    return lambda request: AS.call(chain, request)


def ask_as(
    target: str,
    user_id: str = "",
    timeout: float = 10.0,
    *,
    user_info: UserInfo | None = None,
    size: int = 0,
    new_only: bool = False,
) -> ASResponse:
    """One call of `as`. The timeout is generous, because tests share two cores."""
    return AS.call(target, ASRequest(user_id=user_id, user_info=user_info, size=size, new_only=new_only), timeout)


def ids(answer: ASResponse) -> list[str]:
    """The ids of the recommended items."""
    return [item.sku_id for item in answer.item_infos]
