"""Recommendations: what is shown, where it comes from, and how good the release was when it was trained."""

from grafana_foundation_sdk.builders.dashboard import Dashboard

from charts.observability.objectives import ANSWERS
from charts.observability.panels import Query, bars, dashboard, graph, rows
from charts.observability.promql import mean, rate


def page() -> Dashboard:
    """The dashboard."""
    return dashboard(
        "Recommendations",
        "What is shown, where it comes from, and how good the release was when it was trained.",
        {
            "Shown items": _shown(),
            "Channels": _channels(),
            "Rules": _rules(),
            "Users": _users(),
            "What users did with logged answers": _acted_on(),
            "Held-out figures": _held_out(),
        },
    )


def _shown() -> list[object]:
    return [
        graph(
            "Catalogue coverage",
            "Share of the catalogue in the answers of the last hour, of the process that has shown the most items.",
            "percentunit",
            Query("max(recmesh_distinct_recommended_items) / scalar(max(recmesh_release_items))", "coverage"),
            high=1.0,
        ),
        graph(
            "Popular items",
            "Share of the shown items that are among the 100 most popular ones.",
            "percentunit",
            Query(
                f"{rate('recmesh_recommended_popular_items_total')} / {rate('recmesh_recommended_items_total')}",
                "popular",
            ),
        ),
        graph(
            "Empty answers",
            "Share of answers without items.",
            "percentunit",
            Query(f"{rate('recmesh_empty_answers_total')} / {rate(ANSWERS)}", "empty"),
            high=0.01,
        ),
    ]


def _channels() -> list[object]:
    proposed = rate("recmesh_explained_channel_items_total", "channel")
    return [
        graph(
            "Channels of shown items",
            "Share of the shown items that a channel proposed; several channels may propose the same item.",
            "percentunit",
            Query(f"{proposed} / scalar({rate('recmesh_explained_items_total')})", "{{channel}}"),
            width=12,
        ),
        graph(
            "Candidates by channel",
            "Mean number of candidates of a channel for one request.",
            "none",
            Query(mean("recmesh_channel_candidates", by="channel"), "{{channel}}"),
            width=12,
        ),
    ]


def _rules() -> list[object]:
    moved = rate("recmesh_rule_items_total", "rule")
    return [
        graph(
            "Items moved by rules",
            "Share of the shown items that rules of a kind moved.",
            "percentunit",
            Query(f"{moved} / scalar({rate('recmesh_recommended_items_total')})", "{{rule}}"),
            width=12,
        ),
        graph(
            "Version of the rules",
            "The oldest and the newest version of the rules that a process of `as` applies.",
            "none",
            Query("min(recmesh_rules_version)", "oldest"),
            Query("max(recmesh_rules_version)", "newest"),
            width=6,
        ),
        graph(
            "Rules not read",
            "Failed attempts per second to read the rules in the model store: the last good ones stay.",
            "cps",
            Query(rate("recmesh_rules_failures_total"), "failed"),
            width=6,
        ),
    ]


def _users() -> list[object]:
    return [
        graph(
            "Input drift",
            "Population stability index of each field against the training: above 0.25 the training is out of date.",
            "none",
            Query("max by (field) (recmesh_input_drift)", "{{field}}"),
            high=0.25,
        ),
        graph(
            "Unknown values",
            "Field values per second that the vocabularies of the release do not contain.",
            "cps",
            Query(rate("recmesh_unknown_values_total", "field"), "{{field}}"),
        ),
        graph(
            "Catalogue",
            "Items in the catalogue of the active release.",
            "none",
            Query("max by (release) (recmesh_release_items)", "{{release}}"),
        ),
    ]


def _acted_on() -> list[object]:
    rates = "max by (release, system, metric) (recmesh_shown_rate)"
    return [
        rows(
            "Rates by release and channel",
            "Of the latest evaluation: how often users acted on what they were shown (docs/answers.md).",
            "percentunit",
            Query(rates, "rate"),
        ),
        graph(
            "Rates of the chain",
            "By release. Each evaluation moves the lines of the releases whose answers it evaluates.",
            "percentunit",
            Query('max by (release, metric) (recmesh_shown_rate{system="chain"})', "{{metric}} {{release}}"),
            width=12,
        ),
        graph(
            "Shown items that users acted on",
            "Share of the shown items, by release and by the channel that proposed them.",
            "percentunit",
            Query('max by (release, system) (recmesh_shown_rate{metric="acted"})', "{{system}} {{release}}"),
        ),
        graph(
            "Evaluated answers",
            "Logged answers of each release that the latest evaluation could use.",
            "none",
            Query("max by (release) (recmesh_shown_answers)", "{{release}}"),
        ),
        graph(
            "Age of the evaluation",
            "Time since logged answers were last evaluated.",
            "s",
            Query("time() - max(recmesh_shown_timestamp_seconds > 0)", "age"),
        ),
        graph(
            "Logged answers",
            "Answers per second that were written to the log, and that it lost, by reason.",
            "cps",
            Query(rate("recmesh_logged_answers_total"), "logged"),
            Query(rate("recmesh_unlogged_answers_total", "reason"), "lost: {{reason}}"),
        ),
    ]


def _held_out() -> list[object]:
    figures = "max by (segment, system, metric) (recmesh_release_held_out)"
    return [
        rows(
            "Figures of the active release",
            "Means over held-out users, by segment of the users and by what was evaluated.",
            "none",
            Query(figures, "mean"),
        ),
        bars(
            "recall@10 by segment",
            "Mean recall@10 over held-out users: the chain, and the list of popular items.",
            "none",
            "segment",
            *(Query(_recall(system), system) for system in ("chain", "popularity")),
        ),
        graph(
            "Figures of each release",
            "Means of the chain over held-out users; a new release starts a new line.",
            "none",
            Query(
                'max by (release, segment, metric) (recmesh_release_held_out{system="chain", '
                'metric=~"recall@10|ndcg@10"})',
                "{{segment}} {{metric}} {{release}}",
            ),
            width=24,
        ),
    ]


def _recall(system: str) -> str:
    return f'max by (segment) (recmesh_release_held_out{{system="{system}", metric="recall@10"}})'
