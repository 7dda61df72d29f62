"""The keys `value`, `positive` and `weight_by`, fields for display, and what the report says about them."""

from collections.abc import Sequence

import numpy as np
import polars as pl
import pytest

from recmesh.dataset import DataSet, Schema, read
from recmesh.dataset.inputs import FEW_VALUES, Values, is_input
from recmesh.dataset.schema import Field
from recmesh.dataset.values import action_weights
from recmesh.errors import DataError

from .conftest import SCHEMA, MakeFolder

HEADER = "user_id,sku_id,action_time,type,value\n"


def declared(value: str) -> str:
    """Return the schema with another declaration of the value."""
    assert "value: value," in SCHEMA
    return SCHEMA.replace("value: value,", f"{value},").replace("view: 0.1, order: 3", "view: 0.5, order: 1")


def with_values(folder: MakeFolder, value: str, rows: Sequence[str]) -> DataSet:
    """Read the small data set with other actions, one a line: user, item, day, type and value."""
    lines = "".join(
        f"{user},{item},2024-01-{day},{kind},{amount}\n" for user, item, day, kind, amount in map(str.split, rows)
    )
    return read(folder({"schema.yaml": declared(value), "actions.csv": HEADER + lines}))


def weights_by_row(data: DataSet) -> dict[tuple[str, float], float]:
    """Return the weights of the actions by user and value."""
    users, values = data.actions["user_id"].cast(pl.String).to_list(), data.actions["value"].to_list()
    return dict(zip(zip(users, values, strict=True), action_weights(data.schema, data.actions).tolist(), strict=True))


def sentences(data: DataSet) -> list[str]:
    """Return what the report says about the values."""
    assert data.report.values is not None
    said = list(data.report.values.sentences())
    assert [notice for notice in data.report.notices if notice.startswith("value: ")] == said
    return said


RATINGS = ["101 a 01 order 5", "101 b 02 order 1", "102 a 03 view 4", "103 c 04 order 2.5"]
QUANTITIES = ["101 a 01 order 3", "101 a 02 order -3", "102 b 03 order 1", "103 b 03 order -1", "103 c 04 view 0"]


def test_the_short_form_names_the_column() -> None:
    short, long = (
        Schema.parse(declared("value: value")),
        Schema.parse(declared('value: {column: value, positive: "> 0"}')),
    )
    assert short == long
    assert short.action.weight_by is None
    assert Schema.parse(short.dump()) == short
    weighted = Schema.parse(declared('value: {column: value, positive: ">= 4.1"}, weight_by: value'))
    assert Schema.parse(weighted.dump()) == weighted
    assert weighted.action.rule is not None
    assert (weighted.action.rule.bound, weighted.action.rule.weighted) == (4.1, True)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("value: {column: value, positive: 4}", 'action.value.positive: "4" is not a condition; write a comparison'),
        ("value: {column: value, positives: '> 4'}", 'action.value.positives: unknown key; did you mean "positive"?'),
        ("value: {positive: '> 4'}", "action.value.column: missing"),
        ("value: ''", "action.value.column: name the column of the values"),
        ("value: value, weight_by: rating", 'action.weight_by: "rating" is not one of value'),
        ("weight_by: value", "action: weight_by: value needs a value: column"),
        (
            'value: {column: value, positive: ">= 0"}, weight_by: value',
            'action: weight_by: value needs values above 0, but value.positive: ">= 0" accepts others',
        ),
        ('value: {column: value, positive: "< 3"}, weight_by: value', '"< 3" accepts others'),
    ],
)
def test_an_error_names_its_key(value: str, said: str) -> None:
    with pytest.raises(DataError) as caught:
        Schema.parse(declared(value))
    assert said in str(caught.value)


def test_ratings_by_default_and_with_a_bound(folder: MakeFolder) -> None:
    data = with_values(folder, "value: value", RATINGS)
    assert action_weights(data.schema, data.actions).tolist() == [1, 1, 0.5, 1]
    assert sentences(data) == [
        "value: all 4 actions are positive (value > 0) and count alike; value is 1 to 5. "
        'To tell them apart, declare positive: ">= ..." or weight_by: value'
    ]
    bounded = with_values(folder, 'value: {column: value, positive: ">= 4"}', RATINGS)
    assert action_weights(bounded.schema, bounded.actions).tolist() == [1, 0, 0.5, 0]
    assert sentences(bounded) == [
        "value: 2 of 4 actions are not positive (value >= 4 does not hold); "
        "they stay in the histories and teach nothing else"
    ]
    assert len({data.fingerprint, bounded.fingerprint}) == 2


def test_quantities_and_returns_by_default(folder: MakeFolder) -> None:
    data = with_values(folder, "value: value", QUANTITIES)
    # 101 returns what was bought; the return of 103 finds no purchase.
    assert weights_by_row(data) == {("101", 3): 0, ("101", -3): 0, ("102", 1): 1, ("103", -1): 0, ("103", 0): 0}
    assert sentences(data) == [
        "value: 3 of 5 actions are not positive (value > 0 does not hold); "
        "they stay in the histories and teach nothing else",
        'value: 1 of them have value 0; if 0 does not mean "no", declare value: {column: value, positive: ">= 0"}',
        "value: 2 actions with value below 0 are returns and take back 1 earlier actions of the same user and item; "
        "1 find none",
    ]


def test_weight_by_value(folder: MakeFolder) -> None:
    data = with_values(
        folder, "value: value, weight_by: value", ["101 a 01 order 7", "102 a 02 order 1", "103 b 03 view 3"]
    )
    assert action_weights(data.schema, data.actions).tolist() == [3, 1, 1]
    assert sentences(data) == ["value: positive actions count by log2(1 + value); value is 1 to 7"]
    assert data.fingerprint != with_values(folder, "value: value", RATINGS).fingerprint


def test_a_missing_value_is_1_and_needs_no_sentence(folder: MakeFolder) -> None:
    data = read(folder({"actions.csv": HEADER + "101,a,2024-01-01,view,\n102,b,2024-01-02,order,1\n"}))
    assert sentences(data) == []
    without = SCHEMA.replace("value: value, ", "")
    assert read(folder({"schema.yaml": without})).report.values is None


LONG = "Zwölf Boxkämpfer 📚 " * 800


def test_fields_for_display_keep_any_text(folder: MakeFolder) -> None:
    schema = SCHEMA.replace("brand: {kind: categorical}", "brand: {kind: display}")
    products = f'sku_id,brand,cate,price\na,"{LONG}",1,2.5\nb,https://example.org/ü?q=1,1,10\nc,,2,\n'
    data = read(folder({"schema.yaml": schema, "products.csv": products}))
    assert data.items["brand"].to_list() == [LONG, "https://example.org/ü?q=1", None]
    assert not is_input(data.schema.item.fields["brand"], data.items["brand"])
    assert [(f.name, f.kind, f.values) for f in data.report.fields if f.name == "brand"] == [("brand", "display", 2)]
    assert not [notice for notice in data.report.notices if "brand" in notice]


@pytest.mark.parametrize(
    ("cells", "too_distinct"),
    [
        ([f"title {k}" for k in range(150)], True),
        ([f"title {k}" for k in range(FEW_VALUES)], False),
        ([f"title {k // 2}" for k in range(400)], False),
        # 101 single values among 202 and 201 cells: exactly half, and more than half.
        ([*(f"title {k}" for k in range(101)), *["x"] * 101], False),
        ([*(f"title {k}" for k in range(101)), *["x"] * 100], True),
        (["", *(f"title {k}" for k in range(150))], True),
    ],
)
def test_a_field_with_a_value_for_nearly_every_item_is_no_input(
    cells: list[str], too_distinct: bool, folder: MakeFolder
) -> None:
    products = "sku_id,brand,cate,price\n" + "".join(f"{k},{cell},1,1\n" for k, cell in enumerate(cells))
    data = read(folder({"products.csv": products, "actions.csv": HEADER + "101,0,2024-01-01,view,\n"}))
    assert is_input(Field(kind="categorical"), data.items["brand"]) is not too_distinct
    known = set(cells) - {""}
    single = len([cell for cell in known if cells.count(cell) == 1])
    notice = (
        f'item field "brand": {single} of its {len(known)} values occur only once, so it is kept for display and '
        "no model reads it; declare kind: display"
    )
    assert (notice in data.report.notices) is too_distinct


def test_the_parts_of_a_multi_field_are_counted(folder: MakeFolder) -> None:
    schema = SCHEMA.replace("brand: {kind: categorical}", 'brand: {kind: multi, separator: "|"}')
    products = "sku_id,brand,cate,price\n" + "".join(f"{k}, new | word {k}|,1,1\n" for k in range(150))
    data = read(
        folder({"schema.yaml": schema, "products.csv": products, "actions.csv": HEADER + "101,0,2024-01-01,view,\n"})
    )
    values = Values.of(data.schema.item.fields["brand"], data.items["brand"])
    assert values.counts.row(0) == ("new", 150)
    assert (values.single, len(values.counts), values.too_distinct) == (150, 151, False)


def test_of_very_many_values_the_most_frequent_are_told_apart(
    monkeypatch: pytest.MonkeyPatch, folder: MakeFolder
) -> None:
    monkeypatch.setattr("recmesh.dataset.inputs.MAX_VALUES", 2)
    data = read(folder({"products.csv": "sku_id,brand,cate,price\na,x,1,1\nb,y,1,1\nc,z,1,1\nd,z,1,1\n"}))
    assert Values.of(Field(kind="categorical"), data.items["brand"]).vocabulary() == ["x", "z"]
    assert 'item field "brand": models read the 2 most frequent of its 3 values' in data.report.notices


def test_a_missing_value_says_nothing_against_an_action(folder: MakeFolder) -> None:
    rows = "101,a,2024-01-01,order,\n102,b,2024-01-02,order,2\n103,b,2024-01-03,order,4\n"
    schema = declared('value: {column: value, positive: ">= 3"}')
    data = read(folder({"schema.yaml": schema, "actions.csv": HEADER + rows}))
    assert data.actions["value"].to_list() == [3, 2, 4]
    assert action_weights(data.schema, data.actions).tolist() == [1, 0, 1]


def test_a_marker_for_missing_values_is_reported(folder: MakeFolder) -> None:
    rows = "101,a,2024-01-01,order,-1\n102,b,2024-01-02,order,-1\n103,b,2024-01-03,order,\n"
    data = read(folder({"schema.yaml": SCHEMA + 'missing: ["-1"]', "actions.csv": HEADER + rows}))
    assert data.actions["value"].to_list() == [1, 1, 1]
    assert (
        'action.value: 2 cells contain "-1", which `missing` declares unknown; they count as 1. '
        'If they are values, remove "-1" from missing'
    ) in data.report.notices


def test_weights_do_not_depend_on_the_order_of_rows(folder: MakeFolder) -> None:
    rows = [f"{100 + k % 3 + 1} {'abc'[k % 2]} {k // 4 + 1:02} order {k % 5 - 2}" for k in range(60)]
    data = with_values(folder, "value: value", rows)
    again = with_values(folder, "value: value", rows[::-1])
    assert np.array_equal(action_weights(data.schema, data.actions), action_weights(again.schema, again.actions))
