"""Conditions: how they are written, and which items meet them."""

import re

import pytest

from recmesh.conditions import Condition, field_values, item_values
from recmesh.errors import InvalidRequest
from recmesh.filters import to_conditions, to_message
from recmesh.pb import filter_pb2


@pytest.mark.parametrize(
    ("text", "condition"),
    [
        ("cate=12", Condition("cate", any_of=("12",))),
        (" cate = 12 , 13,12 ", Condition("cate", any_of=("12", "13"))),
        ("cate!=5", Condition("cate", none_of=("5",))),
        ("cate!=5,6", Condition("cate", none_of=("5", "6"))),
        ("price>=3", Condition("price", minimum=3)),
        ("price <= -9.5e1", Condition("price", maximum=-95)),
        ("price=3..9", Condition("price", minimum=3, maximum=9)),
        ("price=-1.5...5", Condition("price", minimum=-1.5, maximum=0.5)),
        ("price!=3..9", Condition("price", none_of=("3..9",))),
        ('price="3..9"', Condition("price", any_of=("3..9",))),
        ("version=1..b", Condition("version", any_of=("1..b",))),
        ('brand="Ben, Jerry",Mars', Condition("brand", any_of=("Ben, Jerry", "Mars"))),
        ('brand="the ""best"" one"', Condition("brand", any_of=('the "best" one',))),
        ('brand=" padded "', Condition("brand", any_of=(" padded ",))),
        ('"a=b!">=2', Condition("a=b!", minimum=2)),
        ("url=page?a=b&c!=d", Condition("url", any_of=("page?a=b&c!=d",))),
        ("main genre=Sci-Fi and more", Condition("main genre", any_of=("Sci-Fi and more",))),
        ("sku_id=0012,99654", Condition("sku_id", any_of=("0012", "99654"))),
    ],
)
def test_texts_are_read(text: str, condition: Condition) -> None:
    assert Condition.parse(text) == condition


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("cate", "is not a condition: write cate=12,13"),
        ("", "is not a condition"),
        ("=12", "is not a condition"),
        ("price>3", "is not a condition"),
        ("price<3", "is not a condition"),
        ("cate=", "expected values"),
        ("cate=1,,2", "expected values"),
        ("cate=1,", "expected values"),
        ("cate==1", "expected values"),
        ('cate="1', "expected values"),
        ('cate=1"2', "expected values"),
        ("price>=", "'' is not a number"),
        ("price>=nan", "'nan' is not a number"),
        ("price>=3,4", "'3,4' is not a number"),
        ("price=9..3", "no number is in the range from 9.0 to 3.0"),
        ("sku_id>=3", "sku_id has no range"),
        ('""=3', "names no field"),
        ("cate\n=", "expected values"),
    ],
)
def test_texts_that_are_no_conditions_are_named_on_one_line(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=re.escape(reason)) as error:
        Condition.parse(text)
    message = str(error.value)
    assert repr(text) in message
    assert "\n" not in message


ITEM = item_values(
    "0012",
    {"cate": "12", "price": "5.50", "genres": "drama| comedy ||drama", "city": "NA"},
    {"genres": "|"},
    ("", "NA"),
)


def test_an_item_has_the_values_of_its_fields() -> None:
    assert ITEM == {
        "sku_id": ("0012",),
        "cate": ("12",),
        "price": ("5.50",),
        "genres": ("drama", "comedy"),
        "city": (),
    }
    assert field_values("a|b", None, ()) == ("a|b",)


@pytest.mark.parametrize(
    "text",
    [
        "cate=12",
        "cate=11,12",
        "cate!=11",
        "price>=5.5",
        "price<=5.5",
        "price=5..6",
        "price=5.50",
        "genres=comedy,horror",
        "genres!=horror",
        "city!=4",
        "country!=4",
        "sku_id=0012",
        "sku_id!=12",
    ],
)
def test_an_item_meets_a_condition(text: str) -> None:
    assert Condition.parse(text).met_by(ITEM)


@pytest.mark.parametrize(
    "text",
    [
        "cate=1,2",
        "cate!=11,12",
        "price>=5.51",
        "price<=5.49",
        "price=6..7",
        "price=5.5",
        "genres=horror",
        "genres!=comedy",
        "genres>=0",
        "city=NA",
        "city<=4",
        "country=4",
        "sku_id=12",
        "sku_id!=0012",
    ],
)
def test_an_item_does_not_meet_a_condition(text: str) -> None:
    assert not Condition.parse(text).met_by(ITEM)


def test_all_parts_must_hold() -> None:
    both = Condition("genres", any_of=("comedy",), none_of=("drama",))
    assert both.met_by({"genres": ("comedy", "horror")})
    assert not both.met_by({"genres": ("comedy", "drama")})
    assert not both.met_by({"genres": ("horror",)})
    assert not both.met_by({})
    # One value must be within both bounds.
    assert not Condition("sizes", minimum=3, maximum=5).met_by({"sizes": ("2", "6")})


def test_messages_are_conditions_and_back() -> None:
    conditions = (
        Condition("cate", any_of=("12", "13"), none_of=("5",), minimum=0, maximum=13),
        Condition("price", maximum=9.5),
        Condition("sku_id", none_of=("99654",)),
    )
    message = to_message(conditions)
    assert message is not None
    assert to_conditions(message) == conditions
    assert message.conditions[1].range == filter_pb2.Condition.Range(max=9.5)
    assert not message.conditions[2].HasField("range")
    assert to_message(()) is None


def test_a_message_without_a_condition_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="filter: the condition on cate is empty: give any_of, none_of or a range"):
        to_conditions(filter_pb2.Filter(conditions=[filter_pb2.Condition(field="cate")]))
    with pytest.raises(InvalidRequest, match="filter: a condition names no field"):
        to_conditions(filter_pb2.Filter(conditions=[filter_pb2.Condition(any_of=["1"])]))
    nan = filter_pb2.Condition(field="price", range=filter_pb2.Condition.Range(min=float("nan")))
    with pytest.raises(InvalidRequest, match="no number is in the range from nan"):
        to_conditions(filter_pb2.Filter(conditions=[nan]))
