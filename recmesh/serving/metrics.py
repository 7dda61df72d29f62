"""Every metric of the services, by name: code, dashboards and tests read them here."""

import asyncio
from collections.abc import Callable

from prometheus_client import Counter, Gauge, Histogram

from recmesh.errors import SettingsError

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.035, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5)
_LAG_INTERVAL = 0.25

REQUESTS = Counter("recmesh_requests", "Requests by method and gRPC status", ["service", "method", "status"])
REQUEST_SECONDS = Histogram("recmesh_request_seconds", "Time to answer", ["service", "method"], buckets=_SECONDS)
IN_FLIGHT = Gauge("recmesh_requests_in_flight", "Requests being answered", ["service"])
STAGE_SECONDS = Histogram("recmesh_stage_seconds", "Time of one stage of the chain", ["stage"], buckets=_SECONDS)
DEGRADED = Counter("recmesh_degraded", "Answers given without a stage or a part of one", ["part"])
SEARCH_QUERIES = Histogram(
    "recmesh_search_queries", "Queries sent together in one Milvus search", buckets=(1, 2, 4, 8, 12, 16)
)
RANKED_ITEMS = Histogram(
    "recmesh_ranked_items", "Items of one rank request", buckets=(1, 10, 50, 100, 200, 400, 800, 1200, 2000)
)
BACKEND_SECONDS = Histogram(
    "recmesh_rank_backend_seconds", "Time of one run of the ranker, where it gave scores", ["backend"], buckets=_SECONDS
)
BACKEND_FAILURES = Counter("recmesh_rank_backend_failures", "Runs of the ranker that gave none", ["backend", "reason"])
BACKEND_OPEN = Gauge("recmesh_rank_backend_open", "1 while the backend is not asked, as it failed lately", ["backend"])
PADDLE_SERVING_ANSWERS = Counter("recmesh_paddle_serving_answers", "Answers of the gateway by err_no", ["err_no"])
PIPELINE_RESTARTS = Counter("recmesh_pipeline_restarts", "Pipelines that were replaced")
UNKNOWN_VALUES = Counter("recmesh_unknown_values", "Field values outside the vocabularies", ["service"])
SERVING = Gauge("recmesh_serving", "1 while the service's health is SERVING", ["service"])
RELEASE_SWITCHES = Counter("recmesh_release_switches", "Releases loaded and made current", ["service"])
RELEASE_ACTIVE = Gauge("recmesh_release_active", "1 for the release that new requests get", ["service", "release"])
LOOP_LAG = Gauge("recmesh_event_loop_lag_seconds", "How late the event loop ran its last timer")


async def watch_loop_lag() -> None:
    """Measure for ever how late the event loop is."""
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + _LAG_INTERVAL
        await asyncio.sleep(_LAG_INTERVAL)
        LOOP_LAG.set(max(0.0, loop.time() - due))


def serve_metrics(host: str, port: int) -> Callable[[], None]:
    """Answer scrapes on a side port, from a thread of its own; the result stops it.

    Raises:
        SettingsError: the port is taken.
    """
    from prometheus_client import start_http_server

    try:
        server, thread = start_http_server(port, addr=host)
    except OSError as error:
        raise SettingsError(
            f"metrics port {host}:{port} cannot be bound ({error}): set RECMESH_METRICS_PORT"
        ) from error

    def stop() -> None:
        server.shutdown()
        server.server_close()
        thread.join()

    return stop
