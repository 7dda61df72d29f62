"""Panels and dashboards: what all of them have in common is said here once."""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from grafana_foundation_sdk.builders import barchart, common, prometheus, stat, table, timeseries
from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.models import common as options
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

from charts.observability.promql import quantile, scoped

Panel: TypeAlias = Any
"""A builder of the SDK. Each kind of panel has a class of its own, and they have no common one."""

_SOURCE = models.DataSourceRef("prometheus", "${datasource}")
_HEIGHT = 8
_MIN_COLUMN = 80
_TAG = "recmesh"


@dataclass(frozen=True)
class Query:
    """An expression, and the name of its series: a template with {{label}}s."""

    expression: str
    legend: str = ""


def graph(
    title: str, description: str, unit: str, *queries: Query, width: int = 8, stacked: bool = False, high: float = 0.0
) -> Panel:
    """Lines over time.

    Args:
        title: Title of the panel.
        description: One sentence.
        unit: A unit of Grafana.
        queries: What to draw.
        width: Of 24 columns.
        stacked: Whether the values add up.
        high: The top of the axis, unless values exceed it; 0: the largest value.
    """
    panel = _described(timeseries.Panel(), title, description, unit, width)
    panel = panel.legend(common.VizLegendOptions().show_legend(True).placement(options.LegendPlacement.BOTTOM))
    panel = panel.tooltip(common.VizTooltipOptions().mode(options.TooltipDisplayMode.MULTI)).axis_soft_min(0)
    if high:
        panel = panel.axis_soft_max(high)
    if stacked:
        panel = panel.stacking(common.StackingConfig().mode(options.StackingMode.NORMAL)).fill_opacity(30)
    return _with_queries(panel, queries, lambda query: query.range())


def quantiles(title: str, description: str, histogram: str, matchers: str = "", unit: str = "s") -> Panel:
    """Median, p95 and p99 of a histogram over time."""
    shown = ((0.5, "p50"), (0.95, "p95"), (0.99, "p99"))
    return graph(
        title, description, unit, *(Query(quantile(share, histogram, matchers), name) for share, name in shown)
    )


def number(
    title: str,
    description: str,
    unit: str,
    expression: str,
    *,
    bad_above: float | None = None,
    bad_below: float | None = None,
) -> Panel:
    """The current value; red above `bad_above` or below `bad_below`, of which at most one is given."""
    steps = [models.Threshold(None, "green" if bad_below is None else "red")]
    if bad_above is not None:
        steps.append(models.Threshold(bad_above, "red"))
    if bad_below is not None:
        steps.append(models.Threshold(bad_below, "green"))
    panel = _described(stat.Panel(), title, description, unit, 4, height=4)
    panel = panel.thresholds(builders.ThresholdsConfig().mode(models.ThresholdsMode.ABSOLUTE).steps(steps))
    panel = panel.reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"])).graph_mode(
        options.BigValueGraphMode.NONE
    )
    return _with_queries(panel, [Query(expression)], lambda query: query.instant())


def rows(title: str, description: str, unit: str, *columns: Query, width: int = 12) -> Panel:
    """A table of current values: a row for each set of labels, a column for each query."""
    # With Grafana's 150 pixels, the values, which are the last column, would be out of sight on narrow screens.
    panel = _described(table.Panel(), title, description, unit, width).min_width(_MIN_COLUMN)
    panel = panel.with_transformation(models.DataTransformerConfig("merge", options={}))
    panel = panel.with_transformation(_renamed(columns, hidden=("Time",)))
    return _with_queries(panel, columns, _as_table)


def bars(title: str, description: str, unit: str, label: str, *columns: Query, stacked: bool = False) -> Panel:
    """Horizontal bars of current values: a group for each value of a label, a bar for each query.

    Args:
        title: Title of the panel.
        description: One sentence.
        unit: A unit of Grafana.
        label: The only label of the series.
        columns: What to draw. The first one is transparent if the bars are stacked: it is where the others begin.
        stacked: Whether the bars of a group follow each other in one line.
    """
    panel = _described(barchart.Panel(), title, description, unit, 12)
    panel = panel.orientation(options.VizOrientation.HORIZONTAL).x_field(label).fill_opacity(80)
    panel = panel.with_transformation(models.DataTransformerConfig("joinByField", options={"byField": label}))
    panel = panel.with_transformation(_renamed(columns, hidden=_times(columns)))
    if stacked:
        begin = columns[0].legend
        panel = panel.stacking(options.StackingMode.NORMAL)
        panel = panel.with_transformation(models.DataTransformerConfig("sortBy", options={"sort": [{"field": begin}]}))
        invisible = models.DynamicConfigValue("color", {"mode": "fixed", "fixedColor": "transparent"})
        panel = panel.override_by_name(begin, [invisible])
    return _with_queries(panel, columns, _as_table)


def dashboard(name: str, description: str, sections: Mapping[str, Sequence[Panel]], *extra: Any) -> builders.Dashboard:
    """A dashboard: a row for each section.

    Args:
        name: Its name, which the title begins with "recmesh: ".
        description: One sentence.
        sections: The panels by the title of their row.
        extra: Variables other than the data source and the namespace.
    """
    page = builders.Dashboard(f"recmesh: {name}").uid(f"recmesh-{name.lower()}").description(description)
    page = page.tags([_TAG]).readonly().refresh("30s").time("now-1h", "now").timezone("browser")
    page = page.tooltip(models.DashboardCursorSync.CROSSHAIR)
    page = page.link(
        builders.DashboardLink("recmesh").type(models.DashboardLinkType.DASHBOARDS).tags([_TAG]).keep_time(True)
    )
    page = page.with_variable(builders.DatasourceVariable("datasource").label("Data source").type("prometheus"))
    for variable in (choice("namespace", "label_values(recmesh_serving, namespace)", several=True), *extra):
        page = page.with_variable(variable)
    ids = itertools.count(1)
    for title, panels in sections.items():
        page = page.with_row(builders.Row(title).id(next(ids)))
        for panel in panels:
            page = page.with_panel(panel.id(next(ids)))
    return page


def choice(name: str, query: str, *, several: bool = False) -> builders.QueryVariable:
    """A variable with the values of a label. The choice of all includes series without the label."""
    variable = builders.QueryVariable(name).label(name.capitalize()).datasource(_SOURCE)
    variable = variable.query({"query": query, "refId": name}).refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
    variable = variable.sort(models.VariableSort.ALPHABETICAL_ASC)
    if several:
        everything = models.VariableOption(text="All", value="$__all", selected=True)
        variable = variable.multi(True).include_all(True).all_value(".*").current(everything)
    return variable


def _described(panel: Panel, title: str, description: str, unit: str, width: int, height: int = _HEIGHT) -> Panel:
    return panel.title(title).description(description).unit(unit).datasource(_SOURCE).span(width).height(height)


def _with_queries(panel: Panel, queries: Iterable[Query], kind: Any) -> Panel:
    for query, ref in zip(queries, "ABCDEFGH", strict=False):
        target = prometheus.Dataquery().expr(scoped(query.expression)).legend_format(query.legend or "__auto")
        panel = panel.with_target(kind(target.ref_id(ref)))
    return panel


def _as_table(query: prometheus.Dataquery) -> prometheus.Dataquery:
    return query.instant().format(PromQueryFormat.TABLE)


def _renamed(columns: Sequence[Query], hidden: Sequence[str]) -> models.DataTransformerConfig:
    """Names the columns after the queries: Grafana calls them `Value`, or `Value #A` and so on if there are several."""
    names = ["Value"] if len(columns) == 1 else [f"Value #{ref}" for ref, _ in zip("ABCDEFGH", columns, strict=False)]
    renamed = {name: column.legend for name, column in zip(names, columns, strict=True)}
    excluded = dict.fromkeys(hidden, True)
    return models.DataTransformerConfig("organize", options={"renameByName": renamed, "excludeByName": excluded})


def _times(columns: Sequence[Query]) -> list[str]:
    """The columns with the time, after a join."""
    return ["Time", *(f"Time {number}" for number in range(1, len(columns) + 1))]
