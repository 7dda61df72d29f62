"""Plots as HTML and inline SVG. They stretch to any width, but their labels do not."""

from collections.abc import Sequence

from markupsafe import Markup

MAX_TICKS = 4
"""Labels below a chart: as many as fit on a phone."""


def bar(share: float) -> Markup:
    """Draw a share as a bar."""
    return Markup('<span class="bar"><i style="width:{}"></i></span>').format(f"{min(max(share, 0.0), 1.0):.1%}")


def columns(labels: Sequence[str], counts: Sequence[int], starts: Sequence[str], about: str) -> Markup:
    """Draw counts as columns from left to right.

    Args:
        labels: What each column stands for; it appears when the pointer is on the column.
        counts: The height of each column.
        starts: A short label for each column; some of them appear below.
        about: The content in words, for readers who do not see it.
    """
    highest, width = max([1, *counts]), max(len(counts), 1)
    heights = [max(100 * count / highest, 1.0) if count else 0.0 for count in counts]  # one percent can be seen
    drawn = [
        Markup(
            '<g><title>{}: {}</title><rect class="hit" x="{}" width="1" height="100"/>'
            '<rect x="{}" y="{}" width="0.86" height="{}"/></g>'
        ).format(label, f"{count:,}", at, f"{at + 0.07:.2f}", f"{100 - height:.2f}", f"{height:.2f}")
        for at, (label, count, height) in enumerate(zip(labels, counts, heights, strict=True))
    ]
    ticks = [
        Markup('<span style="left:{}">{}</span>').format(f"{100 * (at + 0.5) / width:.1f}%", starts[at])
        for at in range(0, len(counts), -(-width // MAX_TICKS))
    ]
    return Markup(
        '<div class="columns"><div class="y" aria-hidden="true"><span>{highest}</span><span>0</span></div>'
        '<svg viewBox="0 0 {width} 100" preserveAspectRatio="none" role="img" aria-label="{about}">{drawn}</svg>'
        '<div class="x" aria-hidden="true">{ticks}</div></div>'
    ).format(
        highest=f"{highest:,}", width=width, about=about, drawn=Markup("").join(drawn), ticks=Markup("").join(ticks)
    )
