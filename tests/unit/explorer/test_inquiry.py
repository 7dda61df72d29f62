"""The form of the explorer: what is typed, and what it means."""

from urllib.parse import parse_qsl

import pytest

from recmesh.client import History
from recmesh.contract import DETAILED_ACTIONS
from recmesh.errors import InvalidRequest
from recmesh.explorer.inquiry import Inquiry


def test_an_address_holds_the_whole_form() -> None:
    inquiry = Inquiry(user="a b&c", profile="age=30-34\ncity=115", history="1,order\n2", size="7", new_only="on")
    address = inquiry.query("left_")
    assert Inquiry.of(dict(parse_qsl(address)), "left_") == inquiry
    assert Inquiry.of(dict(parse_qsl(address))).is_empty


def test_a_profile_has_one_field_a_line() -> None:
    assert Inquiry(profile="age = 30-34\n\n city=a=b ").profile_fields == {"age": "30-34", "city": "a=b"}


def test_a_history_may_leave_out_types_and_times() -> None:
    inquiry = Inquiry(history='7,view,2001-02-28\n"a,b",order\n 9 ')
    expected = History(
        sku_ids=("7", "a,b", "9"), times=(983_318_400_000, 5, 5), types=("view", "order", "cart"), values=(1.0,) * 3
    )
    assert inquiry.actions("cart", 5) == expected


@pytest.mark.parametrize(
    ("inquiry", "name", "message"),
    [
        (Inquiry(size="0"), "count", "Items '0': use a number from 1 to 200"),
        (Inquiry(size="ten"), "count", "Items 'ten': use a number from 1 to 200"),
        (Inquiry(profile="age"), "profile_fields", "Profile 'age': write one name=value a line, such as age=30-34"),
        (Inquiry(user="é" * 65), "user_id", f"User: the id '{'é' * 20}'... is longer than 128 bytes"),
    ],
)
def test_a_wrong_value_is_named(inquiry: Inquiry, name: str, message: str) -> None:
    with pytest.raises(InvalidRequest) as raised:
        getattr(inquiry, name)
    assert str(raised.value) == message


@pytest.mark.parametrize(
    ("history", "message"),
    [
        ("1,order,noon", "History: the time 'noon' is no date; write it as 2026-11-29 or leave it out"),
        ("1\n" * (DETAILED_ACTIONS + 1), f"History: {DETAILED_ACTIONS + 1} lines; at most {DETAILED_ACTIONS}"),
    ],
)
def test_a_wrong_history_is_named(history: str, message: str) -> None:
    with pytest.raises(InvalidRequest) as raised:
        Inquiry(history=history).actions("order", 0)
    assert str(raised.value) == message
