"""What an ingestion leaves in the stores, and whether it is still there."""

import asyncio
from collections.abc import Awaitable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Literal, Protocol, TypeAlias, get_args

import grpc

from recmesh.errors import RecmeshError, ReleaseError, Unavailable
from recmesh.releases import Manifest, ModelStore
from recmesh.serving.deadline import within

Store: TypeAlias = Literal["redis", "milvus", "model_store"]
"""A store, as metrics name it."""

STORES: tuple[Store, ...] = get_args(Store)
_TIMEOUT_SECONDS = 5.0


class Ingestions(Protocol):
    """See `recmesh.stores.redis.RedisReader`."""

    async def latest_ingestion(self) -> Mapping[str, float]:
        """What the latest ingestion did; nothing before the first one."""
        ...


class Collections(Protocol):
    """See `recmesh.stores.milvus.MilvusReader`."""

    async def has_collection(self, name: str, timeout: float) -> bool:
        """Whether there is a collection."""
        ...


@dataclass(frozen=True)
class Found:
    """What a look at the stores has found.

    Attributes:
        missing: What the stores lack that an ingestion has left there, in words.
        silent: Why other stores could not be asked.
    """

    missing: Mapping[Store, str] = field(default_factory=dict)
    silent: Mapping[Store, str] = field(default_factory=dict)


class Stores:
    """Redis, Milvus and the model store of an installation."""

    def __init__(self, redis: Ingestions, milvus: Collections, models: ModelStore) -> None:
        """Look into these stores."""
        self._redis, self._milvus, self._models = redis, milvus, models
        # One thread, so that calls to a store that hangs do not pile up.
        self._thread = ThreadPoolExecutor(1)
        self._ingested = False
        self._manifest: Manifest | None = None

    async def look(self) -> Found:
        """Ask all stores. Before the first ingestion, nothing is missing."""
        missing: dict[Store, str] = {}
        silent: dict[Store, str] = {}
        asked: dict[Store, Awaitable[str]] = {
            "redis": self._look_into_redis(),
            "milvus": self._look_into_milvus(),
            "model_store": self._look_into_model_store(),
        }
        answers = await asyncio.gather(*asked.values(), return_exceptions=True)
        for store, answer in zip(asked, answers, strict=True):
            if isinstance(answer, RecmeshError):
                silent[store] = str(answer)
            elif isinstance(answer, BaseException):
                raise answer
            elif answer:
                missing[store] = answer
        return Found(missing if self._ingested else {}, silent)

    async def _look_into_redis(self) -> str:
        if "time" not in await self._redis.latest_ingestion():
            return "Redis was empty"
        self._ingested = True
        return ""

    async def _look_into_milvus(self) -> str:
        """Look for the collection of the release that the model store has named last."""
        if self._manifest is None or self._manifest.starter:  # a starter has no collection
            return ""
        name = self._manifest.collection
        try:
            return "" if await self._milvus.has_collection(name, _TIMEOUT_SECONDS) else f"Milvus had no {name}"
        except Unavailable as error:
            # A Milvus that has lost everything has lost its users, too. An ingestion sets them up.
            cause = error.__cause__
            if isinstance(cause, grpc.RpcError) and cause.code() is grpc.StatusCode.UNAUTHENTICATED:
                return "Milvus did not know its users"
            raise

    async def _look_into_model_store(self) -> str:
        loop = asyncio.get_running_loop()
        reading = loop.run_in_executor(self._thread, self._read_model_store)
        problem, last = await within(_TIMEOUT_SECONDS, f"model store {self._models.url}", reading)
        self._manifest = last
        self._ingested |= last is not None
        return problem

    def _read_model_store(self) -> tuple[str, Manifest | None]:
        """What is wrong with the pointer, and the release that is active or was active last."""
        try:
            active = self._models.active()
            if active is not None:
                return "", self._models.manifest(active)
            problem = "no release was active"
        except ReleaseError:
            problem = "the active release was unreadable"
        return problem, self._models.last_active_manifest()
