"""um looks users up, and refuses damaged ones."""

from typing import Any

import pytest

from recmesh.errors import DamagedData, DeadlineExceeded, InvalidRequest
from recmesh.pb.um_pb2 import UserModelRequest, UserModelResponse
from recmesh.pb.user_info_pb2 import History, UserInfo
from recmesh.serving import deadline
from recmesh.serving.stages import RequestUser
from recmesh.stores.wire import encode_history
from services.um.core import StoredUser, UmCore
from services.um.servicer import UmServicer
from tests.unit.clock import Clock
from tests.unit.metric import added
from tests.unit.services.hanging import Hanging

PROFILE = UserInfo(user_id="5", age="3")
HISTORY = encode_history(["b", "a"], [2, 1], ["cart", "view"], [1.0, 2.0])
NO_COLUMNS = History(sku_ids=["a", "b"], times=[1]).SerializeToString()


class _Redis:
    """What Redis holds of the user."""

    def __init__(self, profile: bytes | None, history: bytes | None) -> None:
        self.values = profile, history
        self.asked: list[str] = []

    async def get_user(self, user_id: str) -> tuple[bytes | None, bytes | None]:
        self.asked.append(user_id)
        return self.values


async def test_a_user_comes_as_stored_and_decoded() -> None:
    redis = _Redis(PROFILE.SerializeToString(), HISTORY)
    decoded = RequestUser(PROFILE, History.FromString(HISTORY))
    assert await UmCore(redis).fetch("5", 1.0) == StoredUser(PROFILE.SerializeToString(), HISTORY, decoded)
    assert await UmCore(redis).find("5", 1.0) == decoded
    assert redis.asked == ["5", "5"]


async def test_a_profile_or_a_history_alone_is_a_user() -> None:
    profile_only = await UmCore(_Redis(PROFILE.SerializeToString(), None)).fetch("5", 1.0)
    assert profile_only == StoredUser(PROFILE.SerializeToString(), b"", RequestUser(PROFILE, History()))
    history_only = await UmCore(_Redis(None, HISTORY)).fetch("5", 1.0)
    user = UserInfo(user_id="5")
    assert history_only == StoredUser(user.SerializeToString(), HISTORY, RequestUser(user, History.FromString(HISTORY)))


async def test_nothing_stored_is_no_user() -> None:
    assert await UmCore(_Redis(None, None)).fetch("5", 1.0) is None
    assert await UmCore(_Redis(None, None)).find("5", 1.0) is None


@pytest.mark.parametrize(
    ("profile", "history", "kind"),
    [
        (b"\xff", HISTORY, "profile"),
        (UserInfo(user_id="6").SerializeToString(), HISTORY, "profile"),
        (PROFILE.SerializeToString(), b"\xff", "history"),
        (None, NO_COLUMNS, "history"),
    ],
)
async def test_a_damaged_value_is_counted_by_its_kind(profile: bytes | None, history: bytes, kind: str) -> None:
    damaged = added("recmesh_damaged_values_total", kind=kind)
    with pytest.raises(DamagedData, match=f"Redis holds a damaged {kind} of user 5; run the ingestion again"):
        await UmCore(_Redis(profile, history)).fetch("5", 1.0)
    assert damaged() == 1


async def test_a_long_id_is_shortened_in_the_message() -> None:
    with pytest.raises(DamagedData, match=r"of user x{100}\.\.\. \(128 characters\);"):
        await UmCore(_Redis(b"\xff", None)).fetch("x" * 128, 1.0)


async def test_redis_has_the_time_of_the_request() -> None:
    with pytest.raises(DeadlineExceeded, match="Redis did not answer within 10 ms"):
        await UmCore(Hanging()).fetch("5", 0.01)


async def _answered(monkeypatch: pytest.MonkeyPatch, core: Any, request: UserModelRequest) -> UserModelResponse:
    Clock(monkeypatch, "recmesh.serving.deadline")
    deadline.start(0.75)
    answer = await UmServicer(core).um_call(request, None)
    return UserModelResponse.FromString(answer.SerializeToString())


class _Core:
    """A core that holds user 5."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, float]] = []

    async def fetch(self, user_id: str, timeout: float) -> StoredUser | None:
        self.asked.append((user_id, timeout))
        user = RequestUser(PROFILE, History.FromString(HISTORY))
        return StoredUser(PROFILE.SerializeToString(), HISTORY, user) if user_id == "5" else None


async def test_a_user_on_the_wire(monkeypatch: pytest.MonkeyPatch) -> None:
    core = _Core()
    answer = await _answered(monkeypatch, core, UserModelRequest(user_id="5"))
    history = History.FromString(HISTORY)
    assert answer == UserModelResponse(error={"code": 200}, user_info=PROFILE, history=history)
    assert core.asked == [("5", 0.75)]


async def test_no_user_on_the_wire(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = await _answered(monkeypatch, _Core(), UserModelRequest(log_id=3, user_id="6"))
    text = 'UM server get user_info from redis fail. (log_id: 3\nuser_id: "6"\n)'
    assert answer == UserModelResponse(error={"code": 500, "text": text})


async def test_an_id_that_is_too_long_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InvalidRequest, match="user_id: an id has 129 bytes: at most 128"):
        await _answered(monkeypatch, _Core(), UserModelRequest(user_id="x" * 129))
