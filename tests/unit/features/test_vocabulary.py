import pytest

from recmesh.features.spec import Field
from recmesh.features.vocabulary import Vocabulary


def categorical(*values: str) -> Vocabulary:
    return Vocabulary(Field(name="age", kind="categorical"), values, ("", "-1"))


def test_missing_unseen_and_known_values() -> None:
    age = categorical("1", "2")
    assert [age.code(value) for value in (None, "", "-1", "9", "1", "2")] == [0, 0, 0, 1, 2, 3]
    assert age.unknown == 1


def test_leading_zeros_are_another_value() -> None:
    assert categorical("00123", "123").code("00123") != categorical("00123", "123").code("123")


@pytest.mark.parametrize(("known", "asked"), [("5", "5.0"), ("5.0", "5")])
def test_a_whole_number_is_found_in_either_spelling(known: str, asked: str) -> None:
    assert categorical(known).code(asked) == 2


def test_numeric_values_fall_into_quantile_buckets() -> None:
    price = Vocabulary(Field(name="price", kind="numeric", bounds=(1.0, 10.0)), (), ("",))
    assert [price.code(value) for value in ("0.5", "1", "9.99", "1e9", "nan", "inf", "cheap", "")] == [
        2, 3, 3, 4, 1, 1, 1, 0,
    ]  # fmt: skip
    assert price.number("cheap") == price.number("") == 0.0


def test_multi_values_are_split_filled_up_and_cut() -> None:
    genres = Vocabulary(Field(name="genres", kind="multi", separator="|", width=2), ("drama", "war"), ("",))
    assert genres.codes("war|drama") == [3, 2]
    assert genres.codes("war") == [3, 0]
    assert genres.codes("war|war| drama |x") == [3, 2]
    assert genres.codes(None) == [0, 0]
