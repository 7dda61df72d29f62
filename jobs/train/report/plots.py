"""Plots of figures as inline SVG. Positions inside table cells are percentages, so these plots fit any width."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from recmesh.evaluation.metrics import margin
from recmesh.evaluation.report import Bin, Figure

LEFT, TOP, SIDE = 52, 10, 280
"""Margins and size of the reliability plot, in pixels."""


@dataclass(frozen=True)
class Scale:
    """The horizontal axis of a column of plots.

    Attributes:
        low: Value at the left end.
        high: Value at the right end.
    """

    low: float
    high: float

    @classmethod
    def over(cls, figures: Sequence[Figure]) -> "Scale":
        """Return a scale that contains 0 and the intervals of all figures."""
        lows = [figure.mean - margin(figure.error) for figure in figures]
        highs = [figure.mean + margin(figure.error) for figure in figures]
        return cls(min([0.0, *lows]), max([1e-9, *highs]))

    def percent(self, value: float) -> str:
        """Return the position of a value, between 2 % and 98 %."""
        return f"{2 + 96 * (value - self.low) / (self.high - self.low):.2f}%"


def dot(figure: Figure, scale: Scale, css: str = "") -> Markup:
    """Draw a mean as a dot with its 95 % interval, and a line at 0."""
    half = margin(figure.error)
    low, mid, high = (scale.percent(value) for value in (figure.mean - half, figure.mean, figure.mean + half))
    zero = scale.percent(0)
    return Markup(
        '<svg class="dot {css}" aria-hidden="true"><line class="zero" x1="{zero}" x2="{zero}" y1="0" y2="100%"/>'
        '<line class="span" x1="{low}" x2="{high}" y1="50%" y2="50%"/><circle cx="{mid}" cy="50%" r="4"/></svg>'
    ).format(css=css, zero=zero, low=low, mid=mid, high=high)


def reliability(bins: Sequence[Bin]) -> Markup:
    """Plot observed against predicted probabilities on logarithmic axes. The diagonal is a perfect calibration."""
    shown = [bin for bin in bins if bin.predicted > 0]
    ends = [value for bin in shown for value in (bin.predicted, bin.observed, bin.high) if value > 0]
    first, last = math.floor(math.log10(min(ends))), math.ceil(math.log10(max(ends)))
    last = max(last, first + 1)

    def at(value: float) -> float:
        return SIDE * (max(math.log10(max(value, 1e-12)), first) - first) / (last - first)

    marks = [*_ticks(first, last), _line(0, 0, SIDE, SIDE, "zero")]
    for bin in shown:
        x = at(bin.predicted)
        marks.append(_line(x, at(bin.low), x, at(bin.high), "span"))
        if bin.observed > 0:
            marks.append(Markup('<circle cx="{}" cy="{}" r="4"/>').format(_x(x), _y(at(bin.observed))))
    return Markup(
        '<svg class="plot" viewBox="0 0 {width} {height}" role="img" aria-label="observed against predicted">{marks}'
        '<text x="{centre}" y="{bottom}" text-anchor="middle">predicted</text>'
        '<text x="12" y="{middle}" text-anchor="middle" transform="rotate(-90 12 {middle})">observed</text></svg>'
    ).format(
        width=LEFT + SIDE + 24,
        height=TOP + SIDE + 44,
        marks=Markup("").join(marks),
        centre=_x(SIDE / 2),
        bottom=TOP + SIDE + 40,
        middle=_y(SIDE / 2),
    )


def _ticks(first: int, last: int) -> list[Markup]:
    parts = []
    for power in range(first, last + 1):
        at = SIDE * (power - first) / (last - first)
        label = f"{10.0**power:.{max(-power - 2, 0)}%}"
        parts += [_line(at, 0, at, SIDE, "grid"), _line(0, at, SIDE, at, "grid")]
        parts.append(_text(_x(at), _y(0) + 16, "middle", label))
        parts.append(_text(LEFT - 6, _y(at) + 4, "end", label))
    return parts


def _text(x: float, y: float, anchor: str, label: str) -> Markup:
    return Markup('<text x="{}" y="{}" text-anchor="{}">{}</text>').format(x, f"{y:.1f}", anchor, label)


def _line(x1: float, y1: float, x2: float, y2: float, css: str) -> Markup:
    coordinates = (_x(x1), _y(y1), _x(x2), _y(y2))
    return Markup('<line class="{}" x1="{}" y1="{}" x2="{}" y2="{}"/>').format(css, *coordinates)


def _x(at: float) -> float:
    return round(LEFT + at, 1)


def _y(at: float) -> float:
    return round(TOP + SIDE - at, 1)
