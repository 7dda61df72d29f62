"""A text means the same number in a file and in a request."""

import math

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recmesh.dataset import read
from recmesh.dataset.cells import to_number
from recmesh.features.spec import Field
from recmesh.features.vocabulary import FIRST, MISSING, Vocabulary
from recmesh.numbers import parse_number

NUMBERS = {
    "0": 0.0, "-0.5": -0.5, "+7": 7.0, "007": 7.0, ".5": 0.5, "5.": 5.0, "1e3": 1000.0, "1E-2": 0.01,
    " 12\t": 12.0, "1.7976931348623157e308": 1.7976931348623157e308,
    "0.1000000000000000055511151231257827": 0.1, "9007199254740993": 9007199254740992.0,
}  # fmt: skip
NOT_NUMBERS = (
    "", " ", ".", "-", "e5", "nan", "NaN", "-nan", "inf", "Infinity", "-inf", "1e400", "1_000", "1,5", "1 000", "0x10",
    "1e", "--1", "１２", "٣", "1\n", "\xa01", "²", "1\0", "true", "cheap",
)  # fmt: skip


def texts() -> st.SearchStrategy[str]:
    """Any text, and text that is nearly a number."""
    almost = st.text("0123456789+-.eE_ \t,naif１٣", max_size=12)
    return st.one_of(st.text(max_size=6), almost, st.floats().map(repr), st.integers().map(str))


def vocabulary() -> Vocabulary:
    """Make the vocabulary of the numeric field `income`."""
    return Vocabulary(Field(name="income", kind="numeric", bounds=(-1.0, 0.0, 10.0), center=0.5), (), ("", "-1"))


def same(one: float, other: float | None) -> bool:
    """Whether a request's number equals a file's, bit for bit; NaN and null are missing."""
    if other is None or math.isnan(one):
        return other is None and math.isnan(one)
    return one.hex() == other.hex()


@pytest.mark.parametrize("text", NUMBERS)
def test_a_number_is_read_alike(text: str) -> None:
    assert parse_number(text).hex() == NUMBERS[text].hex()
    assert to_number(pl.Series([text])).to_list() == [NUMBERS[text]]


@pytest.mark.parametrize("text", NOT_NUMBERS)
def test_what_is_no_number_is_missing(text: str) -> None:
    assert math.isnan(parse_number(text))
    assert to_number(pl.Series([text])).to_list() == [None]
    assert vocabulary().code(text) == vocabulary().code(None) == MISSING
    assert vocabulary().number(text) == vocabulary().number(None) == 0.0


@given(st.lists(texts(), max_size=50))
@settings(max_examples=200, deadline=None)
def test_files_and_requests_agree_on_any_text(cells: list[str]) -> None:
    numbers = to_number(pl.Series("x", cells, pl.String)).to_list()
    assert [cell for cell, number in zip(cells, numbers, strict=True) if not same(parse_number(cell), number)] == []


@given(cells=st.lists(texts(), min_size=1, max_size=30))
@settings(max_examples=30, deadline=None)
def test_a_field_has_the_code_and_the_number_of_the_file(
    cells: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder, cells = tmp_path_factory.mktemp("shop"), [*cells, "3"]  # a column without any number is an error
    (folder / "schema.yaml").write_text(
        "user: {id: u, fields: {income: {kind: numeric}}}\nitem: {id: i, fields: {}}\n"
        'action: {user: u, item: i, time: t}\nmissing: ["-1"]\n'
    )
    ids = [str(number) for number in range(len(cells))]
    pl.DataFrame({"u": ids, "income": cells}).write_parquet(folder / "users.parquet")
    pl.DataFrame({"i": ["a"]}).write_parquet(folder / "products.parquet")
    pl.DataFrame({"u": ["0"], "i": ["a"], "t": ["2024-01-01"]}).write_parquet(folder / "actions.parquet")

    stored = dict(read(folder).users.select(pl.col("user_id").cast(pl.String), "income").iter_rows())

    of_file, of_request = vocabulary(), vocabulary()
    for user_id, cell in zip(ids, cells, strict=True):
        assert of_file.codes(stored[user_id]) == of_request.codes(cell)
        assert of_file.number(stored[user_id]) == of_request.number(cell)
    assert FIRST <= of_request.code("3") < of_request.size
