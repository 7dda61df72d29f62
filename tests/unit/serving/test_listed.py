"""Ids that stay numbers read like the list that they stand for."""

import numpy as np
import pytest

from recmesh.features import Catalogue
from recmesh.serving.lazy_ids import LazyIds, ids_at, numbers


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
def test_ids_at_places(ids: LazyIds | list[str]) -> None:
    assert ids_at(ids, np.array([2, 2, 0])) == ["d", "d", "c"]


@pytest.mark.parametrize("ids", [IDS, ["c", "a", "d"]])
def test_another_release_numbers_them_by_itself(ids: LazyIds | list[str]) -> None:
    assert numbers(ids, SHOP).tolist() == [2, 0, 3]
    assert numbers(ids, catalogue("d", "a", "x")).tolist() == [-1, 1, 0]
