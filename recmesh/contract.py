"""Facts of the wire contract, and defaults on which all parts of a mesh must agree.

The v0 contract (docs/architecture.md) fixes names, ports, paths and codes, and legacy clients rely on them. This module
imports only the standard library, so the client, the services, the jobs and the local runner can all use it.
"""

import hashlib
import re
from typing import Literal, TypeAlias
from urllib.parse import urlsplit

__all__ = [
    "BASKET",
    "BATCH",
    "BOUGHT_BEFORE",
    "CHAIN_CANDIDATES",
    "CONTEXT_SCENARIOS",
    "DEFAULT_CANDIDATES",
    "DEFAULT_HOME",
    "DEFAULT_MILVUS_URI",
    "DEFAULT_MODEL_STORE",
    "DEFAULT_RECOMMENDATIONS",
    "DEFAULT_REDIS_URL",
    "DETAILED_ACTIONS",
    "FAILED",
    "FIRST_ADDED_FIELD",
    "HOME",
    "HTTP_PORTS",
    "ITEM_FIELDS",
    "LEGACY_NEW_USER_ID",
    "MAX_CANDIDATES",
    "MAX_CONDITIONS",
    "MAX_CONTEXT",
    "MAX_EXCLUDED",
    "MAX_FILTER_VALUES",
    "MAX_ID_BYTES",
    "MAX_LOOKED_UP",
    "MAX_RANKED_ITEMS",
    "MAX_RECOMMENDATIONS",
    "MAX_REQUEST_BYTES",
    "MAX_STAGE_REQUEST_BYTES",
    "METHOD_PATHS",
    "METRICS_PORT_OFFSET",
    "MILVUS_PORT",
    "NEIGHBOURS",
    "NEW",
    "NO_USER_IDS",
    "OK",
    "PADDLE_SERVING_PORT",
    "POPULAR",
    "PORTS",
    "PRIORITY",
    "RANK_SCORE_FIELD",
    "REDIS_PORT",
    "RELATED",
    "RELEASE",
    "REPEAT",
    "REPLAY",
    "SCENARIOS",
    "TRENDING",
    "TWO_TOWER",
    "USER_FIELDS",
    "ServiceName",
    "default_target",
    "scenario_fault",
    "without_credentials",
]


ServiceName: TypeAlias = Literal["um", "cm", "recall", "rank", "as", "feed"]

PORTS: dict[ServiceName, int] = {
    "um": 8910,
    "cm": 8920,
    "recall": 8950,
    "rank": 8960,
    "as": 8930,
    "feed": 8940,
}
"""The gRPC port of each service. feed writes, all others only read."""

METHOD_PATHS: dict[str, str] = {
    "um": "/um.UMService/um_call",
    "cm": "/cm.CMService/cm_call",
    "recall": "/recall.RecallService/recall",
    "rank": "/RankService/rank_predict",
    "as": "/as.ASService/as_call",
    "record_actions": "/feed.FeedService/record_actions",
    "put_users": "/feed.FeedService/put_users",
    "put_items": "/feed.FeedService/put_items",
    "remove_items": "/feed.FeedService/remove_items",
    "set_availability": "/feed.FeedService/set_availability",
    "delete_user": "/feed.FeedService/delete_user",
}
"""The path of each method. The only method of a service that reads has the name of the service here."""

PRIORITY, BATCH = "recmesh-priority", "batch"
"""The metadata, key and value, of calls that can wait: under load, services refuse them before others."""

REPLAY = ("recmesh-replay", "yes")
"""The metadata of requests that are asked again to compare their answers: `as` does not log these answers."""

OK = 200
"""`error.code` of a successful answer."""

FAILED = 500
"""`error.code` of a failed answer; `error.text` gives the reason."""

NO_USER_IDS = ("", "-1")
"""User ids that mean "no user", in requests and in data sets."""

LEGACY_NEW_USER_ID = "0"
"""The `user_info.user_id` that a legacy client sends for a new user."""

DEFAULT_RECOMMENDATIONS = 50
MAX_RECOMMENDATIONS = 200
"""The default and the largest number of items in an answer of `as`."""

DEFAULT_CANDIDATES = 100
MAX_CANDIDATES = 1_000
"""The default and the largest number of items in an answer of recall."""

CHAIN_CANDIDATES = 400
"""The default of RECMESH_CANDIDATES: how many candidates `as` ranks for a request."""

MAX_RANKED_ITEMS = 2_000
"""The largest number of items in a request to rank."""

MAX_LOOKED_UP = 2_000
"""The largest number of ids in a request to cm."""

MAX_EXCLUDED = 10_000
"""The largest number of `exclude_ids` in a request to `as` or recall."""

MAX_CONDITIONS = 20
"""The largest number of conditions in a filter."""

MAX_FILTER_VALUES = 1_000
"""The largest number of values in all conditions of a filter."""

MAX_ENTRIES = 1_000
"""The largest number of entries in a request to feed."""

MAX_ID_BYTES = 128
"""The longest id of a user or an item, in bytes of UTF-8."""

MAX_REQUEST_BYTES = 1 << 20
"""The largest request to um, cm and `as`."""

MAX_STAGE_REQUEST_BYTES = 16 << 20
"""The largest request to recall and rank, which `as` sends with whole histories."""

DETAILED_ACTIONS = 500
"""Newest actions that a stored history keeps in detail. Of older actions it keeps the items."""

COUNT_BUCKET_MS = 300_000
"""feed counts the actions of the last day in buckets of this length: five minutes, in milliseconds."""

COUNT_BUCKETS = 86_400_000 // COUNT_BUCKET_MS
"""The number of buckets in a day. Those of a day before the newest one are kept."""

POPULAR = "popular"
TWO_TOWER = "two_tower"
NEW = "new"
NEIGHBOURS = "neighbours"
BOUGHT_BEFORE = "bought_before"
TRENDING = "trending"
"""The names of channels in `recall_type`, `channels` and `degraded`; `two_tower` is the search in Milvus."""

HOME, RELATED, BASKET, REPEAT = "home", "related", "basket", "repeat"
SCENARIOS = (HOME, RELATED, BASKET, REPEAT, TRENDING)
"""What a list is for; an empty `scenario` means home. The scenario `trending` has the name of its channel."""

CONTEXT_SCENARIOS = (RELATED, BASKET)
"""The scenarios that refer to `context_ids`."""

MAX_CONTEXT = 100
"""The largest number of `context_ids` in a request to `as` or recall."""

RELEASE = "release"
"""What `degraded` names in an answer of recall or rank if another release gave it than the request asks for."""

FIRST_ADDED_FIELD = 16
"""The lowest number of fields that the v0 contract does not have, in every message."""

RANK_SCORE_FIELD = 5
"""The field number of `ItemInfo.rank_score`, a float."""

USER_FIELDS = ("age", "sex", "city_level", "province", "city", "country")
"""Profile fields that have a field of their own in `UserInfo`, in the order of the legacy command line."""

ITEM_FIELDS = ("brand", "shopid", "cate")
"""Item fields that have a field of their own in `ItemInfo`."""

PADDLE_SERVING_PORT = 8961
"""The gRPC port of the Paddle Serving gateway."""

HTTP_PORTS: dict[ServiceName, int] = {"as": 8931, "feed": 8941}
"""The HTTP port of each service that has one, where it is switched on."""

METRICS_PORT_OFFSET = 10_000
"""The Prometheus port of a service is its gRPC port plus this offset."""

MILVUS_PORT = 19530
REDIS_PORT = 6389
"""Ports of the stores that `make up` starts."""

DIRECT = ("grpc.enable_http_proxy", 0)
"""The option of gRPC channels to services and stores: http_proxy and its relatives are for the world outside."""

KEEPALIVE_MS, KEEPALIVE_TIMEOUT_MS = 10_000, 3_000
"""Interval and time limit of the pings on gRPC connections of services. One that is half-open is closed after the time
limit if a ping was under way, as gRPC sends with most answers, and after both otherwise."""

DEFAULT_HOME = ".recmesh"
DEFAULT_MODEL_STORE = ".recmesh/store"
DEFAULT_REDIS_URL = f"redis://127.0.0.1:{REDIS_PORT}/0"
DEFAULT_REDIS_PREFIX = "recmesh:"
DEFAULT_MILVUS_URI = f"http://127.0.0.1:{MILVUS_PORT}"


_QUERY_CREDENTIALS = re.compile(r"([?&](?:password|username)=).*", re.DOTALL)


def user_hash(user_id: str) -> str:
    """Return what is kept of a user who was deleted: a hash of the id, so that later trainings leave the user out."""
    return hashlib.sha256(user_id.encode()).hexdigest()[:32]


def scenario_fault(scenario: str, context: bool, new_only: bool) -> str:
    """Say what is wrong with the scenario of a request; empty if nothing is.

    Args:
        scenario: The scenario; empty means home.
        context: Whether the request has `context_ids`.
        new_only: Whether it leaves out the items of the history.
    """
    if scenario and scenario not in SCENARIOS:
        return f"scenario {scenario!r} is unknown: use one of {', '.join(SCENARIOS)}"
    if scenario in CONTEXT_SCENARIOS and not context:
        return f"scenario {scenario!r} needs context_ids, the items that the list refers to"
    if context and scenario not in CONTEXT_SCENARIOS:
        return f"scenario {scenario or HOME!r} takes no context_ids: only {' and '.join(CONTEXT_SCENARIOS)} do"
    if scenario == REPEAT and new_only:
        return f"scenario {REPEAT!r} takes no new_only: its items are those of the history"
    return ""


def default_target(service: ServiceName) -> str:
    """Return the gRPC target, `host:port`, of a service on this machine."""
    return f"127.0.0.1:{PORTS[service]}"


def metrics_address(target: str) -> str:
    """Return `host:port` of the metrics of the service at a gRPC target, if its port is the default.

    Args:
        target: `host:port`, also with a scheme of gRPC (`dns:///as:8930`).

    Raises:
        ValueError: The target has no port.
    """
    place = urlsplit(f"//{target.rpartition('/')[2]}")
    if not place.hostname or not place.port:
        raise ValueError(f"target {target!r} has no port")
    return address(place.hostname, place.port + METRICS_PORT_OFFSET)


def bare_host(host: str) -> str:
    """Return a host without the brackets that an IPv6 address may have."""
    return host[1:-1] if host.startswith("[") and host.endswith("]") else host


def address(host: str, port: int) -> str:
    """Return `host:port`, with brackets around an IPv6 address."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def without_credentials(url: str) -> str:
    """Return a URL for logs and messages, with `***` in place of user and password.

    Any text is accepted: settings are printed before it is known whether they are valid URLs. Everything up to the last
    `@` counts as credentials, because people forget to escape a `/` or an `@` in passwords. So does everything after
    `password=` or `username=` in a query, which redis-py accepts as well.
    """
    url = _QUERY_CREDENTIALS.sub(r"\1***", url)
    scheme, separator, rest = url.partition("://") if "://" in url else ("", "", url)
    credentials, at, address = rest.rpartition("@")
    has_user = bool(separator) and "@" in rest.partition("/")[0]
    return f"{scheme}{separator}***@{address}" if at and (has_user or ":" in credentials) else url
