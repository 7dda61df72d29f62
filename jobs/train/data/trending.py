"""The items that are acted on most at a cut-off, as recall ranks them by what feed records."""

import numpy as np

from jobs.train.data.prepare import Prepared
from jobs.train.data.windows import Window
from recmesh.contract import COUNT_BUCKET_MS, MAX_CANDIDATES
from recmesh.features import FeatureSpec
from recmesh.features.spec import DAY_MS
from recmesh.features.trending import action_rates
from recmesh.retrieval import Scored


def trending_at(data: Prepared, spec: FeatureSpec, window: Window) -> Scored:
    """Rank the items by their rates of actions over the day before a cut-off.

    Without a split by date, or without times of day, there is no such day, and no item.
    """
    if not spec.clock or spec.granularity >= DAY_MS:
        return Scored.none()
    known = data.known(window.known)
    rows = known[data.times[known] >= window.as_of - DAY_MS]
    # Like the counts of feed, these know nothing of returns.
    buckets, weights = data.times[rows] // COUNT_BUCKET_MS, data.weights[rows]
    rates = action_rates(data.items[rows], buckets, weights, len(data.catalogue), int(buckets.max(initial=0)))
    found = np.flatnonzero(rates > 0).astype(np.int32)
    best = found[np.lexsort((found, -rates[found]))][:MAX_CANDIDATES]
    return Scored(best, rates[best].astype(np.float32))
