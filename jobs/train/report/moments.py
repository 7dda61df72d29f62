"""Moments as the report writes them."""

import numpy as np

from recmesh.features.spec import DAY


def written(moment: int) -> str:
    """A moment (ms UTC): its day, with hours and minutes unless it is midnight."""
    unit = "D" if moment % DAY == 0 else "m"
    return str(np.datetime64(moment, "ms").astype(f"datetime64[{unit}]")).replace("T", " ")
