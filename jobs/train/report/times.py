"""Formats times for the report."""

import numpy as np

from recmesh.features.spec import DAY_MS


def formatted(time: int) -> str:
    """Format a time (ms since 1970) as a UTC date, with hours and minutes unless it is midnight."""
    unit = "D" if time % DAY_MS == 0 else "m"
    return str(np.datetime64(time, "ms").astype(f"datetime64[{unit}]")).replace("T", " ")
