"""The verdict on a data set, on the terminal, as JSON and as a page."""

import json
import re
from itertools import pairwise
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from recmesh.cli.main import app
from recmesh.profiling import Check, check, page
from tests.unit.profiling.conftest import action_rows, write_actions

NOW = 1_735_689_600_000
"""2025-01-01"""


def ran(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["dataset", "check", *map(str, arguments)], env={"COLUMNS": "150"})


def texts(result: Check, level: str) -> list[str]:
    return [finding.text for finding in result.findings if finding.level == level]


@pytest.fixture
def fine(shop: Path) -> Path:
    """The shop without what deserves a warning."""
    schema = shop / "schema.yaml"
    schema.write_text(schema.read_text().replace(", empty: {kind: categorical}", ""))
    write_actions(shop, [*action_rows(), "u00,a,2024-03-06T10:00:00,order"])
    return shop


def test_a_good_data_set_is_fine(fine: Path) -> None:
    result = check(fine, now=NOW)
    assert (result.verdict, result.exit_code) == ("fine", 0)
    assert texts(result, "warning") == []
    assert texts(result, "note") == [
        "7 of 12 items have no actions",
        'field "shop" of items: all rows have the same value, so it tells models nothing',
    ]
    assert ran(fine).exit_code == 0


def test_rejected_rows_are_a_warning_with_an_example(fine: Path) -> None:
    write_actions(fine, [*action_rows(), "u00,a,yesterday,order", "u01,b,never,order"])
    result = check(fine, now=NOW)
    assert (result.verdict, result.exit_code) == ("warnings", 1)
    (warning,) = texts(result, "warning")
    assert warning.startswith("actions: 2 of 57 rows cannot be used; the reason for 2 of them: time is not")
    (unused,) = result.unused
    assert (unused.kind, unused.fate, unused.rows, unused.first) == ("actions", "invalid", 2, "actions.csv line 57")
    assert (unused.example, unused.cell) == ("u00,a,yesterday,order", "yesterday")
    actions = result.rows[-1]
    assert (actions.kind, actions.read, actions.used, actions.rejected) == ("actions", 57, 55, 2)


def test_too_many_rejected_rows_are_unusable_but_described(fine: Path) -> None:
    write_actions(fine, [*action_rows(), *["u00,a,yesterday,order"] * 20])
    result = check(fine, now=NOW)
    assert (result.verdict, result.exit_code) == ("unusable", 2)
    (error,) = texts(result, "error")
    assert error.startswith("actions: 20 of 75 rows cannot be used")
    assert result.profile is not None and result.rows[-1].rejected == 20


def test_too_few_actions_are_unusable(fine: Path) -> None:
    write_actions(fine, action_rows()[:40])
    result = check(fine, now=NOW)
    assert texts(result, "error") == [
        "40 actions are too few; training needs at least 50",
        "8 users with actions are too few; training needs at least 10",
    ]


def test_a_data_set_without_actions_is_described(fine: Path) -> None:
    write_actions(fine, [])
    result = check(fine, now=NOW)
    assert texts(result, "error")[0] == "0 actions are too few; training needs at least 50"
    assert result.profile is not None
    assert (result.profile.times, result.profile.newcomers, result.profile.split.exists) == (None, None, False)
    assert "There are no times." in page(result)


def test_a_data_set_without_times_is_described(fine: Path) -> None:
    schema = fine / "schema.yaml"
    schema.write_text(schema.read_text().replace("time: time, ", ""))
    profile = check(fine, now=NOW).profile
    assert profile is not None
    assert (profile.times, profile.newcomers, profile.split.exists) == (None, None, False)
    assert profile.split.why == "there are no times"


def test_a_data_set_that_cannot_be_read_is_unusable(shop: Path) -> None:
    (shop / "schema.yaml").write_text(
        "user: {id: user_id}\nitem: {id: sku_id}\naction: {user: user_id, items: sku_id, time: time}\n"
    )
    result = check(shop, now=NOW)
    assert (result.verdict, result.rows, result.profile) == ("unusable", (), None)
    assert "action.items: unknown key" in texts(result, "error")[0]
    assert "action.items: unknown key" in page(result)
    checked = ran(shop)
    assert checked.exit_code == 2
    assert "error: " in checked.stdout and "verdict: unusable" in checked.stdout


def test_gaps_and_wrong_clocks_are_warnings(fine: Path) -> None:
    rows = [f"u{user:02},{'abcdef'[user % 6]},2024-{month:02}-{day:02},view"
            for user in range(11) for month in (1, 4) for day in range(1, 29)]  # fmt: skip
    write_actions(fine, [*rows, "u00,a,2087-01-01,order", "u00,a,1971-01-01,order"])
    result = check(fine, now=NOW)
    assert texts(result, "warning") == [
        "actions: 2 of 618 rows cannot be used; the reason for 1 of them: time is up to 53.0 years before all others, "
        'which begin on 2024-01-01, such as "1971-01-01" (first: actions.csv line 619)',
        "no actions for 63 days between 2024-01-28 and 2024-04-01",
    ]


def test_actions_in_the_future_are_a_warning(fine: Path) -> None:
    result = check(fine, now=1_709_424_000_000)  # 2024-03-03
    assert texts(result, "warning") == ["34 actions are in the future, to 2024-03-06 10:00"]


def test_fields_without_values_are_a_warning_that_names_the_key(shop: Path) -> None:
    (finding,) = (finding for finding in check(shop, now=NOW).findings if finding.level == "warning" and finding.fix)
    assert finding.text == 'field "empty" of users: all values are missing'
    assert "user.fields.empty in schema.yaml" in finding.fix


def test_the_schema_should_fit_the_repeats(fine: Path) -> None:
    schema = fine / "schema.yaml"
    repeated = [row.replace("2024-03", "2024-05") for row in action_rows()]
    write_actions(fine, [*action_rows(), *repeated])
    schema.write_text(schema.read_text() + "repeats: false\n")
    said = [finding for finding in check(fine, now=NOW).findings if "recommended again" in finding.text]
    assert [finding.fix for finding in said] == ["set `repeats: true` in schema.yaml if users want them again"]
    assert said[0].text.startswith("100.0% of the pairs")


def test_json_is_the_check(fine: Path) -> None:
    printed = ran(fine, "--json")
    assert Check.model_validate_json(printed.stdout).verdict == "fine"
    assert json.loads(printed.stdout)["profile"]["joins"][0] == {"side": "users", "listed": 12, "active": 11}


def test_the_page_is_self_contained_and_complete(fine: Path, tmp_path: Path) -> None:
    (fine / "products.csv").write_text((fine / "products.csv").read_text() + '<b>&,1,"<script>",1\n')
    ran(fine, "--html", tmp_path / "check.html")
    html = (tmp_path / "check.html").read_text(encoding="utf-8")
    assert not re.search(r"<script|https?:|<link|<img|@import|url\(", html)
    assert "&lt;script&gt;" in html
    assert html.count("<svg") == html.count('role="img"') == html.count("The same data as a table") == 4
    headings = re.findall(r"<h([1-6])", html)
    assert headings[0] == "1" and headings.count("1") == 1
    assert all(int(after) <= int(before) + 1 for before, after in pairwise(headings))
    for text in ("8 of 13 items have no actions", "2024-03-01", "channel bought before", "channel new", "GiB"):
        assert text in html
    anchors = set(re.findall(r'href="#(\w+)"', html))
    assert anchors <= set(re.findall(r'id="(\w+)"', html)) and len(anchors) == 6
