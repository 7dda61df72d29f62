"""Realistic requests: known users of the ingested data set by id, and new users by profile."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from recmesh.client import AS, CM, RANK, RECALL, UM, Mesh, Method, Targets
from recmesh.contract import LEGACY_NEW_USER_ID, ServiceName
from recmesh.errors import DataError
from recmesh.pb import as_pb2, cm_pb2, rank_pb2, recall_pb2, um_pb2
from recmesh.pb.user_info_pb2 import History, UserInfo
from recmesh.stores.credentials import NO_CREDENTIALS, Credentials
from recmesh.stores.keys import Keys
from recmesh.stores.redis import RedisWriter

CM_ITEMS = 100
_CANDIDATES = 400
_BEST = 60
_NEW_EVERY = 4
_SEED = 1


@dataclass(frozen=True, slots=True)
class Case:
    """The request of a user as the stages see it.

    Attributes:
        user_info: Serialized UserInfo.
        history: Serialized History.
        sku_ids: Candidates of recall.
    """

    user_info: bytes
    history: bytes
    sku_ids: Sequence[str]


@dataclass(frozen=True, slots=True)
class Traffic:
    """Requests of a benchmark.

    Attributes:
        release: The active release.
        cases: The requests as the stages see them.
        payloads: Serialized requests by service.
    """

    release: str
    cases: Sequence[Case]
    payloads: dict[ServiceName, list[bytes]]


METHODS: tuple[Method[Any, Any], ...] = (UM, CM, RECALL, RANK, AS)


def draw_users(redis_url: str, keys: Keys, count: int, credentials: Credentials = NO_CREDENTIALS) -> list[str]:
    """Draw the ids of `count` users, or of all users if there are fewer. The same data set gives the same ids."""
    redis = RedisWriter(redis_url, keys=keys, credentials=credentials)
    try:
        ids = sorted({user_id for key in redis.scan(keys.user.pattern) if (user_id := keys.user.id_of(key))})
    finally:
        redis.close()
    if not ids:
        raise DataError(f"Redis {redis.url} has no users: ingest a data set first (`make up`)")
    return random.Random(_SEED).sample(ids, min(count, len(ids)))


async def prepare(targets: Targets, user_ids: Sequence[str]) -> Traffic:
    """Make the requests of all services from answers of the mesh itself. Every fourth user is new."""
    async with Mesh(targets) as mesh:
        return await _prepare(mesh, user_ids)


async def _prepare(mesh: Mesh, user_ids: Sequence[str]) -> Traffic:
    payloads: dict[ServiceName, list[bytes]] = {method.service: [] for method in METHODS}
    cases = []
    release = ""
    for k, user_id in enumerate(user_ids):
        user_request = um_pb2.UserModelRequest(user_id=user_id)
        stored = await mesh.call(UM, user_request)
        is_new = k % _NEW_EVERY == _NEW_EVERY - 1
        info, history = (_new_user(stored.user_info), History()) if is_new else (stored.user_info, stored.history)
        wanted = recall_pb2.RecallRequest(user_info=info, history=history, request_num=_CANDIDATES, columnar=True)
        found = await mesh.call(RECALL, wanted)
        ids, release = list(found.candidates.ids), found.release
        ranked = rank_pb2.RankRequest(
            user_info=info, history=history, item_ids=ids, size=_BEST, new_only=found.new_only, release=release
        )
        asked = as_pb2.ASRequest(user_info=info) if is_new else as_pb2.ASRequest(user_id=user_id)
        payloads["um"].append(user_request.SerializeToString())
        payloads["cm"].append(cm_pb2.CMRequest(item_ids=ids[:CM_ITEMS]).SerializeToString())
        payloads["recall"].append(wanted.SerializeToString())
        payloads["rank"].append(ranked.SerializeToString())
        payloads["as"].append(asked.SerializeToString())
        cases.append(Case(info.SerializeToString(), history.SerializeToString(), ids))
    return Traffic(release, cases, payloads)


def _new_user(info: UserInfo) -> UserInfo:
    new = UserInfo()
    new.CopyFrom(info)
    new.user_id = LEGACY_NEW_USER_ID
    return new
