"""The check counts every fault of a copy that was made dirty on purpose."""

import polars as pl
import pytest

from recmesh.profiling import Check, check
from tests.dirty_copy import dirty_copy

SCHEMA = """\
user: {id: user_id, fields: {city: {kind: categorical}}}
item: {id: sku_id, fields: {price: {kind: numeric}}}
action: {user: user_id, item: sku_id, time: action_time, value: value}
"""


@pytest.fixture(scope="module")
def dirty(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, int], Check]:
    """The number of faults, and the check of the copy. No product is damaged, because there are few."""
    source, into = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("dirty")
    (source / "schema.yaml").write_text(SCHEMA)
    pl.DataFrame({"user_id": [f"u{n}" for n in range(1000)], "city": "Rome"}).write_csv(source / "users.csv")
    pl.DataFrame({"sku_id": [f"p{n}" for n in range(97)], "price": 1.5}).write_csv(source / "products.csv")
    days = pl.date_range(pl.date(2000, 11, 1), pl.date(2001, 2, 28), eager=True).to_list()
    rows = [(f"u{n % 1000}", f"p{n % 97}", f"{days[n // 200]}T00:00:00", 1) for n in range(24_000)]
    pl.DataFrame(rows, schema=["user_id", "sku_id", "action_time", "value"], orient="row").write_csv(
        source / "actions.csv"
    )
    return dirty_copy(source, into), check(into)


def test_every_row_is_accounted_for(dirty: tuple[dict[str, int], Check]) -> None:
    faults, result = dirty
    users, _, actions = result.rows
    assert (users.read, users.used, users.duplicates) == (1002, 1000, 2)
    assert actions.rejected == faults["wrong encoding"] + faults["no time"] + faults["future"] > 20
    assert actions.unlisted == faults["unlisted"] + faults["near miss"] > 100
    assert actions.anonymous == faults["no user"] > 100
    assert actions.duplicates == faults["duplicate"] > 100
    lost = actions.duplicates + actions.anonymous + actions.unlisted + actions.rejected
    assert actions.read == actions.used + lost == 24_000 - 20 * 200 + faults["duplicate"]


def test_near_misses_are_counted_once(dirty: tuple[dict[str, int], Check]) -> None:
    faults, result = dirty
    (cause,) = (unused for unused in result.unused if unused.reason == "user_id is not in users")
    assert cause.rows == faults["near miss"]
    assert cause.fix.startswith(f"{faults['near miss']} match after trimming blanks")


def test_faults_in_time_and_in_fields_are_found(dirty: tuple[dict[str, int], Check]) -> None:
    _, result = dirty
    assert result.profile is not None and result.profile.times is not None
    times = result.profile.times
    assert (times.outlying, times.future, times.usual_last) == (0, 0, "2001-02-28")
    assert [(gap.after, gap.before, gap.days) for gap in times.gaps] == [("2001-01-04", "2001-01-25", 20)]
    assert {field.name: field.missing for field in result.profile.fields} == {
        "city": pytest.approx(0.3),
        "price": pytest.approx(0.6, abs=0.01),
    }
    assert (result.verdict, result.exit_code) == ("warnings", 1)
