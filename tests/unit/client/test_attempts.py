"""When the clients try again, by a clock of their own, and what they pass on; the same for both clients."""

import asyncio
import importlib
import json
from collections.abc import Callable, Iterable
from types import SimpleNamespace
from typing import Any

import grpc
import pytest

from recmesh import channels
from recmesh.client import AS, RANK, UM, Condition, Mesh, Targets, User, sync
from recmesh.contract import BATCH, PRIORITY
from recmesh.errors import DeadlineExceeded, InvalidRequest, Overloaded, RecmeshError, Unavailable
from recmesh.pb import as_pb2, rank_pb2, um_pb2
from tests.unit.clock import Clock

# Both clients use it, and nothing else may import it.
private: Any = importlib.import_module("recmesh.client._attempts")
POLICY, Attempts, retried_statuses = private.POLICY, private.Attempts, private.retried_statuses

Code = grpc.StatusCode
ONCE = frozenset({Code.UNAVAILABLE})
TARGETS = Targets({"um": "um:1", "cm": "cm:1", "recall": "recall:1", "rank": "rank:1", "as": "as:1"})


class _Failed(grpc.aio.AioRpcError, grpc.RpcError):
    """A failed call, for both clients."""

    def __init__(self, code: Code, details: str = "why") -> None:
        super().__init__(code, grpc.aio.Metadata(), grpc.aio.Metadata(), details=details)


def failed(code: Code, details: str = "why") -> Any:
    return _Failed(code, details)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Time for the attempts and the pauses of both clients."""
    modules = ("recmesh.client._attempts", "recmesh.client._connection", "recmesh.client.sync")
    return Clock(monkeypatch, *modules)


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[tuple[float, float]]:
    """Between which factors pauses were drawn; the draw itself is 1."""
    ranges: list[tuple[float, float]] = []

    def uniform(low: float, high: float) -> float:
        ranges.append((low, high))
        return 1.0

    monkeypatch.setattr("recmesh.client._attempts.random", SimpleNamespace(uniform=uniform))
    return ranges


def test_pauses_double_from_a_twentieth_of_a_second_to_a_second(clock: Clock, drawn: list[tuple[float, float]]) -> None:
    attempts = Attempts(UM, "um:1", ONCE, 100.0)
    pauses = [attempts.pause(failed(Code.UNAVAILABLE)) for _ in range(7)]
    assert pauses == pytest.approx([0.05, 0.1, 0.2, 0.4, 0.8, 1, 1])
    assert drawn == [(0.75, 1.25)] * 7


@pytest.mark.usefixtures("drawn")
def test_a_pause_that_would_reach_the_deadline_ends_the_attempts(clock: Clock) -> None:
    attempts = Attempts(UM, "um:1", ONCE, 1.0)
    clock.now += 0.949
    assert attempts.pause(failed(Code.UNAVAILABLE)) == 0.05
    assert attempts.remaining() == pytest.approx(0.051)
    with pytest.raises(Unavailable, match=r"^um at um:1 did not answer within 1 s: why; is it running, is the target"):
        attempts.pause(failed(Code.UNAVAILABLE))
    clock.now += 5
    assert attempts.remaining() == 0.001


@pytest.mark.parametrize(
    ("code", "kind", "text"),
    [
        (Code.DEADLINE_EXCEEDED, DeadlineExceeded, "um at um:1 did not answer within 2.5 s; allow it more time"),
        (Code.RESOURCE_EXHAUSTED, Overloaded, "um at um:1: RESOURCE_EXHAUSTED: two words"),
        (Code.INVALID_ARGUMENT, InvalidRequest, "um at um:1: INVALID_ARGUMENT: two words"),
        (Code.INTERNAL, RecmeshError, "um at um:1: INTERNAL: two words"),
    ],
)
def test_other_statuses_are_errors_at_once(clock: Clock, code: Code, kind: type[RecmeshError], text: str) -> None:
    with pytest.raises(RecmeshError, match=f"^{text}") as raised:
        Attempts(UM, "um:1", ONCE, 2.5).pause(failed(code, "two\n  words"))
    assert type(raised.value) is kind


def test_a_refusal_before_the_deadline_says_more_than_the_deadline(clock: Clock) -> None:
    attempts = Attempts(UM, "um:1", retried_statuses(True), 2.0)
    attempts.pause(failed(Code.RESOURCE_EXHAUSTED, "full"))
    with pytest.raises(Overloaded, match=r"^um at um:1: RESOURCE_EXHAUSTED: full$"):
        attempts.pause(failed(Code.DEADLINE_EXCEEDED))


def test_overload_is_retried_on_demand_only_and_then_says_that_it_can_wait() -> None:
    assert retried_statuses(False) == {Code.UNAVAILABLE}
    assert retried_statuses(True) == {Code.UNAVAILABLE, Code.RESOURCE_EXHAUSTED}
    assert Attempts(UM, "um:1", retried_statuses(False), 1.0).metadata == ()
    assert Attempts(UM, "um:1", retried_statuses(True), 1.0).metadata == ((PRIORITY, BATCH),)


def test_the_options_of_the_channels_of_clients() -> None:
    options = dict(POLICY.options())
    assert json.loads(str(options.pop("grpc.service_config"))) == {
        "loadBalancingConfig": [{"round_robin": {}}],
        "healthCheckConfig": {"serviceName": ""},
    }
    assert options == {
        "grpc.enable_http_proxy": 0,
        "grpc.enable_retries": 0,
        "grpc.initial_reconnect_backoff_ms": 100,
        "grpc.max_reconnect_backoff_ms": 1_000,
        "grpc.dns_min_time_between_resolutions_ms": 1_000,
        "grpc.keepalive_time_ms": 30_000,
        "grpc.keepalive_timeout_ms": 5_000,
        "grpc.http2.ping_timeout_ms": 5_000,
        "grpc.max_receive_message_length": -1,
    }


class _Channel:
    """A channel with listed answers, for either client.

    Attributes:
        sent: Target, path, request, timeout and metadata of each call.
    """

    def __init__(self, target: str, sent: list[tuple[Any, ...]], answers: list[Any], blocking: bool) -> None:
        self.target, self.sent, self.answers, self.blocking = target, sent, answers, blocking
        self.closed = 0

    def unary_unary(self, path: str, request_serializer: Any, response_deserializer: Any) -> Any:
        def call(request: Any, timeout: float, metadata: Any) -> Any:
            sent = type(request).FromString(request_serializer(request))
            sent.ClearField("log_id")
            self.sent.append((self.target, path, sent, timeout, metadata))
            answer = self.answers.pop(0)
            if isinstance(answer, Exception):
                raise answer
            return response_deserializer(answer.SerializeToString())

        async def call_aio(request: Any, timeout: float, metadata: Any) -> Any:
            return call(request, timeout, metadata)

        return call if self.blocking else call_aio

    def close(self) -> Any:
        self.closed += 1
        if not self.blocking:
            done = asyncio.get_running_loop().create_future()
            done.set_result(None)
            return done
        return None


class _Client:
    """Either client over channels with listed answers, with the methods as coroutines."""

    def __init__(self, blocking: bool, answers: Iterable[Any] = (), **options: Any) -> None:
        self.sent: list[tuple[Any, ...]] = []
        self.opened: list[_Channel] = []
        self.options: list[object] = []
        left = list(answers)

        def factory(target: str, options: object) -> Any:
            self.options.append(options)
            self.opened.append(_Channel(target, self.sent, left, blocking))
            return self.opened[-1]

        self.mesh: Any = (sync.Mesh if blocking else Mesh)(TARGETS, channel_factory=factory, **options)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        async def method(*arguments: Any, **named: Any) -> Any:
            result = getattr(self.mesh, name)(*arguments, **named)
            return await result if asyncio.iscoroutine(result) else result

        return method


both = pytest.mark.parametrize("blocking", [False, True], ids=["asyncio", "blocking"])
FOUND = um_pb2.UserModelResponse(error={"code": 200}, user_info={"user_id": "5"})


@both
@pytest.mark.usefixtures("drawn")
async def test_a_call_is_tried_again_after_each_pause_in_the_time_that_is_left(blocking: bool, clock: Clock) -> None:
    client = _Client(blocking, [failed(Code.UNAVAILABLE), failed(Code.UNAVAILABLE), FOUND], timeout=2.0)
    assert (await client.um("5")).user_id == "5"
    assert clock.pauses == pytest.approx([0.05, 0.1])
    request = um_pb2.UserModelRequest(user_id="5")
    assert [(*call[:3], *call[4:]) for call in client.sent] == [("um:1", UM.path, request, ())] * 3
    assert [call[3] for call in client.sent] == pytest.approx([2.0, 1.95, 1.85])


@both
async def test_the_timeout_is_that_of_the_call_or_of_the_mesh_or_ten_seconds(blocking: bool, clock: Clock) -> None:
    client = _Client(blocking, [FOUND] * 3, timeout=2.0)
    await client.um("5")
    await client.um("5", timeout=0.5)
    await client.um("5", timeout=0.0)
    default = _Client(blocking, [FOUND])
    await default.um("5")
    assert [call[3] for call in client.sent + default.sent] == pytest.approx([2.0, 0.5, 0.001, 10.0])


@both
async def test_a_mesh_that_retries_overload_says_that_its_calls_can_wait(blocking: bool, clock: Clock) -> None:
    refused = failed(Code.RESOURCE_EXHAUSTED)
    client = _Client(blocking, [refused, FOUND], retry_overload=True)
    await client.um("5")
    assert [call[4] for call in client.sent] == [((PRIORITY, BATCH),)] * 2
    with pytest.raises(Overloaded):
        await _Client(blocking, [refused]).um("5")


@both
async def test_a_channel_is_opened_once_for_each_service_until_the_mesh_is_closed(blocking: bool) -> None:
    client = _Client(blocking, [FOUND, FOUND, as_pb2.ASResponse(error={"code": 200}), FOUND])
    await client.um("5")
    await client.um("5")
    await client.recommend("5")
    assert [channel.target for channel in client.opened] == ["um:1", "as:1"]
    assert client.options == [POLICY.options()] * 2
    await client.close()
    assert [channel.closed for channel in client.opened] == [1, 1]
    await client.um("5")
    assert [channel.target for channel in client.opened] == ["um:1", "as:1", "um:1"]


@both
async def test_credentials_and_interceptors_reach_the_channel(blocking: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[tuple[object, ...]] = []

    def open_channel(target: str, policy: object, **given: Any) -> Any:
        given["token"] = given["token"]()
        opened.append((target, policy, given))
        return _Channel(target, [], [FOUND], blocking)

    monkeypatch.setattr(channels, "open_blocking_channel" if blocking else "open_channel", open_channel)
    credentials, interceptors = object(), [object()]
    options: Any = {"credentials": credentials, "interceptors": interceptors, "token": "sesame"}
    mesh: Any = (sync.Mesh if blocking else Mesh)(TARGETS, **options)
    result = mesh.um("5")
    await result if asyncio.iscoroutine(result) else result
    assert opened == [("um:1", POLICY, {**options, "tls": None})]
    for given in ({"credentials": credentials}, {"interceptors": interceptors}, {"token": "sesame"}):
        with pytest.raises(ValueError, match="a channel_factory applies credentials and interceptors itself"):
            _Client(blocking, [], **given)


def scores(release: str, **by_sku_id: float) -> rank_pb2.RankResponse:
    pairs = [{"nid": sku_id, "score": score} for sku_id, score in by_sku_id.items()]
    return rank_pb2.RankResponse(error={"code": 200}, release=release, score_pairs=pairs)


@both
async def test_many_items_are_scored_in_parts_by_one_release(blocking: bool) -> None:
    client = _Client(blocking, [scores("r1", a=1), scores("r1", b=2)])
    ids = [str(number) for number in range(2_001)]
    found = await client.score(User(), [*ids, *ids], affinity=True, new_only=True, timeout=3.0)
    assert (found.by_sku_id, found.release) == ({"a": 1, "b": 2}, "r1")
    first, second = (call[2] for call in client.sent)
    assert (list(first.item_ids), list(second.item_ids)) == (ids[:2_000], ids[2_000:])
    assert (first.release, second.release) == ("", "r1")
    assert all(request.affinity and request.new_only for request in (first, second))
    assert [call[1] for call in client.sent] == [RANK.path] * 2
    one = _Client(blocking, [scores("r0")])
    await one.score(User(), ["a"], release="r0")
    assert (one.sent[0][2].release, one.sent[0][2].affinity, one.sent[0][2].new_only) == ("r0", False, False)


CATE_5 = Condition("cate", any_of=("5",))


@both
async def test_every_argument_of_recommend_is_sent(blocking: bool) -> None:
    client = _Client(blocking, [as_pb2.ASResponse(error={"code": 200})] * 3)
    await client.recommend(
        "5",
        {"age": "3"},
        size=7,
        exclude=["x"],
        new_only=True,
        explain=True,
        paged=True,
        explain_missing=["z"],
        filter=[CATE_5],
    )
    await client.recommend()
    await client.next_page("rest", size=7)
    assert [call[2] for call in client.sent] == [
        as_pb2.ASRequest(
            user_id="5",
            user_info={"user_id": "5", "age": "3"},
            size=7,
            exclude_ids=["x"],
            new_only=True,
            explain=True,
            paged=True,
            explain_missing=["z"],
            filter={"conditions": [{"field": "cate", "any_of": ["5"]}]},
        ),
        as_pb2.ASRequest(),
        as_pb2.ASRequest(cursor="rest", size=7),
    ]
    with pytest.raises(InvalidRequest, match="cursor is empty"):
        await client.next_page("")
    assert client.sent[0][1] == AS.path


@pytest.mark.parametrize("blocking", [False, True])
@pytest.mark.parametrize("secure", [False, True])
def test_a_channel_gets_its_target_options_credentials_and_interceptors(
    monkeypatch: pytest.MonkeyPatch, blocking: bool, secure: bool
) -> None:
    opened: list[tuple[Any, ...]] = []
    intercepted: list[tuple[Any, ...]] = []
    api: Any = grpc if blocking else grpc.aio
    for name in ("insecure_channel", "secure_channel"):
        monkeypatch.setattr(api, name, lambda *given, _name=name, **named: opened.append((_name, *given, named)))
    monkeypatch.setattr(grpc, "intercept_channel", lambda channel, *given: intercepted.append(given))
    interceptor: Any = object()
    credentials: Any = object() if secure else None
    open_channel: Any = channels.open_blocking_channel if blocking else channels.open_channel
    open_channel("um:1", POLICY, credentials=credentials, interceptors=[interceptor])
    given = ("secure_channel", "um:1", credentials) if secure else ("insecure_channel", "um:1")
    named = {"options": POLICY.options()}
    assert opened == [(*given, named if blocking else {**named, "interceptors": [interceptor]})]
    assert intercepted == ([(interceptor,)] if blocking else [])
