"""Held-out metrics of ranked lists: recall@10, recall@100 and ndcg@10 over the whole catalogue, mean over users."""

from collections.abc import Iterable

import numpy as np

from recmesh.features.spec import Array, Ints

NAMES = ("recall@10", "recall@100", "ndcg@10")
_GAIN = 1 / np.log2(np.arange(2, 12))
_WORTH = np.array([1.0, 0.5, 1.0])


def per_user(lists: Iterable[tuple[Ints, Ints]]) -> Array:
    """Float [users, 3], in the order of NAMES, of (ranked items best first, wanted items) for each user.

    Users with nothing wanted must be left out.
    """
    rows = []
    for ranked, wanted in lists:
        hits = np.isin(ranked[:100], wanted)
        head = hits[:10]
        gain = float(_GAIN[: min(10, len(wanted))].sum())
        rows.append(
            (head.sum() / len(wanted), hits.sum() / len(wanted), float((head * _GAIN[: len(head)]).sum()) / gain)
        )
    return np.array(rows).reshape(-1, 3)


def means(figures: Array) -> dict[str, float]:
    """Mean over users by name; all 0 without users."""
    mean = figures.mean(0) if len(figures) else np.zeros(3)
    return {name: round(float(value), 5) for name, value in zip(NAMES, mean, strict=True)}


def metrics(lists: Iterable[tuple[Ints, Ints]]) -> dict[str, float]:
    """Mean over users of what `per_user` gives."""
    return means(per_user(lists))


def worth(figures: Array) -> Array:
    """One number a user to choose by: the head of the list, by hits and by places, and half as much its whole
    length."""
    value: Array = figures @ _WORTH
    return value
