"""Formats times for the report."""

import numpy as np

from recmesh.features.spec import DAY_MS

UNKNOWN = "unknown"


def formatted(time: int) -> str:
    """Format a time (ms since 1970) as a UTC date, with hours and minutes unless it is midnight. 0 means unknown."""
    if not time:
        return UNKNOWN
    unit = "D" if time % DAY_MS == 0 else "m"
    return str(np.datetime64(time, "ms").astype(f"datetime64[{unit}]")).replace("T", " ")


def span(first: int, last: int) -> str:
    """Format a first and a last time."""
    return f"{formatted(first)} to {formatted(last)}" if last else UNKNOWN
