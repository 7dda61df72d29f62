"""A small data set as training encodes it, worked out by hand."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from jobs.train.data.prepare import Prepared, prepare
from recmesh.dataset import Action, DataSet, Field, Report, Schema, Side
from recmesh.dataset.schema import Value
from recmesh.errors import DataError
from recmesh.features.spec import DAY_MS

USERS = [f"u{number:02}" for number in range(12)]
ITEMS = [f"i{number:02}" for number in range(10)]
START = 19_700 * DAY_MS


def shop(
    rows: list[tuple[int, int, int, str, float]] | None = None,
    positive: str = "> 0",
    time: str | None = "t",
    weights: dict[str, float] | None = None,
    **changes: Any,
) -> DataSet:
    """Five days of orders: user u buys item (u + day) % 10 each day; and some more rows."""
    usual = [(user, (user + day) % 10, START + day * DAY_MS, "order", 1.0) for user in range(12) for day in range(5)]
    all_rows = sorted([*usual, *(rows or [])], key=lambda row: row[2])
    columns: list[Any] = [list(column) for column in zip(*all_rows, strict=True)]
    actions = pl.DataFrame(
        {
            "user_id": pl.Series([USERS[user] for user in columns[0]], dtype=pl.Enum(USERS)),
            "sku_id": pl.Series([ITEMS[item] for item in columns[1]], dtype=pl.Enum(ITEMS)),
            "time": pl.Series(columns[2], dtype=pl.Int64),
            "type": pl.Series(columns[3], dtype=pl.Enum(sorted(set(columns[3])))),
            "value": pl.Series(columns[4], dtype=pl.Float32),
        }
    )
    action = Action(
        user="u", item="i", time=time, type="k", value=Value(column="v", positive=positive), weights=weights or {}
    )
    schema = Schema(
        user=Side(id="u", fields={"age": Field(kind="categorical"), "name": Field(kind="display")}),
        item=Side(
            id="i",
            fields={
                "cate": Field(kind="categorical"),
                "tags": Field(kind="multi", separator=";"),
                "price": Field(kind="numeric"),
            },
        ),
        action=action,
        missing=("", "NA"),
        **changes,
    )
    users = pl.DataFrame(
        {"user_id": USERS, "age": ["2", "1", None, *["1"] * 9], "name": USERS},
        schema={"user_id": pl.String, "age": pl.String, "name": pl.String},
    )
    items = pl.DataFrame(
        {
            "sku_id": ITEMS,
            "cate": ["tea", None, *["mug"] * 8],
            "tags": ["x; ;y", "y", " ; x;x", None, "z", *["x"] * 5],
            "price": ["0", "1", "3", "odd", None, *["1"] * 5],
        }
    )
    return DataSet(Path("shop"), schema, "f" * 64, users, items, actions, None, Report())


@pytest.fixture(scope="module")
def encoded() -> Prepared:
    return prepare(shop())


def test_fields_that_models_read_have_vocabularies(encoded: Prepared) -> None:
    assert [v.field.name for v in encoded.user_vocabularies] == ["age"]
    assert encoded.user_vocabularies[0].values == ("1", "2")
    assert [(v.field.name, v.field.kind, v.values) for v in encoded.item_vocabularies] == [
        ("cate", "categorical", ("mug", "tea")),
        ("tags", "multi", ("x", "y", "z")),
        ("price", "numeric", ()),
    ]
    tags = encoded.item_vocabularies[1].field
    assert (tags.separator, tags.width) == (";", 2)
    assert encoded.spec.user_fields == tuple(v.field for v in encoded.user_vocabularies)
    assert encoded.spec.item_fields == tuple(v.field for v in encoded.item_vocabularies)
    assert encoded.item_vocabularies[0].code("NA") == 0


def test_a_numeric_field_has_the_twentieths_of_its_values_and_the_moments_of_their_logarithms(
    encoded: Prepared,
) -> None:
    """Prices 0, 1 six times, and 3; quantiles by linear interpolation between the eight."""
    price = encoded.item_vocabularies[2].field
    prices = np.array([0, 1, 1, 1, 1, 1, 1, 3])
    # Ranks 0.05 to 0.95 times 7: below rank 1 they lie between 0 and 1, above rank 6 between 1 and 3.
    assert price.bounds == pytest.approx([0.35, 0.7, 1, 1 + 2 * 0.3, 1 + 2 * 0.65], abs=1e-9)
    logs = np.log1p(prices)
    assert (price.center, price.scale) == pytest.approx((logs.mean(), logs.std()))
    numbers = encoded.catalogue.numbers[:5, 2]
    assert numbers.tolist() == pytest.approx([*((logs[[0, 1, 7]] - logs.mean()) / logs.std()), 0, 0], rel=1e-5)
    assert encoded.catalogue.numbers[:, :2].any() == np.False_


def test_codes_start_at_2_and_0_is_missing(encoded: Prepared) -> None:
    assert encoded.user_codes.tolist() == [[3], [2], [0], *[[2]] * 9]
    cate, tags, _ = encoded.catalogue.codes
    assert cate[:3].tolist() == [[3], [0], [2]]
    assert tags[:5].tolist() == [[2, 3], [3, 0], [2, 0], [0, 0], [4, 0]]
    assert list(encoded.catalogue.sku_ids) == ITEMS


def test_actions_are_sorted_by_user_and_time(encoded: Prepared) -> None:
    assert encoded.start.tolist() == list(range(0, 61, 5))
    assert encoded.users.tolist() == np.repeat(np.arange(12), 5).tolist()
    assert encoded.items[:10].tolist() == [0, 1, 2, 3, 4, 1, 2, 3, 4, 5]
    assert encoded.times[:5].tolist() == [START + day * DAY_MS for day in range(5)]
    assert encoded.types.dtype == np.int8 and not encoded.types.any()
    assert (encoded.values == 1).all() and encoded.positive.all() and not encoded.returns.any()
    assert encoded.pairs(slice(3, 6)).tolist() == [3, 4, 11]
    assert encoded.known(encoded.start[:-1] + 2)[:4].tolist() == [0, 1, 5, 6]


def test_the_spec_says_what_serving_must_know(encoded: Prepared) -> None:
    spec = encoded.spec
    assert (spec.as_of, spec.granularity) == (START + 5 * DAY_MS, DAY_MS)
    assert (spec.repeats, spec.clock, spec.missing) == (True, False, ("", "NA"))
    assert dict(spec.action_weights) == {"order": 1.0}
    assert spec.values is not None and str(spec.values) == "> 0"
    assert (spec.popularities, spec.channels) == ((), {})
    assert encoded.active.end == spec.as_of


def test_times_within_a_day_have_the_resolution_of_a_millisecond() -> None:
    spec = prepare(shop([(0, 0, START + 4 * DAY_MS + 7, "order", 1)])).spec
    assert (spec.granularity, spec.as_of) == (1, START + 4 * DAY_MS + 8)


def test_without_times_there_is_no_time_of_the_release() -> None:
    assert prepare(shop(time=None)).spec.as_of == 0


def test_types_have_weights_and_returns_take_back() -> None:
    """User 0 views item 9, orders two of item 8 and returns them. Views weigh a tenth of orders."""
    late = START + 4 * DAY_MS
    rows = [(0, 9, late, "view", 1.0), (0, 8, late, "order", 2.0), (0, 8, late + DAY_MS, "order", -2.0)]
    data = prepare(shop(rows, weights={"view": 0.3, "order": 3}))
    assert dict(data.spec.action_weights) == {"order": 3, "view": 0.3}
    own = slice(5, 8)
    assert data.items[own].tolist() == [9, 8, 8]
    assert data.types[own].tolist() == [1, 0, 0]
    assert data.weights[own].tolist() == pytest.approx([0.1, 1, 0])
    assert data.returns[own].tolist() == [False, False, True]
    assert data.positive[own].tolist() == [True, False, False]
    assert data.weights_of(own).tolist() == pytest.approx([0.1, 0, 0])
    # The return is not among these, so the order counts.
    assert data.weights_of(slice(5, 7)).tolist() == pytest.approx([0.1, 1])
    kept = data.only(np.array([0, 6, 8]))
    assert (kept.start.tolist(), kept.items.tolist()) == ([0, 2, *[3] * 11], [0, 8, 1])
    assert kept.positive.tolist() == [True, False, True]


def test_weights_by_value_have_the_mean_1() -> None:
    """Values 1 and 3 weigh log2(2) = 1 and log2(4) = 2."""
    data = shop([(0, 9, START, "order", 3.0)])
    action = data.schema.action.model_copy(update={"weight_by": "value"})
    schema = data.schema.model_copy(update={"action": action})
    weights = prepare(DataSet(**{**vars(data), "schema": schema})).weights
    mean = (60 * 1 + 2) / 61
    assert sorted(set(weights.tolist())) == pytest.approx([1 / mean, 2 / mean])


def test_too_few_positive_actions_are_refused() -> None:
    rows = [(0, 0, START, "order", 5.0)] * 49
    with pytest.raises(DataError, match="only 49 of 109 actions are positive; training needs at least 50"):
        prepare(shop(rows, positive=">= 5"))
    prepare(shop([*rows, rows[0]], positive=">= 5"))


def test_a_data_set_that_is_too_small_is_refused() -> None:
    data = shop()
    few = DataSet(**{**vars(data), "actions": data.actions[:49]})
    with pytest.raises(DataError, match=r"^shop: 49 actions are too few; training needs at least 50"):
        prepare(few)


def test_cells_of_more_than_eight_values_are_cut() -> None:
    data = shop()
    tags = pl.Series("tags", [";".join("abcdefghij"), *data.items["tags"][1:].to_list()])
    made = prepare(DataSet(**{**vars(data), "items": data.items.with_columns(tags)}))
    assert made.item_vocabularies[1].field.width == 8
    assert made.catalogue.codes[1].shape == (11, 8)


@pytest.mark.parametrize("cells", [[None] * 10, ["odd"] * 10])
def test_a_numeric_field_without_numbers(cells: list[str | None]) -> None:
    data = shop()
    price = pl.Series("price", cells, dtype=pl.String)
    field = prepare(DataSet(**{**vars(data), "items": data.items.with_columns(price)})).item_vocabularies[2].field
    assert (field.kind, field.center, field.scale, field.bounds) == ("numeric", 0, 1, ())


@pytest.mark.parametrize(("price", "center"), [("0", 0), ("7", pytest.approx(2.0794415))])
def test_a_numeric_field_without_spread_is_not_scaled(price: str, center: float) -> None:
    """The computed deviation of ten times log 8 is not 0."""
    data = shop()
    prices = pl.Series("price", [price] * 10)
    field = prepare(DataSet(**{**vars(data), "items": data.items.with_columns(prices)})).item_vocabularies[2].field
    assert (field.center, field.scale, field.bounds) == (center, 1, (float(price),))


def test_without_fields_users_have_no_codes() -> None:
    data = shop()
    schema = data.schema.model_copy(update={"user": Side(id="u"), "item": Side(id="i")})
    made = prepare(DataSet(**{**vars(data), "schema": schema}))
    assert made.user_codes.shape == (12, 0)
    assert (made.catalogue.codes, made.catalogue.numbers.shape[1]) == ([], 0)


def test_of_a_multi_field_of_users_the_first_value_counts() -> None:
    data = shop()
    side = Side(id="u", fields={"hobbies": Field(kind="multi", separator="|")})
    schema = data.schema.model_copy(update={"user": side})
    users = data.users.with_columns(pl.Series("hobbies", ["b|a", "a", "c|b|a", None, *["a"] * 8]))
    made = prepare(DataSet(**{**vars(data), "schema": schema, "users": users}))
    assert made.user_codes[:4].tolist() == [[3], [2], [4], [0]]
    assert made.user_vocabularies[0].field.separator == "|"
