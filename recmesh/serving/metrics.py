"""All metrics of the services: code, dashboards and tests take their names from here."""

import socket
from collections.abc import Callable

from prometheus_client import Counter, Gauge, Histogram

from recmesh.contract import address
from recmesh.errors import SettingsError

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.035, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5)

REQUESTS = Counter("recmesh_requests", "Requests by method and gRPC status", ["service", "method", "status"])
REQUEST_SECONDS = Histogram(
    "recmesh_request_seconds", "Time from receipt to answer", ["service", "method"], buckets=_SECONDS
)
IN_FLIGHT = Gauge("recmesh_requests_in_flight", "Requests in progress", ["service"])
LIMIT = Gauge("recmesh_requests_limit", "Requests that may be in progress; congestion lowers it", ["service"])
STAGE_SECONDS = Histogram(
    "recmesh_stage_seconds", "Time of one successful call to a stage of the chain", ["stage"], buckets=_SECONDS
)
DEGRADED = Counter("recmesh_degraded", "Answers made without a stage or a part of one", ["part"])
SEARCH_QUERIES = Histogram(
    "recmesh_search_queries", "Queries in one search request to Milvus", buckets=(1, 2, 4, 8, 12, 16)
)
RANKED_ITEMS = Histogram(
    "recmesh_ranked_items", "Items in one request to rank", buckets=(1, 10, 50, 100, 200, 400, 800, 1200, 2000)
)
BACKEND_SECONDS = Histogram(
    "recmesh_rank_backend_seconds", "Time of one successful run of the ranker", ["backend"], buckets=_SECONDS
)
BACKEND_FAILURES = Counter("recmesh_rank_backend_failures", "Failed runs of the ranker", ["backend", "reason"])
BACKEND_OPEN = Gauge(
    "recmesh_rank_backend_open", "1 while the circuit breaker keeps requests from the backend", ["backend"]
)
PADDLE_SERVING_ANSWERS = Counter(
    "recmesh_paddle_serving_answers", "Answers of the Paddle Serving gateway by err_no", ["err_no"]
)
PIPELINE_RESTARTS = Counter("recmesh_pipeline_restarts", "Restarts of Paddle Serving pipelines")
UNKNOWN_VALUES = Counter("recmesh_unknown_values", "Field values that the vocabularies do not contain", ["service"])
DAMAGED_VALUES = Counter(
    "recmesh_damaged_values", "Stored values that were left out because recmesh cannot have written them", ["kind"]
)
UNKNOWN_USERS = Counter("recmesh_unknown_users", "Requests with a user id that is not stored")
SERVING = Gauge("recmesh_serving", "1 while the health status of the service is SERVING", ["service"])
RELEASE_SWITCHES = Counter("recmesh_release_switches", "Switches to another release", ["service"])
RELEASE_FAILURES = Counter(
    "recmesh_release_failures", "Failed attempts to load the active release, or the new items of one", ["service"]
)
RELEASE_ACTIVE = Gauge("recmesh_release_active", "1 for the release that new requests use", ["service", "release"])
LOOP_LAG = Gauge("recmesh_event_loop_lag_seconds", "Delay of the latest timer on the event loop")


def serve_metrics(host: str, port: int) -> Callable[[], None]:
    """Answer scrapes from a thread.

    Args:
        host: Address to bind.
        port: 0 means any free port.

    Returns:
        A function that stops the thread and closes the port.

    Raises:
        SettingsError: The port cannot be bound.
    """
    from prometheus_client import start_http_server

    try:
        server, thread = start_http_server(port, addr=_bindable(host))
    except OSError as error:
        raise SettingsError(
            f"metrics port {address(host, port)} cannot be bound ({error}): set RECMESH_METRICS_PORT"
        ) from error

    def stop() -> None:
        server.shutdown()
        server.server_close()
        thread.join()

    return stop


def _bindable(host: str) -> str:
    """The address itself; without IPv6 the IPv4 addresses instead of all, as gRPC does."""
    return "0.0.0.0" if host == "::" and not socket.has_dualstack_ipv6() else host  # noqa: S104
