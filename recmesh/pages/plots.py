"""Plots as HTML."""

from markupsafe import Markup


def bar(share: float) -> Markup:
    """Draw a share as a bar."""
    return Markup('<span class="bar"><i style="width:{}"></i></span>').format(f"{min(max(share, 0.0), 1.0):.1%}")
