"""Chain: where the time of an answer goes."""

from grafana_foundation_sdk.builders.dashboard import Dashboard

from charts.observability.panels import Query, bars, dashboard, graph
from charts.observability.promql import mean, quantile, rate

_STAGES = ("um", "recall", "rank", "cm")
_QUANTILES = (0.5, 0.95, 0.99)
_REQUESTS = 'recmesh_request_seconds_count{service="as"}'


def page() -> Dashboard:
    """The dashboard."""
    return dashboard(
        "Chain",
        "Where the time of an answer goes, by stage as the chain sees it.",
        {"Now": _now(), "Over time": _over_time(), "Calls": _calls()},
    )


def _now() -> list[object]:
    return [
        bars(
            "Mean answer, stage by stage",
            "Mean time that a stage takes of one answer of `as`, each stage after the one before.",
            "s",
            "stage",
            Query(_beginnings(), "begins after"),
            Query(_share(".+", "stage"), "takes"),
            stacked=True,
        ),
        bars(
            "Quantiles by stage",
            "Time of one call to a stage: median, p95 and p99.",
            "s",
            "stage",
            *(
                Query(quantile(share, "recmesh_stage_seconds", by="stage"), f"p{share * 100:.0f}")
                for share in _QUANTILES
            ),
        ),
    ]


def _share(stages: str, by: str = "") -> str:
    """Mean seconds of stages in one answer. A stage may be called twice for an answer, or not at all."""
    return f"""{rate(f'recmesh_stage_seconds_sum{{stage=~"{stages}"}}', by)} / scalar({rate(_REQUESTS)})"""


def _beginnings() -> str:
    """When each stage begins, on average, by stage."""
    before = {stage: "|".join(_STAGES[:position]) for position, stage in enumerate(_STAGES)}
    begins = {stage: _share(stages) if stages else f"0 * {_share(stage)}" for stage, stages in before.items()}
    return " or ".join(f'label_replace({begin}, "stage", "{stage}", "", "")' for stage, begin in begins.items())


def _over_time() -> list[object]:
    return [
        graph(
            "Mean of each stage",
            "Mean time that each stage takes of one answer of `as`.",
            "s",
            Query(_share(".+", "stage"), "{{stage}}"),
            stacked=True,
        ),
        graph(
            "p99 of each stage",
            "Time that one of a hundred calls to a stage exceeds.",
            "s",
            Query(quantile(0.99, "recmesh_stage_seconds", by="stage"), "{{stage}}"),
        ),
        graph(
            "Outside the service",
            "Mean time of a call as the chain sees it minus that in the service: network and queues between them.",
            "s",
            Query(_outside(), "{{stage}}"),
        ),
    ]


def _outside() -> str:
    """Client minus server. In compact mode the chain calls the stages without gRPC, and there is no server time."""
    server = f'label_replace({mean("recmesh_request_seconds", by="service")}, "stage", "$1", "service", "(.+)")'
    return f"{mean('recmesh_stage_seconds', by='stage')} - on (stage) {server}"


def _calls() -> list[object]:
    return [
        graph(
            "Calls for an answer",
            "Successful calls to a stage for one request to `as`.",
            "none",
            Query(f"{rate('recmesh_stage_seconds_count', 'stage')} / scalar({rate(_REQUESTS)})", "{{stage}}"),
            width=6,
        ),
        graph(
            "Failed calls",
            "Failed calls to a stage per second, by gRPC status.",
            "cps",
            Query(rate("recmesh_stage_failures_total", "stage, status"), "{{stage}} {{status}}"),
            width=12,
        ),
        graph(
            "Unknown users",
            "Share of requests to `as` whose user id is not stored.",
            "percentunit",
            Query(f"{rate('recmesh_unknown_users_total')} / {rate(_REQUESTS)}", "unknown"),
            width=6,
            high=0.1,
        ),
    ]
