"""Items without actions: how they are recommended at ingestion, and how the report measures them."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from jobs.ingest.new_items import new_items
from recmesh.dataset import read
from recmesh.evaluation import Report
from tests.train.serving import Serving, Stored

_OTHERS = 60


@pytest.fixture(scope="module")
def serving(release: Path) -> Serving:
    return Serving(release)


@pytest.fixture(scope="module")
def stored(shop_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Stored:
    return Stored(shop_data, tmp_path_factory.mktemp("stored") / "rejects.csv")


async def test_a_new_item_is_retrieved_where_a_popular_item_with_its_fields_is(
    shop_data: Path, release: Path, serving: Serving, stored: Stored, tmp_path: Path
) -> None:
    """Sixty copies of other items compete with it for the first places of the channel of new items."""
    data = read(shop_data, rejects=tmp_path / "rejects.csv")
    actions = Counter(data.actions["sku_id"].cast(pl.String).to_list())
    popular = actions.most_common(61)[-1][0]  # the most popular ones are near everybody
    items = data.items.with_columns(pl.col("sku_id").cast(pl.String))
    others = items.filter(pl.col("sku_id") != popular).sample(_OTHERS, seed=5)
    copies = pl.concat([items.filter(pl.col("sku_id") == popular), others]).with_columns(
        sku_id="new " + pl.col("sku_id")
    )
    serving.new_items.replace(new_items(release, replace(data, items=pl.concat([items, copies]))))
    assert sorted(serving.new_items.items.sku_ids) == sorted(copies["sku_id"])

    with_it: list[bool] = []
    without: list[bool] = []
    for user_id in list(stored.users)[:150]:
        user, history = stored.users[user_id], stored.histories.get(user_id, b"")
        nearest = await serving.candidates(user, history, False, "two_tower")
        found = await serving.candidates(user, history, False, "new")
        (with_it if popular in nearest[:25] else without).append(f"new {popular}" in found[:25])
    assert len(with_it) >= 20
    assert np.mean(with_it) >= 0.6
    assert np.mean(with_it) > np.mean(without)


def test_items_of_the_catalogue_are_not_ingested_as_new(shop_data: Path, release: Path, tmp_path: Path) -> None:
    data = read(shop_data, rejects=tmp_path / "rejects.csv")
    assert not new_items(release, data)


def test_items_that_the_data_set_no_longer_has_are_named(shop_data: Path, release: Path, tmp_path: Path) -> None:
    data = read(shop_data, rejects=tmp_path / "rejects.csv")
    gone = sorted(data.items["sku_id"].cast(pl.String).to_list()[3:6])
    kept = data.items.filter(~pl.col("sku_id").cast(pl.String).is_in(gone))
    found = new_items(release, replace(data, items=kept))
    assert (list(found.sku_ids), list(found.dropped)) == ([], gone)


def test_a_new_item_has_the_vector_of_its_fields(
    shop_data: Path, release: Path, serving: Serving, tmp_path: Path
) -> None:
    """The order of the rows has no influence, and items with equal fields have equal vectors."""
    data = read(shop_data, rejects=tmp_path / "rejects.csv")
    items = data.items.with_columns(pl.col("sku_id").cast(pl.String))
    one, two = (items.head(1).with_columns(pl.lit(name).alias("sku_id")) for name in ("z", "a"))
    other = items.filter(pl.col("cate") != items["cate"][0]).head(1).with_columns(pl.lit("m").alias("sku_id"))
    found = new_items(release, replace(data, items=pl.concat([items, one, other, two])))
    assert list(found.sku_ids) == ["a", "m", "z"]
    assert found.vectors.shape == (3, serving.encoder.spec.tower.dim)
    assert np.allclose(found.vectors[0], found.vectors[2])
    assert not np.allclose(found.vectors[0], found.vectors[1])


def test_the_report_compares_the_channel_of_new_items_with_simple_lists(release: Path) -> None:
    report = Report.parse((release / "metrics.json").read_bytes(), "metrics.json")
    assert report.new_items is not None
    new, popularity, content = report.new_items.systems
    assert (new.name, popularity.name, content.name) == ("new", "popularity", "content")
    assert 15 <= report.new_items.items <= 60 and report.new_items.users >= 30
    for other in (popularity, content):
        for metric, gain in other.gain.items():
            assert gain.mean == pytest.approx(new.figures[metric].mean - other.figures[metric].mean, abs=2e-5)
    by_chance = 10 / report.new_items.items
    assert new.figures["recall@10"].mean > by_chance + 2 * new.figures["recall@10"].error
    page = (release / "report.html").read_text(encoding="utf-8")
    assert f"{new.figures['ndcg@10'].mean:.4f}" in page and 'id="new-items"' in page
