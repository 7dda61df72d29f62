"""Codes of field values."""

import pytest

from recmesh.features.spec import Field
from recmesh.features.vocabulary import Vocabulary


def categorical(*values: str) -> Vocabulary:
    """Make the vocabulary of a categorical field."""
    return Vocabulary(Field(name="age", kind="categorical"), values, ("", "-1"))


def test_missing_unseen_and_known_values() -> None:
    age = categorical("1", "2")
    assert [age.code(value) for value in (None, "", "-1", "9", "1", "2")] == [0, 0, 0, 1, 2, 3]
    assert age.unknown == 1


def test_a_value_with_leading_zeros_is_a_value_of_its_own() -> None:
    assert categorical("00123", "123").code("00123") != categorical("00123", "123").code("123")


@pytest.mark.parametrize(("known", "value"), [("5", "5.0"), ("5.0", "5")])
def test_a_whole_number_is_found_in_both_spellings(known: str, value: str) -> None:
    assert categorical(known).code(value) == 2


def test_numeric_values_fall_into_quantile_buckets() -> None:
    price = Vocabulary(Field(name="price", kind="numeric", bounds=(1.0, 10.0)), (), ("",))
    assert [price.code(value) for value in ("0.5", "1", "9.99", "1e9", "nan", "inf", "cheap", "")] == [
        2, 3, 3, 4, 0, 0, 0, 0,
    ]  # fmt: skip
    assert price.unknown == 3
    assert price.number("cheap") == price.number("") == 0.0


def test_multi_values_are_split_padded_and_cut() -> None:
    genres = Vocabulary(Field(name="genres", kind="multi", separator="|", width=2), ("drama", "war"), ("",))
    assert genres.codes("war|drama") == [3, 2]
    assert genres.codes("war") == [3, 0]
    assert genres.codes("war|war| drama |x") == [3, 2]
    assert genres.codes(None) == [0, 0]
