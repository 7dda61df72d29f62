"""Items on the pages of the explorer, their search, and its charts."""

from collections.abc import Sequence

from recmesh.client import Item, wire
from recmesh.explorer.charts import waterfall
from recmesh.explorer.items import shown
from recmesh.explorer.recorder import StageCall
from recmesh.explorer.search import ItemIndex


class Items:
    """A cm that knows some items."""

    def __init__(self, *items: Item) -> None:
        self._infos = {item.sku_id: wire.item_info(item).SerializeToString() for item in items}

    async def get(self, sku_ids: Sequence[str], timeout: float) -> Sequence[bytes | None]:
        """See `ItemStage.get`."""
        return [self._infos.get(sku_id) for sku_id in sku_ids]


def test_display_fields_give_the_title_and_the_image() -> None:
    fields = {"cate": "70", "title": "Green tea", "photo": "https://shop.example/tea.png?w=9", "note": "loose"}
    item = shown("1", fields)
    assert (item.title, item.image) == ("Green tea", fields["photo"])
    assert item.fields == {"cate": "70", "note": "loose"}


def test_an_item_without_display_fields_has_its_id() -> None:
    item = shown("1", {"cate": "70"})
    assert (item.title, item.image, item.fields) == ("", "", {"cate": "70"})


async def test_a_search_finds_all_words_in_any_field() -> None:
    index = ItemIndex()
    tea, mug = Item("t1", {"cate": "70", "title": "Green Tea, loose"}), Item("m1", {"cate": "7", "title": "Green mug"})
    assert not index.is_complete
    await index.fill("release", ["t1", "m1", "gone"], Items(tea, mug))
    assert (index.is_complete, len(index)) == (True, 3)
    assert index.search("GREEN", 9) == ["m1", "t1"]
    assert index.search("tea green", 9) == ["t1"]
    assert index.search("cate=70", 9) == ["t1"]
    assert index.search("gone", 9) == ["gone"]
    assert index.search("", 9) == []
    assert index.search("green", 1) == ["m1"]


def test_a_chart_has_labels_and_no_script() -> None:
    svg = waterfall([StageCall("um", 0.0, 1.25), StageCall("recall", 1.25, 4.0)])
    assert "um 1.2 ms" in svg
    assert "recall 4.0 ms" in svg
    assert "<script" not in svg
