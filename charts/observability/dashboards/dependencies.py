"""Dependencies: Redis, Milvus, the ranker's backend and the log of feed, as the services see them."""

from grafana_foundation_sdk.builders.dashboard import Dashboard

from charts.observability.panels import Query, dashboard, graph, quantiles
from charts.observability.promql import mean, quantile, rate


def page() -> Dashboard:
    """The dashboard."""
    return dashboard(
        "Dependencies",
        "Redis, Milvus, the ranker's backend and the log of feed, as the services see them.",
        {"Stores": _stores(), "Requests": _sizes(), "Ranker": _ranker(), "Feed": _feed()},
    )


def _stores() -> list[object]:
    shown, by = "{{store}} {{operation}}", "store, operation"
    return [
        graph(
            "Calls",
            "Successful calls to a store per second.",
            "reqps",
            Query(rate("recmesh_store_seconds_count", by), shown),
            width=12,
        ),
        graph(
            "Median time",
            "Time that half of the calls to a store exceed.",
            "s",
            Query(quantile(0.5, "recmesh_store_seconds", by=by), shown),
            width=12,
        ),
        graph(
            "p99 time",
            "Time that one of a hundred calls to a store exceeds.",
            "s",
            Query(quantile(0.99, "recmesh_store_seconds", by=by), shown),
            width=12,
        ),
        graph(
            "Failed calls",
            "Failed calls to a store per second, by gRPC status.",
            "cps",
            Query(rate("recmesh_store_failures_total", f"{by}, status"), f"{shown} {{{{status}}}}"),
            width=12,
        ),
    ]


def _sizes() -> list[object]:
    return [
        graph(
            "Items for each request",
            "Mean number of items in a request to cm and to rank.",
            "none",
            Query(mean("recmesh_looked_up_items"), "cm"),
            Query(mean("recmesh_ranked_items"), "rank"),
        ),
        graph(
            "Queries for each search",
            "Mean number of queries that recall sends to Milvus in one search.",
            "none",
            Query(mean("recmesh_search_queries"), "queries"),
        ),
        graph(
            "Damaged values",
            "Stored values per second that were left out because recmesh cannot have written them.",
            "cps",
            Query(rate("recmesh_damaged_values_total", "kind"), "{{kind}}"),
        ),
    ]


def _ranker() -> list[object]:
    return [
        graph(
            "p99 time by backend",
            "Time that one of a hundred runs of the ranker exceeds.",
            "s",
            Query(quantile(0.99, "recmesh_rank_backend_seconds", by="backend"), "{{backend}}"),
            width=6,
        ),
        graph(
            "Failed runs",
            "Failed runs of the ranker per second, by class of error.",
            "cps",
            Query(rate("recmesh_rank_backend_failures_total", "backend, reason"), "{{backend}} {{reason}}"),
            width=6,
        ),
        graph(
            "Circuit breaker",
            "1 while the circuit breaker of a process keeps requests from the backend.",
            "none",
            Query("max by (backend) (recmesh_rank_backend_open)", "{{backend}}"),
            width=6,
        ),
        graph(
            "Paddle Serving",
            "Answers of the gateway per second by error number, and restarts of its pipelines per hour.",
            "none",
            Query(rate("recmesh_paddle_serving_answers_total", "err_no"), "err_no {{err_no}}"),
            Query("sum(increase(recmesh_pipeline_restarts_total[1h]))", "restarts"),
            width=6,
        ),
    ]


def _feed() -> list[object]:
    return [
        graph(
            "Entries of feed",
            "Entries of requests to feed per second, by what they change and what became of them.",
            "cps",
            Query(rate("recmesh_feed_entries_total", "change, result"), "{{change}} {{result}}"),
        ),
        quantiles(
            "Time to effect",
            "Time from the arrival of an entry in the log until the other services see its effect.",
            "recmesh_feed_apply_seconds",
        ),
        graph(
            "Failed applications",
            "Failed attempts per second to apply the next entries of the log.",
            "cps",
            Query(rate("recmesh_feed_apply_failures_total"), "failed"),
        ),
        graph(
            "Actions on unknown items",
            "Recorded actions per second on items that are not stored.",
            "cps",
            Query(rate("recmesh_feed_unknown_items_total"), "actions"),
        ),
        graph(
            "Changed items",
            "Items that feed has changed since the ingestion, as recall knows them: offered, and left out of answers.",
            "none",
            Query("max by (state) (recmesh_live_items)", "{{state}}"),
        ),
    ]
