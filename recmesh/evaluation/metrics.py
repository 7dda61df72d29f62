"""Metrics of ranked lists over the whole catalogue: recall@k and ndcg@10, a figure for each user.

The definitions, for a user with the wanted items W and a list without repeats, best first:

    recall@k   wanted items among the first k, divided by |W|
    ndcg@10    sum over the hits at places 1 to 10 of 1 / log2(place + 1), divided by what min(10, |W|) hits on top give

A user who wants something and gets an empty list counts as 0; a user who wants nothing does not count.
"""

from collections.abc import Collection, Hashable, Iterable, Sequence

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

CUTOFFS = (10, 100)
"""The k of the recalls that training looks at."""

_PLACES = 10
_GAIN = 1 / np.log2(np.arange(2, _PLACES + 2))
_NORMAL_95 = 1.959964


def names(cutoffs: Sequence[int] = CUTOFFS) -> tuple[str, ...]:
    """Names of the metrics, in the order of the columns of `per_user`."""
    return (*(f"recall@{cutoff}" for cutoff in cutoffs), f"ndcg@{_PLACES}")


def per_user(
    lists: Iterable[tuple[npt.NDArray[np.integer], npt.NDArray[np.integer]]], cutoffs: Sequence[int] = CUTOFFS
) -> Array:
    """Float [users, metrics], columns as in `names`, of (ranked item numbers best first, wanted ones) of each user.

    Both are distinct. Users who want nothing must be left out.
    """
    depth = max(*cutoffs, _PLACES)
    return of_hits(((np.isin(ranked[:depth], wanted), len(wanted)) for ranked, wanted in lists), cutoffs)


def of_hits(lists: Iterable[tuple[npt.NDArray[np.bool_], int]], cutoffs: Sequence[int] = CUTOFFS) -> Array:
    """The same from which places of each list hold a wanted item, and how many are wanted."""
    return np.array([figures(hits, wanted, cutoffs) for hits, wanted in lists]).reshape(-1, len(cutoffs) + 1)


def of_ids(ranked: Iterable[Hashable], wanted: Collection[Hashable], cutoffs: Sequence[int] = CUTOFFS) -> list[float]:
    """The same for one user from ids of any kind; of an id that comes twice the first place counts."""
    places = list(dict.fromkeys(ranked))[: max(*cutoffs, _PLACES)]
    return figures(np.array([item in wanted for item in places], np.bool_), len(wanted), cutoffs)


def figures(hits: npt.NDArray[np.bool_], wanted: int, cutoffs: Sequence[int] = CUTOFFS) -> list[float]:
    """The metrics of one list: which of its places, best first, hold one of the `wanted` items."""
    head = hits[:_PLACES]
    gain = float((head * _GAIN[: len(head)]).sum() / _GAIN[: min(_PLACES, wanted)].sum())
    return [*(int(hits[:cutoff].sum()) / wanted for cutoff in cutoffs), gain]


def means(values: Array, cutoffs: Sequence[int] = CUTOFFS) -> dict[str, float]:
    """Mean over users by name; all 0 without users."""
    mean = values.mean(0) if len(values) else np.zeros(len(cutoffs) + 1)
    return _named(mean, cutoffs)


def errors(values: Array, cutoffs: Sequence[int] = CUTOFFS) -> dict[str, float]:
    """Standard error of the mean over users, by name; all 0 without users."""
    error = standard_error(values) if len(values) else np.zeros(len(cutoffs) + 1)
    return _named(error, cutoffs)


def standard_error(values: Array) -> Array:
    """Standard error of the mean over the rows, of which there is at least one."""
    error: Array = values.std(0) / np.sqrt(len(values))
    return error


def metrics(lists: Iterable[tuple[npt.NDArray[np.integer], npt.NDArray[np.integer]]]) -> dict[str, float]:
    """Means of what `per_user` gives."""
    return means(per_user(lists))


def margin(error: float) -> float:
    """Half the width of the 95 % confidence interval of a mean with this standard error (normal approximation)."""
    return _NORMAL_95 * error


def _named(row: Array, cutoffs: Sequence[int]) -> dict[str, float]:
    return {name: round(float(value), 5) for name, value in zip(names(cutoffs), row, strict=True)}
