"""Overview: whether recmesh meets its objectives, and what stands in the way."""

from grafana_foundation_sdk.builders.dashboard import Dashboard

from charts.observability.objectives import ANSWERS, AVAILABILITY, IN_TIME, SECONDS, failed_share, late_share
from charts.observability.panels import Query, dashboard, graph, number, quantiles, rows
from charts.observability.promql import rate


def page() -> Dashboard:
    """The dashboard."""
    return dashboard(
        "Overview",
        "Whether recmesh meets its objectives, and what stands in the way.",
        {"Objectives": _objectives(), "Traffic": _traffic(), "Release": _release()},
    )


def _objectives() -> list[object]:
    return [
        number(
            "Availability",
            f"Share of online requests in the time range that did not fail; the objective is {AVAILABILITY:.1%}.",
            "percentunit",
            f"1 - ({failed_share('$__range')})",
            bad_below=AVAILABILITY,
        ),
        number(
            "Error budget burn",
            "Failed share of the last hour in relation to the allowed one: 1 uses up the budget exactly.",
            "none",
            f"({failed_share('1h')}) / {1 - AVAILABILITY:.3f}",
            bad_above=1,
        ),
        number(
            "Answers in time",
            f"Share of requests in the time range within {SECONDS} s; the objective is {IN_TIME:.0%}.",
            "percentunit",
            f"1 - ({late_share('$__range')})",
            bad_below=IN_TIME,
        ),
        number(
            "Latency budget burn",
            "Late share of the last hour in relation to the allowed one: 1 uses up the budget exactly.",
            "none",
            f"({late_share('1h')}) / {1 - IN_TIME:.2f}",
            bad_above=1,
        ),
        number(
            "Firing alerts",
            "Number of alerts of recmesh that fire now; docs/runbooks.md describes each.",
            "none",
            'count(ALERTS{alertname=~"Recmesh.+", alertstate="firing"}) or vector(0)',
            bad_above=0.5,
        ),
        number(
            "Services that serve",
            "Number of services of which at least one process reports SERVING.",
            "none",
            "count(max by (namespace, service) (recmesh_serving) == 1)",
        ),
    ]


def _traffic() -> list[object]:
    return [
        graph(
            "Requests by status",
            "Requests to `as` per second, by gRPC status.",
            "reqps",
            Query(rate('recmesh_requests_total{service="as"}', "status"), "{{status}}"),
            stacked=True,
        ),
        quantiles("Latency", "Time from receipt to answer of `as`.", "recmesh_request_seconds", 'service="as"'),
        graph(
            "Failed requests",
            "Share of online requests to `as` that failed.",
            "percentunit",
            Query(failed_share("$__rate_interval"), "failed"),
            high=0.01,
        ),
        graph(
            "Degraded answers",
            "Share of answers that were made without a part; docs/services.md lists the parts.",
            "percentunit",
            Query(f"{rate('recmesh_degraded_total', 'part')} / scalar({rate(ANSWERS)})", "{{part}}"),
            high=0.05,
        ),
        graph(
            "Refused requests",
            "Requests per second that a service refused before any work.",
            "reqps",
            Query(rate("recmesh_refused_requests_total", "service"), "{{service}}"),
        ),
        graph(
            "Requests by caller",
            "Requests to `as` per second, of callers that can wait (batch) and of all others (online).",
            "reqps",
            Query(rate('recmesh_requests_total{service="as"}', "caller"), "{{caller}}"),
            stacked=True,
        ),
    ]


def _release() -> list[object]:
    return [
        rows(
            "Active release",
            "The release that new requests use, by service, with the number of processes that use it.",
            "none",
            Query("sum by (namespace, service, release) (recmesh_release_active) > 0", "processes"),
        ),
        graph(
            "Age of the release",
            "Time since the active release was made.",
            "s",
            Query("time() - max by (release) (recmesh_release_created_timestamp_seconds)", "{{release}}"),
            width=12,
        ),
    ]
