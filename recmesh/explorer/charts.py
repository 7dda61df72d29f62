"""Charts as inline SVG, drawn by pygal. Their colours are the variables of the page, so they follow light and dark."""

from collections.abc import Callable, Mapping, Sequence
from xml.etree.ElementTree import Element

import pygal
from markupsafe import Markup
from pygal.style import Style

from recmesh.explorer.recorder import StageCall

_WIDTH, _ROW, _FRAME = 640, 30, 40
_STYLE = Style(
    colors=("transparent", "var(--chain)"),  # of the space before a bar, and of the bar
    background="transparent",
    plot_background="transparent",
    foreground="var(--ink)",
    foreground_strong="var(--ink)",
    foreground_subtle="var(--rule)",
    guide_stroke_color="var(--rule)",
    major_guide_stroke_color="var(--rule)",
    font_family="inherit",
    label_font_size=13,
    major_label_font_size=13,
    opacity="1",
    transition="0s",
)


def waterfall(calls: Sequence[StageCall]) -> Markup:
    """Draw the calls of a request, each from its start to its end."""
    labels = [f"{call.stage} {call.duration:.1f} ms" for call in calls]
    return _bars(labels, [call.start for call in calls], [call.duration for call in calls], "{:.0f} ms".format)


def channel_counts(counts: Mapping[str, int]) -> Markup:
    """Draw how many candidates each channel proposed."""
    labels = [f"{name} {count}" for name, count in counts.items()]
    return _bars(labels, [0] * len(counts), list(counts.values()), "{:.0f}".format)


def _bars(
    labels: Sequence[str], starts: Sequence[float], lengths: Sequence[float], tick: Callable[[float], str]
) -> Markup:
    """Draw horizontal bars, the first one on top."""
    chart = pygal.HorizontalStackedBar(
        style=_STYLE,
        js=(),
        disable_xml_declaration=True,
        show_legend=False,
        formatter=tick,
        width=_WIDTH,
        height=_FRAME + _ROW * max(len(labels), 1),
        margin=4,
    )
    chart.add_xml_filter(_without_scripts)
    chart.x_labels = labels[::-1]
    chart.add("start", starts[::-1])
    chart.add("length", lengths[::-1])
    return Markup(chart.render(is_unicode=True))  # pygal escapes texts


def _without_scripts(svg: Element) -> Element:
    """The drawing without the script for tooltips: the numbers are in the labels, and pages allow no inline scripts."""
    for parent in list(svg.iter()):
        for script in parent.findall("script"):
            parent.remove(script)
    return svg
