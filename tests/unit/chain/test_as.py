"""How as starts: its stages, and for how long it waits for them. As `as` is a keyword, it is imported by name."""

import asyncio
import importlib
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest

from recmesh.errors import Unavailable
from recmesh.releases import ModelStore
from tests.unit.clock import Clock

app = importlib.import_module("services.as.app")
settings = importlib.import_module("services.as.settings")


class _Stub:
    """The health of stages.

    Attributes:
        down: The stages that do not serve.
        asked: Stages and timeouts of the calls.
    """

    down: set[str]
    asked: list[tuple[str, float]]

    def __init__(self, channel: str) -> None:
        self.channel = channel

    async def Check(self, _request: object, timeout: float) -> None:  # noqa: N802 - gRPC's name
        self.asked.append((self.channel, timeout))
        if self.channel in self.down:
            metadata = grpc.aio.Metadata()
            raise grpc.aio.AioRpcError(grpc.StatusCode.UNAVAILABLE, metadata, metadata)


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch) -> type[_Stub]:
    _Stub.down, _Stub.asked = set(), []
    monkeypatch.setattr(app.health_pb2_grpc, "HealthStub", _Stub)
    return _Stub


async def test_it_waits_for_every_stage_for_a_minute(monkeypatch: pytest.MonkeyPatch, stub: type[_Stub]) -> None:
    clock = Clock(monkeypatch, "services.as.app")
    check = app._all_serving({"um": "um", "rank": "rank"})
    await check()
    assert stub.asked == [("um", 0.5), ("rank", 0.5)]
    stub.down = {"rank"}
    clock.now += 59.9
    with pytest.raises(Unavailable, match="rank does not serve yet: UNAVAILABLE"):
        await check()
    clock.now += 0.1
    await check()


async def test_each_stage_has_the_channel_of_its_target(monkeypatch: pytest.MonkeyPatch, stub: type[_Stub]) -> None:
    made: dict[str, tuple[Any, ...]] = {}

    @asynccontextmanager
    async def channel(target: str, tls: object) -> Any:
        assert tls is None
        yield target

    def keep(name: str) -> Any:
        def make(*arguments: Any, **options: Any) -> str:
            made[name] = (*arguments, *options.values())
            return name

        return make

    class Popular:
        def __init__(self, candidates: object) -> None:
            made["popular"] = (candidates,)

        async def follow(self, interval: float) -> None:
            made["follow"] = (interval,)
            await asyncio.Event().wait()

        async def check(self) -> None:
            made["check"] = ()

    class Rules:
        async def follow(self, store: ModelStore, interval: float) -> None:
            made["rules"] = (store.url, interval)
            await asyncio.Event().wait()

        async def check(self) -> None:
            made["rules checked"] = ()

    monkeypatch.setattr(app, "open_channel", channel)
    monkeypatch.setattr(app, "ActiveRules", Rules)
    for name in ("RemoteUserStage", "RemoteCandidateStage", "RemoteRankStage", "RemoteItemStage", "Chain", "endpoint"):
        monkeypatch.setattr(app, name, keep(name))
    monkeypatch.setattr(app, "PopularList", Popular)
    chosen = settings.AsSettings(
        um_target="um:1",
        cm_target="cm:1",
        recall_target="recall:1",
        rank_target="rank:1",
        candidates=77,
        popular_refresh=3.5,
        model_store="memory://rules",
        rules_poll=0.7,
        as_port=99,
        as_http_port=98,
    )
    async with app.build(chosen) as endpoints:
        assert endpoints == ["endpoint"]
        port, chain, check, log, http_port = made["endpoint"]
        assert log is None, "no answer is logged by default"
        await check()
        await asyncio.sleep(0)
    users, candidates, ranker, items, popular, count, rules = made["Chain"]
    assert (made["RemoteUserStage"], made["RemoteCandidateStage"]) == (("um:1", "um:1"), ("recall:1", "recall:1"))
    assert (made["RemoteRankStage"], made["RemoteItemStage"]) == (("rank:1", "rank:1"), ("cm:1", "cm:1"))
    stages = ("RemoteUserStage", "RemoteCandidateStage", "RemoteRankStage", "RemoteItemStage")
    assert (users, candidates, ranker, items) == stages
    assert made["popular"] == ("RemoteCandidateStage",)
    assert (port, http_port, chain, made["follow"], made["check"]) == (99, 98, "Chain", (3.5,), ())
    assert (type(popular).__name__, count, type(rules).__name__) == ("Popular", 77, "Rules")
    assert (made["rules"], made["rules checked"]) == (("memory://rules", 0.7), ())
    assert {stage for stage, _ in stub.asked} == {"um:1", "cm:1", "recall:1", "rank:1"}


def test_an_empty_target_is_the_port_of_the_service_on_this_machine() -> None:
    ports = {"um_port": 1, "cm_port": 2, "recall_port": 3, "rank_port": 4}
    assert settings.AsSettings(**ports).targets == {
        "um": "127.0.0.1:1",
        "cm": "127.0.0.1:2",
        "recall": "127.0.0.1:3",
        "rank": "127.0.0.1:4",
    }
    assert (settings.AsSettings().candidates, settings.AsSettings().popular_refresh) == (400, 30)
