"""The parts of the chain, each measured alone on inputs of real requests, in the process of the generator."""

import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import grpc.aio
import uvloop

from benchmarks import hop
from benchmarks.load import Call, quantile
from benchmarks.processes import Pids, usage
from benchmarks.traffic import CM_ITEMS, Case
from recmesh.contract import DIRECT
from recmesh.features import Encoder, User
from recmesh.pb.user_info_pb2 import History, UserInfo
from recmesh.releases import Manifest, ModelStore
from recmesh.serving.models import UserFeatureCache, Vector, session
from recmesh.serving.stages import RequestUser
from recmesh.stores.credentials import Credentials
from recmesh.stores.keys import Keys
from recmesh.stores.milvus import MilvusReader
from recmesh.stores.redis import RedisReader

_TIMEOUT = 10.0
# As many items as recall requests from Milvus: the depth of the channel plus a reserve for excluded items.
_SEARCH_LIMIT = 256


@dataclass(frozen=True, slots=True)
class Places:
    """Addresses of the parts, and the number of calls of each part."""

    model_store: str
    release: str
    redis_url: str
    redis_credentials: Credentials
    keys: Keys
    milvus_uri: str
    milvus_credentials: Credentials
    pids: Pids
    calls: int


@dataclass(frozen=True, slots=True)
class Part:
    """Measurements of a part that is called serially.

    Attributes:
        name: The part.
        p50: Median latency in milliseconds.
        p99: 99th percentile of the latency in milliseconds.
        cpu_ms: CPU milliseconds per call, in all processes involved.
    """

    name: str
    p50: float
    p99: float
    cpu_ms: float


def measure(cases: Sequence[Case], places: Places) -> list[Part]:
    """Measure the ranker, a Milvus search, a Redis MGET and an empty gRPC call, blocking.

    Raises:
        RecmeshError: A part is missing.
    """
    return uvloop.run(_measure(cases, places))


async def _measure(cases: Sequence[Case], places: Places) -> list[Part]:
    with _release(places) as (folder, manifest):
        encoder, ranker = Encoder.load(folder), session(folder / "ranker.onnx")
        user_features = UserFeatureCache(encoder, folder)
        encoded = [user_features.encode(_request_user(case)) for case in cases]
    vectors = [vector[None] for _, vector in encoded if vector is not None]
    inputs = [
        _ranker_inputs(encoder, ranker, user, vector, case) for (user, vector), case in zip(encoded, cases, strict=True)
    ]
    parts = [await _part("ranker.onnx alone", _each(inputs, _ranking(ranker)), places)]
    if vectors:
        async with _closing(MilvusReader(places.milvus_uri, places.milvus_credentials)) as milvus:
            collection = milvus.collection(manifest.collection, manifest.index)
            search = _each(vectors, lambda vector: collection.search(vector, _SEARCH_LIMIT, _TIMEOUT))
            parts.append(await _part(f"Milvus search alone, top {_SEARCH_LIMIT}", search, places, "milvus"))
    reader = RedisReader(places.redis_url, keys=places.keys, credentials=places.redis_credentials)
    async with _closing(reader) as redis:
        mget = _each([case.sku_ids[:CM_ITEMS] for case in cases], redis.get_items)
        parts.append(await _part(f"Redis MGET of {CM_ITEMS} alone", mget, places, "redis"))
    async with hop.running() as (target, pid), grpc.aio.insecure_channel(target, options=[DIRECT]) as channel:
        call: Call = channel.unary_unary(hop.PATH)
        parts.append(await _part("empty gRPC call", lambda _: call(b"", timeout=_TIMEOUT), places, pid))
    return parts


async def _part(
    name: str, call: Callable[[int], Awaitable[Any]], places: Places, server: str | int | None = None
) -> Part:
    pid = places.pids.get(server) if isinstance(server, str) else server
    pids = {"server": pid} if pid else {}
    for k in range(min(20, places.calls)):
        await call(k)
    before, own = usage(pids), time.process_time()
    times = []
    for k in range(places.calls):
        started = time.perf_counter()
        await call(k)
        times.append(time.perf_counter() - started)
    own, after = time.process_time() - own, usage(pids)
    cpu = own + sum(used.cpu - before[process].cpu for process, used in after.items())
    times.sort()
    return Part(name, quantile(times, 0.5) * 1e3, quantile(times, 0.99) * 1e3, cpu * 1e3 / places.calls)


def _each(values: Sequence[Any], call: Callable[[Any], Awaitable[Any]]) -> Callable[[int], Awaitable[Any]]:
    return lambda k: call(values[k % len(values)])


def _ranking(session: Any) -> Callable[[Any], Awaitable[Any]]:
    async def run(inputs: Any) -> Any:
        return session.run(["score"], inputs)

    return run


def _request_user(case: Case) -> RequestUser:
    return RequestUser(UserInfo.FromString(case.user_info), History.FromString(case.history))


def _ranker_inputs(encoder: Encoder, ranker: Any, user: User, vector: Vector | None, case: Case) -> dict[str, Any]:
    items = encoder.catalogue.encode(case.sku_ids)
    made = encoder.ranker_inputs(user, items[items >= 0], False, user_vector=vector)
    return {tensor.name: made[tensor.name] for tensor in ranker.get_inputs()}


@contextmanager
def _release(places: Places) -> Iterator[tuple[Path, Manifest]]:
    store = ModelStore(places.model_store)
    with TemporaryDirectory(prefix="recmesh-bench-") as folder:
        yield store.fetch(places.release, Path(folder)), store.manifest(places.release)


@asynccontextmanager
async def _closing(reader: Any) -> Any:
    try:
        yield reader
    finally:
        await reader.close()
