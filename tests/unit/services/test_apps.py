"""How services are put together: each setting reaches its part."""

from collections.abc import Callable
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from recmesh.serving import milvus as serving_milvus
from recmesh.serving import redis as serving_redis
from recmesh.serving import shown_facts
from recmesh.serving.milvus import open_milvus
from recmesh.serving.redis import open_redis
from recmesh.serving.stages import ANONYMOUS
from recmesh.stores.credentials import NO_CREDENTIALS
from recmesh.stores.keys import Keys
from services.cm import app as cm_app
from services.cm.settings import CmSettings
from services.rank import app as rank_app
from services.rank.settings import RankSettings
from services.recall import app as recall_app
from services.recall import item_fields, new_items, trending
from services.recall.core import RecallCore
from services.recall.settings import RecallSettings
from services.um import app as um_app
from services.um.settings import UmSettings


class _Reader:
    """A reader of Redis that keeps what it was made of."""

    made: list["_Reader"] = []  # noqa: RUF012

    def __init__(self, *arguments: Any) -> None:
        self.arguments = arguments
        self.closed = False
        self.made.append(self)

    async def ping(self) -> None: ...

    async def close(self) -> None:
        self.closed = True


@pytest.fixture
def readers(monkeypatch: pytest.MonkeyPatch) -> list[_Reader]:
    """The readers that are made."""
    _Reader.made = []
    monkeypatch.setattr(serving_redis, "RedisReader", _Reader)
    return _Reader.made


async def test_a_check_of_redis_has_a_connection_of_its_own(readers: list[_Reader]) -> None:
    settings = UmSettings(redis_url="redis://r:1/0", redis_prefix="shop:", redis_pool=7, default_timeout=1.5)
    async with open_redis(settings) as (reader, check):
        reading, probe = readers
        assert check == probe.ping
        given: Any = reader
        assert given is reading
        assert reading.arguments == ("redis://r:1/0", 7, 1.5, Keys.of("shop:"), NO_CREDENTIALS)
        assert probe.arguments == ("redis://r:1/0", 1, 1.5, Keys.of("shop:"), NO_CREDENTIALS)
        assert not reading.closed and not probe.closed
    assert reading.closed and probe.closed


async def test_a_reader_of_milvus_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving_milvus, "MilvusReader", _Reader)
    async with open_milvus(RecallSettings(milvus_uri="http://m:1")) as opened:
        reader: Any = opened
        assert (reader.arguments, reader.closed) == (("http://m:1", NO_CREDENTIALS), False)
    assert reader.closed


@pytest.mark.parametrize(
    ("app", "settings", "port", "service", "method"),
    [
        (um_app, UmSettings(um_port=1), 1, "um.UMService", "um_call"),
        (cm_app, CmSettings(cm_port=2), 2, "cm.CMService", "cm_call"),
    ],
)
async def test_um_and_cm_serve_their_method_with_the_check_of_redis(
    readers: list[_Reader], app: Any, settings: Any, port: int, service: str, method: str
) -> None:
    async with app.build(settings) as endpoints:
        (endpoint,) = endpoints
    assert (endpoint.name, endpoint.port) == (service[:2], port)
    assert (endpoint.descriptor.full_name, set(endpoint.methods)) == (service, {method})
    assert endpoint.check == readers[1].ping


class _Releases:
    """Held releases that keep what they were made of."""

    made: list["_Releases"] = []  # noqa: RUF012

    def __init__(
        self,
        service: str,
        store: Any,
        folder: Path,
        load: Callable[..., Any],
        ready: Any = None,
        switched: Callable[[Any], None] | None = None,
    ) -> None:
        self.arguments = (service, store.url, folder)
        self.load, self.ready, self.switched = load, ready, switched
        self.intervals: list[float] = []
        self.made.append(self)

    async def check(self) -> None: ...

    async def follow(self, interval: float) -> None:
        self.intervals.append(interval)


@asynccontextmanager
async def _background(coroutine: Any) -> Any:
    """Run to the end at once."""
    yield await coroutine


def _keep(kept: dict[str, Any], name: str) -> Callable[..., Any]:
    def make(*arguments: Any) -> Any:
        kept[name] = arguments
        return name

    return make


async def test_rank_follows_its_releases_and_loads_them_with_a_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    kept: dict[str, Any] = {}
    _Releases.made = []

    @asynccontextmanager
    async def backends(settings: object, gate: object) -> Any:
        kept["backends"] = (settings, gate)
        yield _keep(kept, "backend")

    for name in ("UnknownValues", "UserFeatureCache", "warmed"):
        monkeypatch.setattr(rank_app, name, _keep(kept, name))
    monkeypatch.setattr(rank_app, "open_backends", backends)
    monkeypatch.setattr(rank_app, "WarmReleases", _Releases)
    monkeypatch.setattr(rank_app, "background", _background)
    monkeypatch.setattr(rank_app, "Encoder", SimpleNamespace(load=lambda folder: ("encoder of", folder)))
    settings = RankSettings(rank_port=9, model_store="/store", home=Path("/home"), release_poll=3.5)
    async with rank_app.build(settings) as endpoints:
        (endpoint,) = endpoints
    (releases,) = _Releases.made
    assert releases.arguments == ("rank", "/store", Path("/home/releases"))
    assert releases.intervals == [3.5]
    assert (endpoint.name, endpoint.port, endpoint.check) == ("rank", 9, releases.check)
    assert endpoint.congestion is kept["backends"][1].congestion
    assert releases.load(Path("/r1"), "manifest") == "warmed"
    encoder = ("encoder of", Path("/r1"))
    assert kept["warmed"] == (encoder, "UserFeatureCache", "UnknownValues", "backend")
    assert (kept["UserFeatureCache"], kept["UnknownValues"]) == ((encoder, Path("/r1")), ("rank", encoder))
    assert kept["backend"] == (Path("/r1"), "manifest")
    asked: list[str] = []

    async def ready() -> None:
        asked.append("ready")

    await releases.ready(SimpleNamespace(backend=SimpleNamespace(ready=ready)))
    assert asked == ["ready"]


@pytest.mark.parametrize(("items", "candidates", "rows"), [(5, 3, 3), (2, 3, 2)])
def test_rank_warms_up_as_many_items_as_a_request_has(items: int, candidates: int, rows: int) -> None:
    asked: list[tuple[Any, ...]] = []
    warmed: list[Any] = []

    def ranker_inputs(*arguments: Any) -> str:
        asked.append(arguments)
        return "inputs"

    catalogue, spec = range(items), SimpleNamespace(candidates=candidates)
    encoder: Any = SimpleNamespace(catalogue=catalogue, spec=spec, ranker_inputs=ranker_inputs)
    features: Any = SimpleNamespace(encode=lambda user: (user, "vector"))
    backend: Any = SimpleNamespace(warm=warmed.append)
    unknown: Any = object()
    release = rank_app.warmed(encoder, features, unknown, backend)
    ((user, numbers, new_only, unlisted, vector),) = asked
    assert user is ANONYMOUS
    assert (numbers.tolist(), numbers.dtype) == (list(range(rows)), np.int32)
    assert (new_only, unlisted, vector, warmed) == (False, (), "vector", ["inputs"])
    assert (release.encoder, release.user_features, release.unknown_values) == (encoder, features, unknown)
    assert release.backend is backend


async def test_recall_follows_its_releases_and_their_new_items(
    monkeypatch: pytest.MonkeyPatch, readers: list[_Reader]
) -> None:
    kept: dict[str, Any] = {}
    _Releases.made = []

    @asynccontextmanager
    async def milvus(uri: str) -> Any:
        kept["uri"] = uri
        yield "milvus"

    async def follow(*arguments: Any) -> None:
        kept["new items"] = arguments

    async def follow_live(*arguments: Any) -> None:
        kept["live items"] = arguments

    async def follow_counts(*arguments: Any) -> None:
        kept["counts"] = arguments

    async def follow_fields(*arguments: Any) -> None:
        kept["item fields"] = arguments

    for name in ("UnknownValues", "UserFeatureCache", "LatestNewItems", "Trending", "item_tower", "ready"):
        monkeypatch.setattr(recall_app, name, _keep(kept, name))

    async def export(store: Any) -> None:
        kept["shown rates"] = store

    monkeypatch.setattr(new_items, "follow", follow)
    monkeypatch.setattr(new_items, "follow_live", follow_live)
    monkeypatch.setattr(trending, "follow", follow_counts)
    monkeypatch.setattr(item_fields, "follow", follow_fields)
    monkeypatch.setattr(shown_facts, "follow", export)
    monkeypatch.setattr(recall_app, "open_milvus", milvus)
    monkeypatch.setattr(recall_app, "WarmReleases", _Releases)
    monkeypatch.setattr(recall_app, "background", _background)
    encoder = SimpleNamespace(catalogue=["a", "b"])
    monkeypatch.setattr(recall_app, "Encoder", SimpleNamespace(load=lambda folder: encoder))
    monkeypatch.setattr(recall_app, "Scenarios", SimpleNamespace(load=_keep(kept, "scenarios")))
    monkeypatch.setattr(recall_app, "RecallRelease", SimpleNamespace(warmed=_keep(kept, "warmed")))

    def make_core(*arguments: Any) -> Any:
        kept["core"] = arguments
        return RecallCore(*arguments)

    monkeypatch.setattr(recall_app, "RecallCore", make_core)
    settings = RecallSettings(
        recall_port=9,
        model_store="/store",
        home=Path("/home"),
        release_poll=3.5,
        milvus_uri="http://m:1",
        channel_timeout=0.25,
    )
    async with recall_app.build(settings) as endpoints:
        (endpoint,) = endpoints
    (releases,) = _Releases.made
    assert (releases.arguments, kept["uri"]) == (("recall", "/store", Path("/home/releases")), settings)
    assert releases.intervals == [3.5]
    store, followed, interval = kept["new items"]
    assert (store.url, followed, interval) == ("/store", releases, 3.5)
    assert kept["shown rates"] is store
    assert (kept["core"][0], kept["core"][2]) == (releases, 0.25)
    check: Any = endpoint.check
    assert (endpoint.port, check, kept["ready"]) == (9, "ready", (releases,))
    assert releases.load(Path("/r1"), "manifest") == "warmed"
    exported: list[str] = []
    assert releases.switched is not None
    releases.switched(SimpleNamespace(drift=SimpleNamespace(export=lambda: exported.append("drift"))))
    assert exported == ["drift"]
    gate = kept["core"][1]
    made = ("UserFeatureCache", "UnknownValues", "milvus", gate, "LatestNewItems", "scenarios", "Trending")
    assert kept["warmed"] == ("manifest", encoder, *made)
    assert kept["scenarios"] == (Path("/r1/features"), 2)
    reader, live, told = kept["live items"]
    assert (reader, told) == (readers[0], releases)
    assert kept["item fields"][:2] == (readers[0], releases)
    assert kept["LatestNewItems"] == (encoder, live, "item_tower")
    reader, counts, told = kept["counts"]
    assert (reader, told) == (readers[0], releases)
    assert kept["Trending"] == (encoder, "LatestNewItems", counts)
    assert kept["item_tower"] == (Path("/r1"),)
    assert (kept["UserFeatureCache"], kept["UnknownValues"]) == ((encoder, Path("/r1")), ("recall", encoder))


def test_the_defaults_of_rank_and_recall() -> None:
    rank = RankSettings()
    assert (rank.rank_backend, rank.paddle_serving_target) == ("onnx", "127.0.0.1:8961")
    assert (rank.paddle_serving_timeout, rank.paddle_serving_wait, rank.paddle_serving_tolerance) == (0.2, 30, 5e-5)
    assert (RecallSettings().milvus_uri, RecallSettings().channel_timeout) == ("http://127.0.0.1:19530", 0.5)
