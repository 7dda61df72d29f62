"""Renders report.html: the report as a single page without external resources."""

from collections.abc import Iterable
from pathlib import Path

from jinja2 import Environment

from jobs.train.report.plots import Scale, dot, reliability
from recmesh.evaluation.metrics import margin, names
from recmesh.evaluation.report import CHAIN, POPULARITY, FeatureGroup, Figure, Figures, Report, SegmentReport, System
from recmesh.pages import environment

_METRICS = list(names())
_HEADLINE = _METRICS[0]
_TITLES = {
    "cold": "New users, known by their profile only",
    "novel": "Known users, only items new to them",
    "repeat": "Known users, repeats allowed",
}
_LABELS = {"item_cf": "item-CF", "ease": "EASE", "merged": "merged channels", "channel two_tower": "channel two-tower"}


def page(report: Report) -> str:
    """Render a report as HTML."""
    return _environment().get_template("page.html.j2").render(report=report)


def _environment() -> Environment:
    pages = environment(Path(__file__).with_name("templates"))
    pages.globals.update(
        CHAIN=CHAIN,
        POPULARITY=POPULARITY,
        metrics=_METRICS,
        headline=_HEADLINE,
        titles=_TITLES,
        labels=_LABELS,
        dot=dot,
        reliability=reliability,
    )
    pages.filters.update(
        by_figure=_by_figure,
        by_gain=_by_gain,
        figure=_figure,
        fixed="{:.4f}".format,
        margin=margin,
        scale=_scale,
        signed="{:+.4f}".format,
    )
    return pages


def _by_figure(systems: Iterable[System]) -> list[System]:
    """Sort systems by their headline figure, best first, after the chain."""
    return sorted(systems, key=lambda system: (system.name != CHAIN, -system.figures[_HEADLINE].mean))


def _by_gain(groups: Iterable[FeatureGroup], metric: str) -> list[FeatureGroup]:
    """Sort groups of inputs by their gain, largest first."""
    return sorted(groups, key=lambda group: -group.gain[metric].mean)


def _figure(segment: SegmentReport, name: str) -> Figure:
    """Return the headline figure of a system of a segment."""
    return next(system.figures[_HEADLINE] for system in segment.systems if system.name == name)


def _scale(figures: Iterable[Figures], metric: str) -> Scale:
    return Scale.over([by_metric[metric] for by_metric in figures])
