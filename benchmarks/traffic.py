"""Requests like those of production: users of the ingested data set, known ones by id and new ones by profile."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from recmesh.client import AS, CM, RANK, RECALL, UM, Mesh, Method
from recmesh.contract import ServiceName
from recmesh.errors import DataError
from recmesh.pb import as_pb2, cm_pb2, rank_pb2, recall_pb2, um_pb2
from recmesh.pb.user_info_pb2 import History, UserInfo
from recmesh.stores.redis import USER, RedisWriter

CM_ITEMS = 100
_CANDIDATES = 400
_BEST = 60
_NEW_EVERY = 4
_SEED = 1


@dataclass(frozen=True, slots=True)
class Case:
    """One user's request, as the stages see it: serialized UserInfo and History, and what recall gave."""

    user_info: bytes
    history: bytes
    sku_ids: Sequence[str]


@dataclass(frozen=True, slots=True)
class Traffic:
    """Serialized requests by service, and the cases behind them."""

    release: str
    cases: Sequence[Case]
    payloads: dict[ServiceName, list[bytes]]


METHODS: tuple[Method[Any, Any], ...] = (UM, CM, RECALL, RANK, AS)


def draw_users(redis_url: str, count: int) -> list[str]:
    """Ids of `count` users (fewer where there are fewer), always the same ones of the same data set."""
    redis = RedisWriter(redis_url)
    try:
        ids = sorted({key.removeprefix(USER) for key in redis.scan(USER)})
    finally:
        redis.close()
    if not ids:
        raise DataError(f"Redis {redis_url} holds no user: ingest a data set first (`make up`)")
    return random.Random(_SEED).sample(ids, min(count, len(ids)))


async def prepare(mesh: Mesh, user_ids: Sequence[str]) -> Traffic:
    """Ask the mesh itself for what the later stages are then asked with. Every fourth user is a new one."""
    payloads: dict[ServiceName, list[bytes]] = {method.service: [] for method in METHODS}
    cases = []
    release = ""
    for k, user_id in enumerate(user_ids):
        whom = um_pb2.UserModelRequest(user_id=user_id)
        stored = await mesh.call(UM, whom)
        is_new = k % _NEW_EVERY == _NEW_EVERY - 1
        info, history = (_stranger(stored.user_info), History()) if is_new else (stored.user_info, stored.history)
        wanted = recall_pb2.RecallRequest(user_info=info, history=history, request_num=_CANDIDATES, columnar=True)
        found = await mesh.call(RECALL, wanted)
        ids, release = list(found.candidates.ids), found.release
        ranked = rank_pb2.RankRequest(
            user_info=info, history=history, item_ids=ids, size=_BEST, new_only=found.new_only, release=release
        )
        asked = as_pb2.ASRequest(user_info=info) if is_new else as_pb2.ASRequest(user_id=user_id)
        payloads["um"].append(whom.SerializeToString())
        payloads["cm"].append(cm_pb2.CMRequest(item_ids=ids[:CM_ITEMS]).SerializeToString())
        payloads["recall"].append(wanted.SerializeToString())
        payloads["rank"].append(ranked.SerializeToString())
        payloads["as"].append(asked.SerializeToString())
        cases.append(Case(info.SerializeToString(), history.SerializeToString(), ids))
    return Traffic(release, cases, payloads)


def _stranger(info: UserInfo) -> UserInfo:
    stranger = UserInfo()
    stranger.CopyFrom(info)
    stranger.user_id = "0"
    return stranger
