"""Jobs: training and ingestion, and how releases reach the services."""

from grafana_foundation_sdk.builders.dashboard import Dashboard

from charts.observability.panels import Query, dashboard, graph, number, rows


def page() -> Dashboard:
    """The dashboard."""
    return dashboard(
        "Jobs",
        "Training and ingestion, and how releases reach the services.",
        {"Latest": _latest(), "Rows": _rows(), "Releases": _releases(), "Losses": _losses()},
    )


def _latest() -> list[object]:
    return [
        number(
            "Age of the ingestion",
            "Time since the latest ingestion into Redis ended.",
            "s",
            "time() - max(recmesh_ingestion_timestamp_seconds > 0)",
        ),
        number(
            "Duration of the ingestion",
            "How long the latest ingestion into Redis took.",
            "s",
            "max(recmesh_ingestion_duration_seconds)",
        ),
        number(
            "Age of the release",
            "Time since the active release was made.",
            "s",
            "time() - max(recmesh_release_created_timestamp_seconds)",
        ),
        number(
            "Duration of the training",
            "How long the training of the active release took.",
            "s",
            "max(recmesh_training_duration_seconds)",
        ),
        number(
            "Age of the data",
            "Time since the last action that the training of the active release has seen.",
            "s",
            "time() - max(recmesh_release_data_timestamp_seconds)",
        ),
        number(
            "Failed loads",
            "Failed attempts of all processes to load a release in the last hour.",
            "none",
            "sum(increase(recmesh_release_failures_total[1h])) or vector(0)",
            bad_above=0.5,
        ),
    ]


def _rows() -> list[object]:
    return [
        rows(
            "Actions read by the training",
            "What became of the actions of the data set when the active release was trained.",
            "none",
            Query("max by (release, outcome) (recmesh_training_rows)", "actions"),
        ),
        rows(
            "Actions read by the ingestion",
            "What became of the actions of the data set in the latest ingestion into Redis.",
            "none",
            Query("max by (outcome) (recmesh_ingestion_rows)", "actions"),
        ),
    ]


def _releases() -> list[object]:
    return [
        graph(
            "Active release",
            "Processes that use a release, by service: during a switch, two releases are in use.",
            "none",
            Query("sum by (service, release) (recmesh_release_active) > 0", "{{service}} {{release}}"),
        ),
        graph(
            "Switches",
            "Switches of all processes to another release, per hour.",
            "none",
            Query("sum by (service) (increase(recmesh_release_switches_total[1h]))", "{{service}}"),
        ),
        graph(
            "Failed loads by service",
            "Failed attempts to load the active release or its new items, per hour.",
            "none",
            Query("sum by (service) (increase(recmesh_release_failures_total[1h]))", "{{service}}"),
        ),
    ]


def _losses() -> list[object]:
    return [
        graph(
            "Lost data",
            "1 while a store answers and lacks what the latest ingestion left there, as the controller sees it.",
            "none",
            Query("max by (store) (recmesh_store_missing)", "{{store}}"),
        ),
        graph(
            "No active release",
            "Processes that find no active release in the model store, by service.",
            "none",
            Query("sum by (service) (recmesh_release_missing)", "{{service}}"),
        ),
        graph(
            "Repairs",
            "Ingestions that the controller has started, per hour, by what became of them.",
            "none",
            Query("sum by (outcome) (increase(recmesh_repairs_total[1h]))", "{{outcome}}"),
        ),
    ]
