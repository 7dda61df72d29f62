"""Stray actions: a few that lie far from all others in time are set aside and named; other data is not."""

import csv
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pytest

from recmesh.dataset import DataSet, read

OPENING = date(2024, 1, 1)
Row = tuple[int, int, date]


def shop(days: int = 60, each_day: int = 20, users: int = 100) -> list[Row]:
    """Draw the actions of a shop that is open every day: user, item, day."""
    rng = np.random.default_rng(1)
    return [
        (int(rng.integers(users)), number, OPENING + timedelta(day))
        for day in range(days)
        for number in range(each_day)
    ]


def reading(folder: Path, rows: list[Row]) -> DataSet:
    """Write a data set without tables of users and items, and read it."""
    folder.mkdir()
    (folder / "schema.yaml").write_text("action: {user: user, item: item, time: at}\n")
    lines = [f"{user},{item},{day}" for user, item, day in rows]
    (folder / "actions.csv").write_text("\n".join(["user,item,at", *lines]) + "\n")
    return read(folder, rejects=folder.parent / "rejects.csv")


def set_aside(folder: Path) -> list[tuple[int, str]]:
    """Return line and reason of each row in the rejects file."""
    with (folder / "rejects.csv").open(newline="") as file:
        return [(int(row["line"]), row["reason"]) for row in csv.DictReader(file)]


USUAL = len(shop())
LATER = "time is up to {} after all others, which end on 2024-02-29"
EARLIER = "time is up to {} before all others, which begin on 2024-01-01"


@pytest.mark.parametrize(
    ("strays", "reason"),
    [
        ([date(2087, 1, 1)], LATER.format("62.8 years")),
        ([date(2024, 6, 1)], LATER.format("93 days")),
        ([date(2024, 4, 10)], LATER.format("41 days")),
        ([date(1970, 1, 2)], EARLIER.format("54.0 years")),
        ([date(2022, 12, 1)], EARLIER.format("1.1 years")),
        ([date(2099, 12, 31)] * 250, LATER.format("75.8 years")),  # a default date for everybody
        ([date(1970 + k % 30, 1 + k % 12, 2) for k in range(200)], EARLIER.format("54.0 years")),
        ([date(2030, 1, 1) + timedelta(97 * k) for k in range(100)], LATER.format("32.1 years")),
    ],
)
def test_stray_actions_are_set_aside_and_named(tmp_path: Path, strays: list[date], reason: str) -> None:
    rows = shop()
    expected = reading(tmp_path / "clean", rows)
    added = [(number % 100, 1000 + number, day) for number, day in enumerate(strays)]
    # The first of them lies in the middle of the file.
    data = reading(tmp_path / "dirty", [*rows[:500], *added, *rows[500:]])
    assert data.actions["time"].equals(expected.actions["time"])
    assert data.fingerprint == expected.fingerprint
    assert set_aside(tmp_path) == [(502 + number, reason) for number in range(len(strays))]
    tally = data.report.tally("actions")
    assert (tally.read, tally.rejected, tally.used) == (USUAL + len(strays), len(strays), expected.actions.height)
    (cause,) = tally.causes.values()
    assert (cause.first, cause.cell) == ("actions.csv line 502", str(strays[0]))
    assert any(reason in warning for warning in data.report.warnings)


def test_one_users_stray_actions_are_set_aside(tmp_path: Path) -> None:
    rows = shop()
    one = [(7, 2000 + number, date(2037, 1, 1) + timedelta(number // 10)) for number in range(100)]
    data = reading(tmp_path / "shop", [*rows, *one])
    assert data.report.tally("actions").rejected == 100


@pytest.mark.parametrize(
    ("name", "added"),
    [
        ("a week without actions", [(number, number, date(2024, 3, 8)) for number in range(20)]),
        ("a second season", [(n % 50, 500 + n, date(2025, 1, 1) + timedelta(n // 8)) for n in range(240)]),
        ("a pilot", [(n % 9, 500 + n, date(2023, 1, 1) + timedelta(n // 8)) for n in range(100)]),
        ("a slow beginning", [(n, 500 + n, date(2023, 2, 1) + timedelta(10 * n)) for n in range(33)]),
        ("a reopening after 60 days", [(n, 500 + n, date(2024, 4, 29) + timedelta(n // 10)) for n in range(100)]),
    ],
)
def test_seasons_pilots_and_slow_beginnings_are_kept(tmp_path: Path, name: str, added: list[Row]) -> None:
    rows = shop()
    data = reading(tmp_path / "shop", [*rows, *added])
    assert data.report.tally("actions").rejected == 0
    assert data.actions.height == reading(tmp_path / "clean", rows).actions.height + len(added)
    assert not data.report.notices


def test_a_few_actions_that_do_no_harm_are_kept_and_named(tmp_path: Path) -> None:
    rows = shop()
    near = [(7, 902, date(2024, 3, 9)), (8, 903, date(2024, 3, 5))]
    data = reading(tmp_path / "shop", [(5, 900, date(2023, 6, 1)), *rows, (6, 901, date(2023, 11, 1)), *near])
    assert data.report.tally("actions").rejected == 0
    assert data.report.notices == [
        "actions: 2 rows are kept whose time is up to 214 days before all others, which begin on 2024-01-01 "
        "(first: actions.csv line 2)",
        "actions: 2 rows are kept whose time is up to 9 days after all others, which end on 2024-02-29 "
        "(first: actions.csv line 1204)",
    ]
    assert set_aside(tmp_path) == []


def test_rows_that_are_rejected_for_another_reason_count_once(tmp_path: Path) -> None:
    folder = tmp_path / "shop"
    rows = shop()
    reading(folder, rows)
    with (folder / "actions.csv").open("a") as file:
        file.write("1,,2087-01-01\n-1,5,2087-01-01\n1,5,2087-01-01\n1,6,never\n")
    data = read(folder, rejects=tmp_path / "rejects.csv")
    tally = data.report.tally("actions")
    assert (tally.rejected, tally.anonymous) == (3, 1)
    assert tally.read == tally.used + tally.duplicates + tally.rejected + tally.anonymous == USUAL + 4
    assert sorted(line for line, _ in set_aside(tmp_path)) == [USUAL + k for k in (2, 3, 4, 5)]


def test_few_actions_have_no_usual_times(tmp_path: Path) -> None:
    data = reading(tmp_path / "shop", [*shop(days=2), (1, 1, date(2087, 1, 1))])
    assert data.report.tally("actions").rejected == 0


def test_actions_without_times(tmp_path: Path) -> None:
    folder = tmp_path / "shop"
    folder.mkdir()
    (folder / "schema.yaml").write_text("action: {user: user, item: item}\n")
    (folder / "actions.csv").write_text("user,item\n" + "".join(f"{n % 9},{n % 7}\n" for n in range(100)))
    data = read(folder)
    assert data.actions["time"].unique().to_list() == [0]
    assert data.actions.height == 63
    assert data.report.first_time is None
    assert "1970" not in str(data.report)
