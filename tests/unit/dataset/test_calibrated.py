"""The generated shop of a real size has the statistics that were published of JData 2019, and its truth is known.

Published: 1,608,707 users, 352,539 items, 37,214,269 actions in 74 days from 2018-02-01. The tests use a twenty-fifth.
"""

from collections.abc import Iterator
from datetime import date
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from recmesh.dataset import Oracle, calibrated, fetch, read
from recmesh.dataset.calibrated import Size
from recmesh.dataset.oracle import Taste
from recmesh.errors import DataError

USERS, ITEMS, ACTIONS = 64_348, 14_102, 1_488_571


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    source = f"synthetic:users={USERS},items={ITEMS},actions={ACTIONS},days=74,seed=7"
    return fetch(source, tmp_path_factory.mktemp("data") / "set")


@pytest.fixture(scope="module")
def actions(folder: Path) -> pl.DataFrame:
    """All actions, with the day since 2018-02-01, and the category and the shop of the item (null: not listed)."""
    products = pl.read_parquet(folder / "products.parquet").select("sku_id", "cate", "shopid")
    day = (pl.col("action_time") - pl.datetime(2018, 2, 1)).dt.total_days()
    raw = pl.read_parquet(folder / "actions" / "*.parquet").with_columns(day=day)
    return raw.join(products, on="sku_id", how="left")


@pytest.fixture(scope="module")
def orders(actions: pl.DataFrame) -> pl.DataFrame:
    return actions.filter(pl.col("type") == "order")


def test_the_shares_of_action_types_are_those_published(actions: pl.DataFrame) -> None:
    assert actions.height == ACTIONS
    counts = dict(actions["type"].cast(pl.String).value_counts().iter_rows())
    published = {"view": 0.8908, "order": 0.0589, "follow": 0.0222, "comment": 0.0161, "cart": 0.0119}
    assert {name: round(count / ACTIONS, 4) for name, count in counts.items()} == published


def test_every_user_bought_and_has_as_many_actions_as_published(actions: pl.DataFrame, orders: pl.DataFrame) -> None:
    assert orders["user_id"].n_unique() == USERS
    assert orders.height / USERS == pytest.approx(1.36, abs=0.01)
    assert actions.height / USERS == pytest.approx(23.1, abs=0.1)
    assert actions.height / ITEMS == pytest.approx(105.6, abs=0.1)
    listed = actions.filter(pl.col("cate").is_not_null())
    assert listed.height / ACTIONS == pytest.approx(36_858_846 / 37_214_269, abs=0.001)
    assert 1 - listed["user_id"].n_unique() / USERS == pytest.approx(1 - 1_602_150 / 1_608_707, abs=0.0001)


def test_the_share_of_listed_items_with_an_order_is_that_published(orders: pl.DataFrame) -> None:
    listed = orders.filter(pl.col("cate").is_not_null())
    assert listed["sku_id"].n_unique() / ITEMS == pytest.approx(137_546 / 352_539, abs=0.03)


def test_buyers_by_day_have_the_published_shape(orders: pl.DataFrame) -> None:
    buyers = orders.group_by("day").agg(pl.col("user_id").n_unique()).sort("day")
    assert buyers["day"].to_list() == list(range(74))
    thousands = buyers["user_id"].to_numpy() * 1_608_707 / USERS / 1000
    assert thousands[:7].mean() == pytest.approx(37, abs=2.5)
    assert int(thousands.argmin()) == 14  # the Spring Festival, 2018-02-15
    assert thousands[14] == pytest.approx(5.4, abs=1)
    assert np.all((thousands[23:] > 23) & (thousands[23:] < 34))
    assert thousands[23:].mean() == pytest.approx(28.5, abs=1.5)


def test_weekly_purchases_of_categories_are_as_many_as_published(orders: pl.DataFrame) -> None:
    listed = orders.filter(pl.col("cate").is_not_null() & (pl.col("day") >= 25))
    for first in (25, 32, 39, 46, 53, 60):
        week = listed.filter(pl.col("day").is_between(first, first + 6))
        assert 171 <= week.select("user_id", "cate").n_unique() * 1_608_707 / USERS / 1000 <= 199


@pytest.mark.parametrize(
    ("days", "low", "high"), [(2, 0.055, 0.085), (3, 0.075, 0.105), (7, 0.115, 0.15), (14, 0.15, 0.21), (30, 0.2, 0.26)]
)
def test_demand_is_mostly_cold(actions: pl.DataFrame, days: int, low: float, high: float) -> None:
    # Published: of the (user, category) pairs bought in a week, 7-8 % had an action in the last 2 days, about 9 % in 3,
    # 12-14 % in 7, 17 % in 14 and 23 % in 30 days.
    pair = ["user_id", "cate"]
    listed = actions.filter(pl.col("cate").is_not_null())
    shares = []
    for cutoff in (60, 64, 67):
        week = pl.col("day").is_between(cutoff, cutoff + 6) & (pl.col("type") == "order")
        bought = listed.filter(week).select(pair).unique()
        before = listed.filter(pl.col("day").is_between(cutoff - days, cutoff - 1)).select(pair).unique()
        shares.append(bought.join(before, on=pair, how="semi").height / bought.height)
    assert low <= np.mean(shares) <= high


def test_carts_and_views_are_missing_on_the_published_days(actions: pl.DataFrame) -> None:
    carts = actions.filter(pl.col("type") == "cart")["action_time"].dt.date()
    assert (carts.min(), carts.max()) == (date(2018, 4, 8), date(2018, 4, 15))
    views = actions.filter(pl.col("type") == "view")["action_time"].dt.date().unique()
    gone = {date(2018, 3, 28), date(2018, 3, 29)}
    assert gone.isdisjoint(views)
    assert len(views) == 72


def test_the_oracle_gives_the_probability_of_each_order(folder: Path, orders: pl.DataFrame) -> None:
    """What the oracle ranks first is bought as often as it says, by the users of a sample."""
    oracle = Oracle.load(folder)
    listed = orders.filter(pl.col("cate").is_not_null()).select(pl.col("user_id", "sku_id").cast(pl.String))
    sample = listed.sample(3_000, seed=1)
    expected = {1: 0.0, 10: 0.0, 100: 0.0}
    found = dict.fromkeys(expected, 0)
    for user, item in sample.iter_rows():
        best = oracle.ranking(user, 100)
        chances, items = list(best.values()), list(best)
        for size in expected:
            expected[size] += sum(chances[:size]) / sample.height
            found[size] += item in items[:size]
    for size, share in expected.items():
        margin = 4 * np.sqrt(share * (1 - share) / sample.height)
        assert found[size] / sample.height == pytest.approx(share, abs=margin)
    popular = listed["sku_id"].value_counts(sort=True)["sku_id"].head(100)
    assert expected[100] > 1.3 * sample["sku_id"].is_in(popular.implode()).mean()  # type: ignore[operator]


def test_probabilities_are_those_of_the_model() -> None:
    """Two categories, two styles, worked out by hand."""
    taste = Taste(np.array([0]), np.array([[0, 0]]), np.array([1]))
    oracle = Oracle(
        np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1]), np.array([3.0, 1.0, 5.0, 5.0]), np.array([[0.2, 0.8]]), taste
    )
    # Category 0: 0.5 as both favourites and 0.5 x 0.2 by the segment. Style 1 counts four times: 3 to 4, and 5 to 20.
    assert oracle.probabilities("1") == pytest.approx([0.6 * 3 / 7, 0.6 * 4 / 7, 0.4 * 5 / 25, 0.4 * 20 / 25])
    assert list(oracle.ranking("1", 3)) == ["2", "4", "1"]
    rng = np.random.default_rng(0)
    users = np.zeros(40_000, np.int64)
    drawn = oracle.draw_item(rng, taste, users, oracle.draw_user_category(rng, taste, users))
    assert np.bincount(drawn, minlength=4) / 40_000 == pytest.approx(oracle.probabilities("1"), abs=0.01)
    for unknown in ("0", "2", "x", "-1"):
        with pytest.raises(DataError, match=f"the oracle has no user {unknown}"):
            oracle.probabilities(unknown)


def contents(folder: Path) -> Iterator[tuple[str, bytes]]:
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            yield path.relative_to(folder).as_posix(), path.read_bytes()


def test_the_same_seed_gives_the_same_files_and_another_seed_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calibrated, "BLOCK_USERS", 128)
    first = dict(contents(fetch("synthetic:users=300,seed=1", tmp_path / "first")))
    assert [name for name in first if name.startswith("actions/")] == [
        f"actions/actions-0000{n}.parquet" for n in range(3)
    ]
    assert dict(contents(fetch("synthetic:seed=1,users=300", tmp_path / "again"))) == first
    other = dict(contents(fetch("synthetic:users=300,seed=2", tmp_path / "other")))
    assert not [name for name, content in first.items() if name.endswith(".parquet") and other[name] == content]


def test_the_set_is_read_without_surprises(folder: Path) -> None:
    data = read(folder)
    assert (data.users.height, data.items.height) == (USERS, ITEMS)
    tally = data.report.tally("actions")
    assert (tally.read, tally.anonymous) == (ACTIONS, 0)
    assert tally.duplicates < 100
    assert tally.used + tally.duplicates >= 0.989 * ACTIONS  # the others have an item that is not listed
    assert not [notice for notice in data.report.notices if "not read" in notice]
    assert data.items["cate"].n_unique() == 80


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("users=1608707", Size(1_608_707, 352_539, 37_214_269, 74, 7)),
        ("users=1000,days=30", Size(1000, 240, 23_133, 30, 7)),
        ("items=300,users=100,actions=5000,days=20,seed=0", Size(100, 300, 5000, 20, 0)),
    ],
)
def test_what_is_left_out_follows_the_number_of_users(text: str, size: Size) -> None:
    assert Size.parse(text) == size


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("users=99", "users=99 must be between 100 and"),
        ("users=1000,items=10", "items=10 must be between 240 and"),
        ("users=1000,actions=100", "actions=100 must be between 20000 and"),
        ("user=1000", 'unknown key "user": one of users, items, actions, days, seed; did you mean "users"'),
        ("users=1e6", 'users="1e6" is not a number'),
        ("users=1000,users=2000", "users is given twice"),
        ("", 'unknown key ""'),
    ],
)
def test_an_impossible_size_is_one_line(text: str, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        Size.parse(text)
    assert "\n" not in str(caught.value)
