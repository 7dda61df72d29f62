"""Metrics of ranked lists over the full catalogue: recall@k and ndcg@10 of each user.

For a user with the relevant ("wanted") items W and a list without duplicates, best first:

    recall@k   number of wanted items among the first k, divided by |W|
    ndcg@10    sum of 1 / log2(rank + 1) over the wanted items at ranks 1 to 10, divided by the largest possible sum,
               which min(10, |W|) wanted items at the top give

A user with wanted items and an empty list counts as 0. A user without wanted items does not count. ndcg follows
Järvelin and Kekäläinen, "Cumulated gain-based evaluation of IR techniques", ACM TOIS 20(4), 2002, with binary gains.
"""

from collections.abc import Collection, Hashable, Iterable, Sequence

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

CUTOFFS = (10, 100)
"""The values of k at which training evaluates recall."""

_NDCG_RANKS = 10
_GAIN = 1 / np.log2(np.arange(2, _NDCG_RANKS + 2))
NORMAL_95 = 1.959964
"""The 97.5 % quantile of the standard normal distribution."""

BOOTSTRAP_SAMPLES = 1000
"""Samples of a bootstrap interval."""


def names(cutoffs: Sequence[int] = CUTOFFS) -> tuple[str, ...]:
    """Return the names of the metrics, in the order of the columns of `per_user`."""
    return (*(f"recall@{cutoff}" for cutoff in cutoffs), f"ndcg@{_NDCG_RANKS}")


def per_user(
    lists: Iterable[tuple[npt.NDArray[np.integer], npt.NDArray[np.integer]]], cutoffs: Sequence[int] = CUTOFFS
) -> Array:
    """Evaluate the lists of several users.

    Args:
        lists: For each user, the ranked item numbers, best first, and the wanted item numbers, at least one. Neither
            contains duplicates.
        cutoffs: The values of k.

    Returns:
        Metrics [users, metrics], with the columns in the order of `names`.
    """
    depth = max(*cutoffs, _NDCG_RANKS)
    return of_hits(((np.isin(ranked[:depth], wanted), len(wanted)) for ranked, wanted in lists), cutoffs)


def of_hits(lists: Iterable[tuple[npt.NDArray[np.bool_], int]], cutoffs: Sequence[int] = CUTOFFS) -> Array:
    """Evaluate the lists of several users, like `per_user`.

    Args:
        lists: For each user, a mask of the ranks with a wanted item, and the number of wanted items.
        cutoffs: The values of k.

    Returns:
        Metrics [users, metrics], with the columns in the order of `names`.
    """
    return np.array([figures(hits, wanted, cutoffs) for hits, wanted in lists]).reshape(-1, len(cutoffs) + 1)


def of_ids(ranked: Iterable[Hashable], wanted: Collection[Hashable], cutoffs: Sequence[int] = CUTOFFS) -> list[float]:
    """Evaluate the list of a user.

    Args:
        ranked: Ids, best first. If an id occurs twice, its first rank counts.
        wanted: The wanted ids, at least one.
        cutoffs: The values of k.

    Returns:
        The metrics in the order of `names`.
    """
    distinct = list(dict.fromkeys(ranked))[: max(*cutoffs, _NDCG_RANKS)]
    return figures(np.array([item in wanted for item in distinct], np.bool_), len(wanted), cutoffs)


def figures(hits: npt.NDArray[np.bool_], wanted: int, cutoffs: Sequence[int] = CUTOFFS) -> list[float]:
    """Evaluate a list, given a mask of the ranks with a wanted item, and the number of wanted items (at least one).

    Returns:
        The metrics in the order of `names`.
    """
    head = hits[:_NDCG_RANKS]
    gain = float((head * _GAIN[: len(head)]).sum() / _GAIN[: min(_NDCG_RANKS, wanted)].sum())
    return [*(int(hits[:cutoff].sum()) / wanted for cutoff in cutoffs), gain]


def means(values: Array, cutoffs: Sequence[int] = CUTOFFS) -> dict[str, float]:
    """Return the mean over users [users, metrics] by metric name, rounded to five digits; 0 if there are no users."""
    mean = values.mean(0) if len(values) else np.zeros(len(cutoffs) + 1)
    return _named(mean, cutoffs)


def errors(values: Array, cutoffs: Sequence[int] = CUTOFFS) -> dict[str, float]:
    """Return the standard errors of these means by metric name, rounded to five digits; 0 if there are no users."""
    error = standard_error(values) if len(values) else np.zeros(len(cutoffs) + 1)
    return _named(error, cutoffs)


def standard_error(values: Array) -> Array:
    """Return the standard error of the mean over the rows, for at least one row."""
    error: Array = values.std(0) / np.sqrt(len(values))
    return error


def metrics(lists: Iterable[tuple[npt.NDArray[np.integer], npt.NDArray[np.integer]]]) -> dict[str, float]:
    """Return the means of `per_user` by metric name."""
    return means(per_user(lists))


def margin(error: float) -> float:
    """Return half the width of the 95 % confidence interval of a mean with this standard error.

    It uses the normal approximation.
    """
    return NORMAL_95 * error


def bootstrap_interval(differences: Array) -> tuple[float, float]:
    """Return the 95 % percentile-bootstrap interval of the mean of differences, float [cases], of at least one case.

    The random numbers are always the same.
    """
    counts = np.random.default_rng(0).multinomial(
        len(differences), np.full(len(differences), 1 / len(differences)), BOOTSTRAP_SAMPLES
    )
    low, high = np.quantile(counts @ differences / len(differences), (0.025, 0.975))
    return float(low), float(high)


def _named(row: Array, cutoffs: Sequence[int]) -> dict[str, float]:
    return {name: round(float(value), 5) for name, value in zip(names(cutoffs), row, strict=True)}
