"""Capacity: what the processes use, and how much room is left."""

from grafana_foundation_sdk.builders.dashboard import Dashboard

from charts.observability.panels import Query, dashboard, graph
from charts.observability.promql import RATE, rate

# 1 for each process, with the name of its service; a process with several services is `compact`.
_SEVERAL = 'label_replace(count by (instance) (recmesh_serving) > 1, "service", "compact", "", "")'
_PROCESSES = f"({_SEVERAL} or on (instance) max by (instance, service) (recmesh_serving)) ^ 0"
_NAMED = f"* on (instance) group_left (service) ({_PROCESSES})"
_PROCESS = "{{service}} {{instance}}"


def page() -> Dashboard:
    """The dashboard."""
    return dashboard(
        "Capacity",
        "What the processes use, and how much room is left.",
        {"Use": _use(), "Room": _room()},
    )


def _use() -> list[object]:
    return [
        graph(
            "CPU",
            "Cores that each process uses.",
            "none",
            Query(f"rate(process_cpu_seconds_total[{RATE}]) {_NAMED}", _PROCESS),
        ),
        graph(
            "Memory",
            "Resident memory of each process.",
            "bytes",
            Query(f"process_resident_memory_bytes {_NAMED}", _PROCESS),
        ),
        graph(
            "Requests by process",
            "Requests per second of each process, to see whether clients balance their calls.",
            "reqps",
            Query(rate("recmesh_requests_total", "service, instance"), _PROCESS),
        ),
    ]


def _room() -> list[object]:
    return [
        graph(
            "Use of the limit",
            "Requests in flight as a share of the limit of the process; at 1 it refuses requests.",
            "percentunit",
            Query("recmesh_requests_in_flight / recmesh_requests_limit", _PROCESS),
            width=12,
            high=1.0,
        ),
        graph(
            "Limit",
            "Requests that may be in progress in a process; congestion lowers the limit.",
            "none",
            Query("recmesh_requests_limit", _PROCESS),
            width=12,
        ),
        graph(
            "Event loop lag",
            "Delay of the latest timer on the event loop of each process.",
            "s",
            Query(f"recmesh_event_loop_lag_seconds {_NAMED}", _PROCESS),
            width=12,
        ),
        graph(
            "Time left for certificates",
            "Time until the TLS certificate of each process ends. It is renewed when a third of its life is left.",
            "s",
            Query(f"((recmesh_certificate_expiry_timestamp_seconds > 0) - time()) {_NAMED}", _PROCESS),
            width=12,
        ),
        graph(
            "Refused requests",
            "Requests per second that a process refused before any work.",
            "reqps",
            Query(rate("recmesh_refused_requests_total", "service, instance"), _PROCESS),
            width=12,
        ),
    ]
