"""Lazy ids behave like the list of ids for which they stand."""

from collections.abc import Sequence

import numpy as np
import pytest

from recmesh.features import Catalogue
from recmesh.serving.lazy_ids import LazyIds, catalogue_positions, take


def catalogue(*sku_ids: str) -> Catalogue:
    return Catalogue.build(sku_ids, [], np.zeros((len(sku_ids), 0), np.float32))


SHOP = catalogue("a", "b", "c", "d")
IDS = LazyIds(SHOP, np.array([2, 0, 3], np.int32))


def test_they_read_like_a_list() -> None:
    assert list(IDS) == ["c", "a", "d"]
    assert (len(IDS), IDS[0], IDS[-1]) == (3, "c", "d")
    assert list(IDS[1:]) == ["a", "d"]
    assert "a" in IDS
    assert "b" not in IDS
    assert not IDS[:0]
    with pytest.raises(IndexError):
        IDS[3]


@pytest.mark.parametrize("ids", [IDS, ["c", "a", "d"]])
def test_ids_at_indices(ids: Sequence[str]) -> None:
    assert take(ids, np.array([2, 2, 0])) == ["d", "d", "c"]


@pytest.mark.parametrize("ids", [IDS, ["c", "a", "d"]])
def test_positions_depend_on_the_catalogue(ids: Sequence[str]) -> None:
    assert catalogue_positions(ids, SHOP).tolist() == [2, 0, 3]
    assert catalogue_positions(ids, catalogue("d", "a", "x")).tolist() == [-1, 1, 0]
