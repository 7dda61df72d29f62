"""Whether the parts of a release fit each other. Compiled code uses sizes and indices of the arrays unchecked."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from recmesh.features.catalogue import Catalogue
from recmesh.features.ranker_inputs import column_sizes, dense_names
from recmesh.features.spec import Array, FeatureSpec, Floats
from recmesh.features.statistics import Statistics
from recmesh.features.vocabulary import Vocabulary


class _Expected(NamedTuple):
    """What an array must be.

    Attributes:
        name: For the error message.
        array: The array.
        shape: Its sizes; None stands for any.
        dtype: The type of its numbers.
        bounds: The least and the largest value of indices; None for values that are no indices.
    """

    name: str
    array: Array
    shape: tuple[int | None, ...]
    dtype: type[np.generic] = np.float32
    bounds: tuple[int, int] | None = None


def misfit(
    spec: FeatureSpec,
    user_vocabularies: Sequence[Vocabulary],
    item_vocabularies: Sequence[Vocabulary],
    catalogue: Catalogue,
    statistics: Statistics,
    item_vectors: Floats,
) -> str:
    """Say which part of a release does not fit the others; empty if all parts fit.

    Args:
        spec: The spec.
        user_vocabularies: One for each user field.
        item_vocabularies: One for each item field.
        catalogue: The items.
        statistics: The statistics.
        item_vectors: float32 [items + 1, dim]; empty without towers.
    """
    if len(catalogue.index) != len(catalogue):
        return "sku_ids.txt: an id is there twice"
    sizes = [v.size for v in user_vocabularies], [v.size for v in item_vocabularies]
    if spec.columns != column_sizes(spec, *sizes) or spec.dense != dense_names(spec):
        return "spec.json: the ranker's inputs do not fit the fields"
    parts = [*_of_items(spec, sizes[1], catalogue, statistics), *_of_values(sizes[0], len(catalogue), statistics)]
    if item_vectors.size:
        parts.append(_Expected("item_vectors.npy", item_vectors, (len(catalogue) + 1, None)))
    found = next((f"{part.name}: {fault}" for part in parts if (fault := _fault(part))), "")
    return found or _unordered(statistics, len(catalogue), sizes[0])


def _of_items(
    spec: FeatureSpec, sizes: Sequence[int], catalogue: Catalogue, statistics: Statistics
) -> Iterator[_Expected]:
    rows, measures, fields = len(catalogue) + 1, len(spec.popularities), len(spec.item_fields)
    if len(catalogue.codes) != fields or len(statistics.code_share) != fields:
        yield _Expected("item fields", np.zeros(len(catalogue.codes)), (fields,), np.float64)
    for field, size, codes in zip(spec.item_fields, sizes, catalogue.codes, strict=False):
        yield _Expected(f"codes of {field.name}", codes, (rows, field.width), np.int32, (0, size - 1))
    yield _Expected("numbers", catalogue.numbers, (rows, fields))
    yield _Expected("popularity", statistics.popularity, (rows, measures))
    yield _Expected("buyers", statistics.buyers, (rows,))
    yield _Expected("repeat_rate", statistics.repeat_rate, (rows,))
    yield _Expected("first_seen", statistics.first_seen, (rows,), np.int64)
    yield _Expected("order", statistics.order, (rows - 1,), np.int32, (0, rows - 2))
    yield _Expected("top", statistics.top, (measures, None), np.int32, (-1, rows - 2))
    shares = zip(spec.item_fields, sizes, statistics.code_share, statistics.code_lift, strict=False)
    for field, size, share, lift in shares:
        yield _Expected(f"code_share of {field.name}", share, (size,))
        if lift.size:
            yield _Expected(f"code_lift of {field.name}", lift, (len(statistics.value_share), size))


def _of_values(sizes: Sequence[int], items: int, statistics: Statistics) -> Iterator[_Expected]:
    values, entries = sum(sizes), len(statistics.lift_items)
    yield _Expected("lift_offset", statistics.lift_offset, (len(sizes),), np.int64)
    yield _Expected("value_share", statistics.value_share, (values,))
    yield _Expected("value_top", statistics.value_top, (values, None), np.int32, (-1, items - 1))
    yield _Expected("lift_start", statistics.lift_start, (values + 1,), np.int64, (0, entries))
    yield _Expected("lift_items", statistics.lift_items, (entries,), np.int32, (0, items - 1))
    yield _Expected("lift_counts", statistics.lift_counts, (entries,))


def _fault(part: _Expected) -> str:
    array = part.array
    if array.dtype != part.dtype:
        return f"has numbers of type {array.dtype} instead of {np.dtype(part.dtype)}"
    fits = [wanted in (None, size) for size, wanted in zip(array.shape, part.shape, strict=False)]
    if len(array.shape) != len(part.shape) or not all(fits):
        return f"has the shape {list(array.shape)} instead of {list(part.shape)}".replace("None", "any")
    if part.bounds and array.size:
        least, most = part.bounds
        if array.min() < least or array.max() > most:
            return f"has values from {array.min()} to {array.max()} instead of {least} to {most}"
    return ""


def _unordered(statistics: Statistics, items: int, sizes: Sequence[int]) -> str:
    start, order = statistics.lift_start, statistics.order
    if statistics.lift_offset.tolist() != np.cumsum([0, *sizes])[:-1].tolist():
        return "lift_offset: does not fit the numbers of values of the user fields"
    if len(start) and (start[0] != 0 or start[-1] != len(statistics.lift_items) or (np.diff(start) < 0).any()):
        return "lift_start: does not rise from 0 to the number of entries"
    if not np.array_equal(np.sort(order), np.arange(items)):
        return "order: does not have every item once"
    if not all(lists.fit(items) for lists in (statistics.cosine, statistics.ridge)):
        return "neighbour lists: do not fit the catalogue"
    return ""
