"""Facts of the wire contract, and the defaults that every part of a mesh must agree on.

The v0 contract (docs/architecture.md) fixes the names, ports, paths and codes; existing clients rely on them. This
module imports nothing beyond the standard library, so that the client, the services, the jobs and the local runner
can all take these values from here.
"""

from typing import Literal, TypeAlias

__all__ = [
    "CHAIN_CANDIDATES",
    "DEFAULT_CANDIDATES",
    "DEFAULT_HOME",
    "DEFAULT_MILVUS_URI",
    "DEFAULT_MODEL_STORE",
    "DEFAULT_RECOMMENDATIONS",
    "DEFAULT_REDIS_URL",
    "FAILED",
    "FIRST_ADDED_FIELD",
    "ITEM_FIELDS",
    "LEGACY_NEW_USER_ID",
    "MAX_CANDIDATES",
    "MAX_RANKED_ITEMS",
    "MAX_RECOMMENDATIONS",
    "METHOD_PATHS",
    "METRICS_PORT_OFFSET",
    "MILVUS_PORT",
    "NO_USER_IDS",
    "OK",
    "PADDLE_SERVING_PORT",
    "POPULAR",
    "PORTS",
    "RANK_SCORE_FIELD",
    "REDIS_PORT",
    "TWO_TOWER",
    "USER_FIELDS",
    "ServiceName",
    "default_target",
    "without_credentials",
]


ServiceName: TypeAlias = Literal["um", "cm", "recall", "rank", "as"]

PORTS: dict[ServiceName, int] = {"um": 8910, "cm": 8920, "recall": 8950, "rank": 8960, "as": 8930}
"""The gRPC port of each service."""

METHOD_PATHS: dict[ServiceName, str] = {
    "um": "/um.UMService/um_call",
    "cm": "/cm.CMService/cm_call",
    "recall": "/recall.RecallService/recall",
    "rank": "/RankService/rank_predict",
    "as": "/as.ASService/as_call",
}
"""The path of the one method of each service."""

OK = 200
"""`error.code` of an answer that holds what was asked for."""

FAILED = 500
"""`error.code` of an answer that failed; `error.text` says why."""

NO_USER_IDS = ("", "-1")
"""User ids that name nobody, in requests and in data sets."""

LEGACY_NEW_USER_ID = "0"
"""What the legacy client sends as `user_info.user_id` of a new user."""

DEFAULT_RECOMMENDATIONS = 50
MAX_RECOMMENDATIONS = 200
"""Items in one answer of `as`."""

DEFAULT_CANDIDATES = 100
MAX_CANDIDATES = 1_000
"""Items in one answer of recall."""

CHAIN_CANDIDATES = 400
"""Candidates for one request to `as`, unless RECMESH_CANDIDATES says otherwise."""

MAX_RANKED_ITEMS = 2_000
"""Items in one request to rank."""

POPULAR = "popular"
TWO_TOWER = "two_tower"
"""Names of channels in `recall_type`, `channels` and `degraded`: popular items, and the search in Milvus."""

FIRST_ADDED_FIELD = 16
"""Fields that the v0 contract lacks are numbered from here, in every message."""

RANK_SCORE_FIELD = 5
"""Field number of `ItemInfo.rank_score`, a float."""

USER_FIELDS = ("age", "sex", "city_level", "province", "city", "country")
"""Profile fields with a number of their own in `UserInfo`, in the order of the legacy command line."""

ITEM_FIELDS = ("brand", "shopid", "cate")
"""Item fields with a number of their own in `ItemInfo`."""

PADDLE_SERVING_PORT = 8961
"""The gRPC port of the Paddle Serving gateway."""

METRICS_PORT_OFFSET = 10_000
"""The Prometheus port of a service is its gRPC port plus this."""

MILVUS_PORT = 19530
REDIS_PORT = 6389
"""Ports of the stores that `make up` starts."""

DEFAULT_HOME = ".recmesh"
DEFAULT_MODEL_STORE = ".recmesh/store"
DEFAULT_REDIS_URL = f"redis://127.0.0.1:{REDIS_PORT}/0"
DEFAULT_MILVUS_URI = f"http://127.0.0.1:{MILVUS_PORT}"


def default_target(service: ServiceName) -> str:
    """The target of a service on this machine, `host:port`."""
    return f"127.0.0.1:{PORTS[service]}"


def without_credentials(url: str) -> str:
    """A URL for logs and messages: user and password, if any, are replaced by `***`.

    Any text may be passed: settings are printed before it is known whether they are valid URLs.
    """
    scheme, separator, rest = url.partition("://")
    authority, slash, path = rest.partition("/")
    _, at, host = authority.rpartition("@")
    return f"{scheme}{separator}***@{host}{slash}{path}" if at else url
