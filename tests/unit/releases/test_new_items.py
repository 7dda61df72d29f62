"""Items that were ingested after a release had been trained: their file and their place in the model store."""

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from recmesh.errors import ReleaseError
from recmesh.releases import ModelStore, NewItems

_IDS = ["007", 'a "quoted" id', "🍵"]
_VECTORS = np.arange(6, dtype=np.float32).reshape(3, 2)


def test_ids_and_vectors_come_back_exactly() -> None:
    made = NewItems(_IDS, _VECTORS)
    read = NewItems.load(made.dump(), "here")
    assert list(read.sku_ids) == _IDS
    assert read.vectors.dtype == np.float32 and np.array_equal(read.vectors, _VECTORS)
    assert NewItems(_IDS, _VECTORS.copy()).dump() == made.dump()
    assert list(NewItems.load(NewItems.none().dump(), "here").sku_ids) == []


@pytest.mark.parametrize("content", [b"", b"no archive", NewItems(_IDS, _VECTORS[:2]).dump()])
def test_damaged_items_are_refused(content: bytes) -> None:
    with pytest.raises(ReleaseError, match=r"here: damaged new items .* run the ingestion again"):
        NewItems.load(content, "here")


def test_the_store_replaces_the_items_of_a_release(tmp_path: Path) -> None:
    store = ModelStore(str(tmp_path))
    assert (store.new_items_version("one"), list(store.new_items("one").sku_ids)) == ("", [])
    store.set_new_items("one", NewItems(_IDS, _VECTORS))
    first = store.new_items_version("one")
    assert first and list(store.new_items("one").sku_ids) == _IDS

    store.set_new_items("one", NewItems(_IDS[:1], _VECTORS[:1]))
    assert store.new_items_version("one") != first
    assert list(store.new_items("one").sku_ids) == _IDS[:1]
    assert store.new_items_version("another") == ""
    assert len(list((tmp_path / "new_items" / "one").iterdir())) == 2, "the replaced items are deleted"

    left = tmp_path / "new_items" / "one" / first
    left.write_bytes(b"a run that was killed did not delete it")
    store.set_new_items("one", NewItems(_IDS[:1], _VECTORS[:1]))
    assert not left.exists()

    store.set_new_items("one", NewItems.none())
    assert (store.new_items_version("one"), list(store.new_items("one").sku_ids)) == ("", [])


def test_dropped_items_are_recorded_as_well(tmp_path: Path) -> None:
    store = ModelStore(str(tmp_path))
    store.set_new_items("one", replace(NewItems.none(), dropped=["00123", "é"]))
    read = store.new_items("one")
    assert (list(read.sku_ids), list(read.dropped), bool(read)) == ([], ["00123", "é"], True)
    store.set_new_items("one", NewItems.none())
    assert (store.new_items_version("one"), bool(store.new_items("one"))) == ("", False)


def test_new_items_of_version_0_2_0_are_read() -> None:
    buffer = io.BytesIO()
    np.savez(buffer, sku_ids=np.frombuffer(b"tea\nmug", np.uint8), vectors=np.ones((2, 3), np.float32))
    read = NewItems.load(buffer.getvalue(), "here")
    assert (list(read.sku_ids), list(read.dropped)) == (["tea", "mug"], [])
