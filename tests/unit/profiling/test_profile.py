"""The facts about a data set, against figures counted by hand."""

from pathlib import Path

import polars as pl
import pytest

from recmesh.dataset import read
from recmesh.features import CHANNELS
from recmesh.profiling import Profile, profile
from recmesh.profiling.abilities import cost_of
from recmesh.profiling.distributions import of_counts, of_numbers
from recmesh.profiling.model import Distribution
from tests.unit.profiling.conftest import action_rows, write_actions

NOW = 1_735_689_600_000
"""2025-01-01"""


def profiled(folder: Path) -> Profile:
    return profile(read(folder), NOW)


def bins(distribution: Distribution) -> dict[str, int]:
    return {bin.label: bin.count for bin in distribution.bins}


def test_users_and_items_are_joined_with_actions(shop: Path) -> None:
    users, items = profiled(shop).joins
    assert (users.side, users.listed, users.active) == ("users", 12, 11)
    assert (items.side, items.listed, items.active) == ("items", 12, 5)


def test_actions_are_counted_by_user_item_and_type(shop: Path) -> None:
    write_actions(shop, [*action_rows(), "u00,a,2024-03-06T10:00:00,order"])
    facts = profiled(shop)
    assert bins(facts.per_user) == {"0": 1, "1": 0, "2": 0, "3 to 4": 0, "5 to 8": 11}
    assert bins(facts.per_item) == {
        "0": 7, "1": 0, "2": 0, "3 to 4": 0, "5 to 8": 0, "9 to 16": 5
    }  # fmt: skip
    assert facts.per_user.quantiles == {"0": 0, "0.1": 5, "0.5": 5, "0.9": 5, "0.99": 6, "1": 6}
    assert [(kind.name, kind.actions, kind.weight) for kind in facts.types] == [("view", 55, 0.5), ("order", 1, 3)]
    assert facts.repeats.pairs == 55
    assert facts.repeats.repeated == pytest.approx(1 / 55)


def test_an_action_of_two_types_at_one_time_is_no_repeat(shop: Path) -> None:
    write_actions(shop, [*action_rows(), "u00,a,2024-03-01T10:00:00,order"])
    assert profiled(shop).repeats.repeated == 0


def test_fields_have_their_values_and_their_use(shop: Path) -> None:
    fields = {field.name: field for field in profiled(shop).fields}
    assert {name: (field.values, field.missing, field.model_input) for name, field in fields.items()} == {
        "age": (2, 0, True),
        "empty": (0, 1, False),
        "price": (12, 0, True),
        "tags": (2, 0, True),
        "shop": (1, 0, False),
    }
    assert [(value.label, value.count) for value in fields["age"].top] == [("young", 8), ("old", 4)]
    assert [(value.label, value.count) for value in fields["tags"].top] == [("x", 12), ("y", 6)]
    assert fields["price"].numbers is not None
    assert fields["price"].numbers.quantiles["0"] == 0.5
    assert fields["price"].numbers.quantiles["1"] == 11.5
    assert fields["shop"].why == "all rows have the same value"


def test_fields_for_display_and_fields_that_name_their_row_are_no_inputs(shop: Path) -> None:
    items = [f"i{number:03},title {number},code{number},b{number % 20}" for number in range(200)]
    (shop / "products.csv").write_text("\n".join(["sku_id,title,code,brand", *items]) + "\n")
    write_actions(
        shop, [row.replace(",", ",i00", 1).replace("i00a", "i001").replace("i00b", "i002") for row in action_rows()[:2]]
    )
    (shop / "schema.yaml").write_text(
        "user: {id: user_id}\naction: {user: user_id, item: sku_id, time: time, type: type}\n"
        "item: {id: sku_id, fields: {title: {kind: display}, code: {kind: categorical}, brand: {kind: categorical}}}\n"
    )
    assert {field.name: field.why for field in profiled(shop).fields} == {
        "title": "for display",
        "code": "most values occur only once",
        "brand": "",
    }


def test_times_have_a_span_gaps_and_a_resolution(shop: Path) -> None:
    spring = [f"u0{user},a,2024-04-0{day}T10:00:00,view" for user in range(6) for day in (1, 2, 3)]
    write_actions(shop, [*action_rows(), *spring])
    times = profiled(shop).times
    assert times is not None
    assert (times.first, times.last) == ("2024-03-01 10:00", "2024-04-03 10:00")
    assert (times.days, times.active_days, times.resolution, times.unit) == (34, 8, "hour", "day")
    assert [(gap.after, gap.before, gap.days) for gap in times.gaps] == [("2024-03-05", "2024-04-01", 26)]
    series = {bin.label: bin.count for bin in times.series}
    assert len(series) == 34
    assert [series[day] for day in ("2024-03-01", "2024-03-05", "2024-03-06", "2024-04-01")] == [11, 11, 0, 6]
    assert times.unordered == 0


@pytest.mark.parametrize(("stray", "before"), [("1970-01-02", 0), ("2023-06-01", 1), ("2087-05-05", 0)])
def test_stray_times_are_set_apart(shop: Path, stray: str, before: int) -> None:
    """Reading sets aside those that are far away, or later than all others."""
    days = [f"u{user:02},{'abcdef'[user % 6]},2024-{month:02}-{day:02},view"
            for user in range(11) for month in (1, 2) for day in range(1, 29)]  # fmt: skip
    write_actions(shop, [*days, f"u03,a,{stray},view"])
    facts = profiled(shop)
    assert facts.times is not None
    assert facts.times.outlying == before
    assert (facts.times.usual_first, facts.times.usual_last) == ("2024-01-01", "2024-02-28")
    assert facts.times.future == 0
    assert (facts.times.days, len(facts.times.series)) == (59, 59)
    # Strays would make the last quarter empty of everything else.
    assert facts.split.why.startswith("100% of the 11 users active")


@pytest.mark.parametrize(
    ("users", "back", "exists"), [(100, 70, True), (100, 60, False), (200, 90, False), (10, 10, False)]
)
def test_the_split_is_by_date_if_enough_users_return(shop: Path, users: int, back: int, exists: bool) -> None:
    """All users act in the last week of eight; `back` of them acted in the first as well."""
    (shop / "users.csv").write_text(
        "\n".join(["user_id,age,empty", *(f"u{user:02},x," for user in range(users))]) + "\n"
    )
    early = [f"u{user:02},{'abc'[user % 3]},2024-01-0{user % 7 + 1},view" for user in range(back)]
    late = [f"u{user:02},{'def'[user % 3]},2024-02-2{user % 7 + 1},view" for user in range(users)]
    write_actions(shop, early + late)
    split = profiled(shop).split
    assert split.exists is exists
    assert split.why.startswith(f"{back / users:.0%} of the {users} users active in the last quarter")


def test_newcomers_are_counted_in_the_second_half(shop: Path) -> None:
    # Ten weeks; in the second half two users and one item appear for the first time, five weeks long.
    rows = [f"u00,a,2024-01-{day:02},view" for day in range(1, 29)]
    rows += ["u01,b,2024-01-03,view", "u02,b,2024-02-20,view", "u03,c,2024-03-01,view", "u00,a,2024-03-11,view"]
    write_actions(shop, rows)
    new = profiled(shop).newcomers
    assert new is not None
    assert (new.users_per_week, new.items_per_week) == (0.4, 0.2)


def test_new_items_are_told_apart_by_fields(shop: Path) -> None:
    assert profiled(shop).channels[-2].why == "7 items without actions, and recent items with few users, by price, tags"
    (shop / "schema.yaml").write_text(
        "user: {id: user_id}\nitem: {id: sku_id}\naction: {user: user_id, item: sku_id, time: time, type: type}\n"
    )
    assert profiled(shop).channels[-2].why.endswith("; without fields, they all look alike")


def test_every_channel_of_recall_is_described(shop: Path) -> None:
    assert tuple(channel.name for channel in profiled(shop).channels) == CHANNELS


def test_channels_follow_from_the_data(shop: Path) -> None:
    def channels() -> dict[str, bool]:
        return {channel.name: channel.exists for channel in profiled(shop).channels}

    once = {"two_tower": True, "neighbours": True, "popular": True, "bought_before": False, "new": True}
    once["trending"] = True
    assert channels() == once
    write_actions(shop, [*action_rows(), "u00,a,2024-03-06T10:00:00,order"])
    assert channels() == {**once, "bought_before": True}
    (shop / "schema.yaml").write_text((shop / "schema.yaml").read_text() + "repeats: false\n")
    assert channels() == once
    write_actions(shop, [f"u{user:02},a,2024-03-0{user % 9 + 1},view" for user in range(12)])
    assert channels() == {**once, "neighbours": False, "trending": False}


def test_counts_are_binned_by_powers_of_two() -> None:
    counts = of_counts(pl.Series([1, 2, 3, 4, 5, 8, 9, 16, 17]))
    assert bins(counts) == {"1": 1, "2": 1, "3 to 4": 2, "5 to 8": 2, "9 to 16": 2, "17 to 32": 1}


def test_few_distinct_numbers_have_a_column_each() -> None:
    assert bins(of_numbers(pl.Series([5.0, 1.0, 3.0, 3.0, 4.5]))) == {"1": 1, "3": 2, "4.5": 1, "5": 1}


@pytest.mark.parametrize("low", [-50.0, 1.0])
def test_many_numbers_are_all_in_some_column(low: float) -> None:
    numbers = pl.Series([low + 0.25 * number**2 for number in range(500)])
    found = of_numbers(numbers)
    assert len(found.bins) == 24
    assert sum(bin.count for bin in found.bins) == 500
    assert found.quantiles["0"] == low


def test_numbers_that_hardly_vary_are_all_in_some_column() -> None:
    found = of_numbers(pl.Series([1.0] * 10_000 + [2.0 + number for number in range(30)]))
    assert sum(bin.count for bin in found.bins) == 10_030


@pytest.mark.parametrize(
    ("lists", "users", "items", "actions", "memory", "seconds"),
    [
        (31_500, 32_266, 23_812, 817_741, 4418, 194),
        (31_500, 30_000, 350_000, 886_000, 5018, 594),
        (8_640, 300, 300, 9_115, 2177, None),
        (2_894, 849, 1_682, 72_625, 1523, None),
        (17, 671, 9_066, 100_004, 851, None),
    ],
)
def test_the_estimate_is_close_to_what_was_measured(
    lists: int, users: int, items: int, actions: int, memory: int, seconds: int | None
) -> None:
    """Ta-Feng, a shop with many items, a small shop, MovieLens 100k by position, and MovieLens latest-small by date."""
    cost = cost_of(lists, users, items, actions)
    assert cost.memory_mib == pytest.approx(memory, rel=0.12)
    if seconds:
        assert cost.seconds == pytest.approx(seconds, rel=0.1)
