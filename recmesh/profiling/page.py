"""The check of a data set as one HTML page without external resources."""

from collections.abc import Sequence
from pathlib import Path

from recmesh.pages import environment
from recmesh.profiling.distributions import short
from recmesh.profiling.model import Bin, Check

_VERDICTS = {
    "fine": ("Fine", "Training can use this data set as it is."),
    "warnings": ("Usable, with warnings", "Training can use this data set, but not all of it."),
    "unusable": ("Unusable", "Training refuses this data set."),
}


def page(check: Check) -> str:
    """Render a check as HTML."""
    pages = environment(Path(__file__).with_name("templates"))
    pages.globals.update(verdicts=_VERDICTS)
    pages.filters.update(number=short, memory=memory, duration=duration, starts=_starts)
    return pages.get_template("check.html.j2").render(check=check, profile=check.profile)


def memory(mib: int) -> str:
    """Format MiB as GiB."""
    return f"{mib / 1024:.1f} GiB"


def duration(seconds: int) -> str:
    """Format seconds as minutes."""
    return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds} s"


def _starts(bins: Sequence[Bin]) -> list[str]:
    return [bin.start or bin.label for bin in bins]
