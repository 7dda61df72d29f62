"""Held-out metrics of ranked lists: recall@10, recall@100 and ndcg@10 over the whole catalogue, mean over users."""

from collections.abc import Iterable

import numpy as np

from recmesh.features.spec import Ints

CUTOFFS = (10, 100)
_GAIN = 1 / np.log2(np.arange(2, 12))


def metrics(lists: Iterable[tuple[Ints, Ints]]) -> dict[str, float]:
    """Metrics of (ranked items best first, wanted items) for each user; users with nothing wanted must be left out."""
    sums = np.zeros(3)
    users = 0
    for ranked, wanted in lists:
        hits = np.isin(ranked[:100], wanted)
        gain = float(_GAIN[: min(10, len(wanted))].sum())
        near = hits[:10]
        sums += near.sum() / len(wanted), hits.sum() / len(wanted), float((near * _GAIN[: len(near)]).sum()) / gain
        users += 1
    mean = sums / max(users, 1)
    return {
        "recall@10": round(float(mean[0]), 5),
        "recall@100": round(float(mean[1]), 5),
        "ndcg@10": round(float(mean[2]), 5),
    }
