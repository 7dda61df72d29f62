"""Service: one service, chosen at the top."""

from grafana_foundation_sdk.builders.dashboard import Dashboard

from charts.observability.panels import Query, choice, dashboard, graph, quantiles
from charts.observability.promql import quantile, rate

_OF = 'service="$service"'


def page() -> Dashboard:
    """The dashboard."""
    return dashboard(
        "Service",
        "Requests, time, admission and health of one service.",
        {"Requests": _requests(), "Admission": _admission(), "Health": _health()},
        choice("service", "label_values(recmesh_serving, service)"),
    )


def _requests() -> list[object]:
    return [
        graph(
            "Requests by status",
            "Requests per second, by method and gRPC status.",
            "reqps",
            Query(rate(f"recmesh_requests_total{{{_OF}}}", "method, status"), "{{method}} {{status}}"),
            stacked=True,
        ),
        graph(
            "Requests by caller",
            "Admitted requests per second, by the caller's name in the policy.",
            "reqps",
            Query(rate(f"recmesh_caller_requests_total{{{_OF}}}", "name"), "{{name}}"),
            stacked=True,
        ),
        quantiles("Time to answer", "Time from receipt to answer.", "recmesh_request_seconds", _OF),
        graph(
            "Time that callers allow",
            "Time until the deadline of a request at its arrival: what one in twenty, and half of the callers allow.",
            "s",
            Query(quantile(0.05, "recmesh_request_deadline_seconds", _OF), "p5"),
            Query(quantile(0.5, "recmesh_request_deadline_seconds", _OF), "p50"),
        ),
    ]


def _admission() -> list[object]:
    return [
        graph(
            "In flight and limit",
            "Requests in progress in all processes, and how many may be; congestion lowers the limit.",
            "none",
            Query(f"sum(recmesh_requests_in_flight{{{_OF}}})", "in flight"),
            Query(f"sum(recmesh_requests_limit{{{_OF}}})", "limit"),
        ),
        graph(
            "Refused requests",
            "Requests per second that were refused before any work, by reason.",
            "reqps",
            Query(rate(f"recmesh_refused_requests_total{{{_OF}}}", "reason"), "{{reason}}"),
        ),
        graph(
            "Retried requests",
            "Requests per second that a client's gRPC library has sent again.",
            "reqps",
            Query(rate(f"recmesh_retried_requests_total{{{_OF}}}"), "retried"),
        ),
    ]


def _health() -> list[object]:
    return [
        graph(
            "Serving processes",
            "Processes that report SERVING, and all processes.",
            "none",
            Query(f"sum(recmesh_serving{{{_OF}}})", "serving"),
            Query(f"count(recmesh_serving{{{_OF}}})", "all"),
        ),
        graph(
            "Event loop lag",
            "Delay of the latest timer on the event loop of each process of the service.",
            "s",
            Query(f"recmesh_event_loop_lag_seconds and on (instance) recmesh_serving{{{_OF}}}", "{{instance}}"),
        ),
        graph(
            "Unknown values",
            "Field values per second that the vocabularies of the release do not contain, by field.",
            "cps",
            Query(rate(f"recmesh_unknown_values_total{{{_OF}}}", "field"), "{{field}}"),
        ),
    ]
