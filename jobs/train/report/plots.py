"""Plots as inline SVG. Those inside a table cell have their places in percent, so that they fit any width."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from jobs.train.report.html import Html, join, tag
from recmesh.evaluation.metrics import margin
from recmesh.evaluation.report import Bin, Figure


@dataclass(frozen=True)
class Scale:
    """From `low` to `high`, with a little room on both sides."""

    low: float
    high: float

    @classmethod
    def over(cls, figures: Sequence[Figure]) -> "Scale":
        """Zero and all the figures with their intervals."""
        lows = [figure.mean - margin(figure.error) for figure in figures]
        highs = [figure.mean + margin(figure.error) for figure in figures]
        return cls(min([0.0, *lows]), max([1e-9, *highs]))

    def percent(self, value: float) -> str:
        return f"{2 + 96 * (value - self.low) / (self.high - self.low):.2f}%"


def dot(figure: Figure, scale: Scale, css: str = "") -> Html:
    """A dot with its 95 % interval, and a line at zero."""
    half = margin(figure.error)
    low, mid, high = (scale.percent(value) for value in (figure.mean - half, figure.mean, figure.mean + half))
    zero = scale.percent(0)
    return Html(
        f'<svg class="dot {css}" aria-hidden="true"><line class="zero" x1="{zero}" x2="{zero}" y1="0" y2="100%"/>'
        f'<line class="span" x1="{low}" x2="{high}" y1="50%" y2="50%"/><circle cx="{mid}" cy="50%" r="4"/></svg>'
    )


_LEFT, _TOP, _SIDE = 52, 10, 280


def reliability(bins: Sequence[Bin]) -> Html:
    """Predicted against observed on logarithmic axes, with intervals; the diagonal is perfect."""
    shown = [one for one in bins if one.predicted > 0]
    ends = [value for one in shown for value in (one.predicted, one.observed, one.high) if value > 0]
    first, last = math.floor(math.log10(min(ends))), math.ceil(math.log10(max(ends)))
    last = max(last, first + 1)

    def at(value: float) -> float:
        return _SIDE * (max(math.log10(max(value, 1e-12)), first) - first) / (last - first)

    marks = [_ticks(first, last), _line(0, 0, _SIDE, _SIDE, "zero")]
    for one in shown:
        x = at(one.predicted)
        marks.append(_line(x, at(one.low), x, at(one.high), "span"))
        if one.observed > 0:
            marks.append(Html(f'<circle cx="{_x(x)}" cy="{_y(at(one.observed))}" r="4"/>'))
    width, height = _LEFT + _SIDE + 24, _TOP + _SIDE + 44
    middle = _y(_SIDE / 2)
    labels = Html(
        f'<text x="{_x(_SIDE / 2)}" y="{height - 4}" text-anchor="middle">predicted</text>'
        f'<text x="12" y="{middle}" text-anchor="middle" transform="rotate(-90 12 {middle})">observed</text>'
    )
    svg = f'<svg class="plot" viewBox="0 0 {width} {height}" role="img" aria-label="predicted against observed">'
    return Html(f"{svg}{join([*marks, labels])}</svg>")


def _ticks(first: int, last: int) -> Html:
    parts = []
    for power in range(first, last + 1):
        at = _SIDE * (power - first) / (last - first)
        label = f"{10.0**power:.{max(-power - 2, 0)}%}"
        parts.append(_line(at, 0, at, _SIDE, "grid"))
        parts.append(_line(0, at, _SIDE, at, "grid"))
        parts.append(Html(f'<text x="{_x(at)}" y="{_y(0) + 16:.1f}" text-anchor="middle">{label}</text>'))
        parts.append(Html(f'<text x="{_LEFT - 6}" y="{float(_y(at)) + 4:.1f}" text-anchor="end">{label}</text>'))
    return join(parts)


def _line(x1: float, y1: float, x2: float, y2: float, css: str) -> Html:
    return Html(f'<line class="{css}" x1="{_x(x1)}" y1="{_y(y1)}" x2="{_x(x2)}" y2="{_y(y2)}"/>')


def _x(at: float) -> float:
    return round(_LEFT + at, 1)


def _y(at: float) -> float:
    return round(_TOP + _SIDE - at, 1)


def bar(share: float) -> Html:
    """A bar for a share of the whole."""
    return tag("span", Html(f'<i style="width:{min(max(share, 0.0), 1.0):.1%}"></i>'), css="bar")
