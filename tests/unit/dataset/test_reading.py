"""The frames that reading a data set gives, and the rows that it rejects."""

import random
from datetime import datetime, timezone
from pathlib import Path

import polars as pl
import pytest

from recmesh.dataset import DataSet, read
from recmesh.errors import DataError, SettingsError

from .conftest import FILES, SCHEMA, MakeFolder, rejected

HEADER = "user_id,sku_id,action_time,type,value\n"


def millis(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=timezone.utc).timestamp() * 1000)


def actions_of(data: DataSet) -> list[tuple[str, str, int, str, float]]:
    return data.actions.with_columns(pl.col("user_id", "sku_id", "type").cast(pl.String)).rows()


def test_the_frames_of_a_data_set(folder: MakeFolder) -> None:
    data = read(folder())
    assert data.users.rows() == [("101", "20-29", "Rome"), ("102", "30-39", None), ("103", None, "Oslo")]
    assert data.users.columns == ["user_id", "age", "city"]
    assert data.items.rows() == [("a", "x", "1", "2.5"), ("b", "y", "1", "10"), ("c", "x", "2", None)]
    assert actions_of(data) == [
        ("101", "a", millis("2024-01-01"), "view", 1.0),
        ("102", "b", millis("2024-01-02"), "order", 2.0),
        ("101", "c", millis("2024-01-03"), "order", 1.5),
    ]
    assert data.actions.schema == {
        "user_id": pl.Enum(["101", "102", "103"]),
        "sku_id": pl.Enum(["a", "b", "c"]),
        "time": pl.Int64,
        "type": pl.Enum(["order", "view"]),
        "value": pl.Float32,
    }
    assert data.actions["user_id"].to_physical().to_list() == [0, 1, 0]
    assert data.product_vectors is None


def test_columns_may_be_renamed_and_undeclared_columns_are_ignored(folder: MakeFolder) -> None:
    schema = SCHEMA.replace("city: {kind: categorical}", 'town: {kind: categorical, column: "home town"}')
    users = 'note,home town,user_id,age\n"x, y",Rome,101,1\n,Oslo,102,2\n,,103,3\n'
    data = read(folder({"schema.yaml": schema, "users.csv": users}))
    assert data.users.rows() == [("101", "1", "Rome"), ("102", "2", "Oslo"), ("103", "3", None)]


def test_a_side_may_have_no_fields(folder: MakeFolder) -> None:
    schema = "user: {id: user_id}\nitem: {id: sku_id}\naction: {user: user_id, item: sku_id, time: action_time}"
    data = read(folder({"schema.yaml": schema, "users.csv": "user_id\n101\n\n102\n103\n"}))
    assert data.users.rows() == [("101",), ("102",), ("103",)]
    assert data.actions["type"].cast(pl.String).unique().to_list() == ["action"]
    assert data.actions["value"].to_list() == [1.0, 1.0, 1.0]


@pytest.mark.parametrize("declared", [True, False])
def test_a_bare_action_log_is_a_data_set(folder: MakeFolder, tmp_path: Path, declared: bool) -> None:
    """Without tables, the valid ids of the used actions are the users and the items."""
    sides = "user: {id: user_id}\nitem: {id: sku_id, fields: }\n" if declared else ""
    action = "action: {user: user_id, item: sku_id, time: action_time}"
    rows = ["zoe,b", "-1,b", ",b", "ann,", f"ann,{'x' * 129}", "ann,b", "00,a", "ann,a\tb", "bad,a"]
    log = "".join(f"{row},2024-01-{9 - n:02}\n" for n, row in enumerate(rows)).replace("2024-01-01", "yesterday")
    files = {"users.csv": None, "products.csv": None, "actions.csv": f"user_id,sku_id,action_time\n{log}"}
    path = folder({**files, "schema.yaml": sides + action})
    data = read(path, tmp_path / "rejects.csv", max_rejected=0.5)
    assert (data.users.rows(), data.items.rows()) == ([("00",), ("ann",), ("zoe",)], [("a",), ("b",)])
    assert [row[:3] for row in actions_of(data)] == [
        ("00", "a", millis("2024-01-03")),
        ("ann", "b", millis("2024-01-04")),
        ("zoe", "b", millis("2024-01-09")),
    ]
    assert data.actions.schema["user_id"] == pl.Enum(["00", "ann", "zoe"])
    assert [(line, reason[:30]) for _, line, reason, _ in rejected(tmp_path / "rejects.csv")] == [
        (3, "anonymous: the user is empty o"),
        (4, "anonymous: the user is empty o"),
        (5, "sku_id is empty"),
        (6, "sku_id is longer than 128 byte"),
        (9, "sku_id contains a control char"),
        (10, "time is not ISO 8601 (epoch ti"),
    ]
    listed = folder(
        {
            "users.csv": "user_id\n00\nann\nzoe\n",
            "products.csv": "sku_id\na\nb\n",
            "actions.csv": (path / "actions.csv").read_text(),
            "schema.yaml": f"user: {{id: user_id}}\nitem: {{id: sku_id}}\n{action}",
        },
        name="listed",
    )
    assert read(listed, max_rejected=0.5).fingerprint == data.fingerprint


def test_a_table_that_the_schema_does_not_mention_is_an_error(folder: MakeFolder) -> None:
    schema = SCHEMA.replace(SCHEMA.splitlines()[0], "")
    with pytest.raises(DataError, match=r"users\.csv: not read, because schema\.yaml has no key user; add user: {id"):
        read(folder({"schema.yaml": schema}))


def test_only_missing_markers_make_cells_missing(folder: MakeFolder) -> None:
    users = "user_id,age,city\n101,-1,NA\n102,null,nan\n103,, \n"
    data = read(folder({"users.csv": users}, name="default"))
    assert data.users.rows() == [("101", "-1", "NA"), ("102", "null", "nan"), ("103", None, " ")]
    data = read(folder({"users.csv": users, "schema.yaml": SCHEMA + 'missing: ["-1", NA]'}, name="declared"))
    assert data.users.rows() == [("101", None, None), ("102", "null", "nan"), ("103", None, " ")]


def test_invalid_numbers_count_as_missing_and_are_reported(folder: MakeFolder) -> None:
    data = read(folder({"products.csv": "sku_id,brand,cate,price\na,x,1,cheap\nb,y,1,nan\nc,x,2,1e3\n"}))
    assert data.items["price"].to_list() == [None, None, "1e3"]
    assert any('2 values of "price" are not numbers, such as "cheap"' in n for n in data.report.warnings)


def test_ids_are_kept_exactly(folder: MakeFolder) -> None:
    """Ids are text: leading zeros distinguish items, and nothing is parsed as a number."""
    ids = [
        "00123",
        "123",
        "12345678901234567890",
        "1e5",
        "x",
        '"q"',
        "😀",
        "NA",
        "null",
        "with space",
        "a:b",
        "x" * 128,
    ]
    quoted = ['"' + i.replace('"', '""') + '"' for i in ids]
    data = read(
        folder(
            {
                "products.csv": "sku_id,brand,cate,price\n" + "".join(f"{q},x,1,1\n" for q in quoted),
                "actions.csv": HEADER
                + "".join(f"101,{q},2024-01-01T00:00:{n:02},order,{n}\n" for n, q in enumerate(quoted)),
            }
        )
    )
    assert data.items["sku_id"].to_list() == sorted(ids, key=str.encode)
    assert [(sku, value) for _, sku, _, _, value in actions_of(data)] == [(i, float(n)) for n, i in enumerate(ids)]


def test_invalid_ids_are_rejected(folder: MakeFolder, tmp_path: Path) -> None:
    rows = ["ok,x,1,1", ",x,1,1", "y" * 129 + ",x,1,1", "tab\tin,x,1,1", '"new\nline",x,1,1', "é" * 65 + ",x,1,1"]
    path = folder({"products.csv": "sku_id,brand,cate,price\n" + "\n".join(rows), "actions.csv": HEADER})
    data = read(path, tmp_path / "rejects.csv", max_rejected=0.9)
    assert data.items["sku_id"].to_list() == ["ok"]
    reasons = {line: reason for _, line, reason, _ in rejected(tmp_path / "rejects.csv")}
    assert reasons == {
        3: "sku_id is empty",
        4: "sku_id is longer than 128 bytes",
        5: "sku_id contains a control character",
        6: "sku_id contains a control character",
        8: "sku_id is longer than 128 bytes",
    }


def test_whole_floats_in_parquet_become_integers(folder: MakeFolder, tmp_path: Path) -> None:
    """A blank turns an integer id column into floats; the other rows still belong to user 101."""
    path = folder({"actions.csv": None, "users.csv": None})
    users = pl.DataFrame({"user_id": [101.0, 102.0, 103.5], "age": [20.0, None, 30.5], "city": ["Rome", None, "x"]})
    users.write_parquet(path / "users.parquet")
    pl.DataFrame(
        {
            "user_id": [101.0, None, 102.0, float("nan"), 101.0, 101.0],
            "sku_id": ["a", "a", "b", "a", "c", "a"],
            "action_time": [datetime(2024, 1, d) for d in range(1, 7)],
            "type": ["view"] * 6,
            "value": [None, 1, 2, 3, 4, 5],
        }
    ).write_parquet(path / "actions.parquet")
    data = read(path, tmp_path / "rejects.csv", max_rejected=0.5)
    assert data.users.rows() == [("101", "20", "Rome"), ("102", None, None)]
    assert [(u, s, v) for u, s, _, _, v in actions_of(data)] == [
        ("101", "a", 1.0),
        ("102", "b", 2.0),
        ("101", "c", 4.0),
        ("101", "a", 5.0),
    ]
    assert data.report.tally("actions").anonymous == 2
    assert [(f, n) for f, n, _, _ in rejected(tmp_path / "rejects.csv")] == [
        ("users.parquet", 3),
        ("actions.parquet", 2),
        ("actions.parquet", 4),
    ]


def test_a_blank_user_in_csv_is_anonymous(folder: MakeFolder, tmp_path: Path) -> None:
    """Actions without a user are reported by line and not used; the other rows belong to user 101."""
    rows = "101,a,2024-01-01T00:00:00,view,\n,a,2024-01-01T00:00:00,view,\n-1,b,2024-01-01T00:00:00,view,\n"
    data = read(folder({"actions.csv": HEADER + rows}), tmp_path / "rejects.csv")
    assert [row[0] for row in actions_of(data)] == ["101"]
    tally = data.report.tally("actions")
    assert (tally.read, tally.used, tally.anonymous, tally.rejected) == (3, 1, 2, 0)
    assert [(line, reason) for _, line, reason, _ in rejected(tmp_path / "rejects.csv")] == [
        (3, "anonymous: the user is empty or -1"),
        (4, "anonymous: the user is empty or -1"),
    ]


def many_actions(count: int, bad: dict[int, str]) -> str:
    rows = (
        bad.get(n, f"{101 + n % 3},{'abc'[n % 3]},2024-01-01T{n // 60:02}:{n % 60:02}:00,view,") for n in range(count)
    )
    return HEADER + "".join(f"{row}\n" for row in rows)


def test_actions_of_unknown_users_and_items_are_rejected_row_by_row(folder: MakeFolder, tmp_path: Path) -> None:
    """Five of a hundred actions are not used, four of them because of unknown users and items."""
    bad = {
        7: "999,a,2024-01-01T00:00:00,view,",
        20: "101,zzz,2024-01-01T00:00:00,view,",
        21: "101,,2024-01-01T00:00:00,view,",
        50: "101.0,a,2024-01-01T00:00:00,view,",
        99: "0101,a,2024-01-01T00:00:00,view,",
    }
    data = read(folder({"actions.csv": many_actions(100, bad)}), tmp_path / "rejects.csv")
    tally = data.report.tally("actions")
    assert (tally.read, tally.used, tally.unlisted, tally.rejected) == (100, 95, 4, 1)
    assert rejected(tmp_path / "rejects.csv") == [
        ("actions.csv", 9, "user_id is not in users", bad[7]),
        ("actions.csv", 22, "sku_id is not in products", bad[20]),
        ("actions.csv", 23, "sku_id is empty", bad[21]),
        ("actions.csv", 52, "user_id is not in users; it is written as a float (101.0)", bad[50]),
        ("actions.csv", 101, "user_id is not in users", bad[99]),
    ]
    text = str(data.report)
    assert "user_id is not in users" in text
    assert "actions.csv line 9" in text


def test_reading_fails_if_all_rows_are_rejected(folder: MakeFolder, tmp_path: Path) -> None:
    """Whatever share of rejected rows is allowed, something must be left."""
    bad = {n: f"u{n},a,2024-01-01T00:00:00,view," for n in range(100)}
    path = folder({"actions.csv": many_actions(100, bad)})
    with pytest.raises(DataError) as caught:
        read(path, tmp_path / "rejects.csv", max_rejected=1)
    assert str(caught.value) == (
        "actions: 100 of 100 rows cannot be used; the reason for 100 of them: user_id is not in users, "
        f'such as "u0" (first: actions.csv line 2); {tmp_path}/rejects.csv lists all of them'
    )
    assert len(rejected(tmp_path / "rejects.csv")) == 100


def test_too_many_rejected_rows_fail_with_the_most_frequent_reason(
    folder: MakeFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = {n: f"101,a,2024-01-01T00:00:{n},view,x" for n in range(10, 35)} | {3: "101,a,2024-01-01T00:00:00,,"}
    path = folder({"actions.csv": many_actions(100, bad)})
    with pytest.raises(
        DataError, match=r"26 of 100 rows .* 20% .* the reason for 25 of them: value is not a finite number"
    ):
        read(path)
    monkeypatch.setenv("RECMESH_MAX_REJECTED", "0.3")
    assert read(path).report.tally("actions").used == 74
    monkeypatch.setenv("RECMESH_MAX_REJECTED", "many")
    with pytest.raises(SettingsError, match="RECMESH_MAX_REJECTED"):
        read(path)


def test_actions_on_a_delisted_brand_are_no_damage(folder: MakeFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Most actions are of items that are gone; they are counted, and the others are used."""
    bad = {n: f"101,gone-{n % 3},2024-01-01T00:00:00,view," for n in range(60)}
    path = folder({"actions.csv": many_actions(100, bad)})
    data = read(path)
    tally = data.report.tally("actions")
    assert (tally.read, tally.used, tally.unlisted, tally.rejected) == (100, 40, 60, 0)
    assert data.report.warnings == [
        "actions: 60 of 100 rows name unknown users or items and are not used; the reason for 60 of them: "
        'sku_id is not in products, such as "gone-0" (first: actions.csv line 2)'
    ]
    monkeypatch.setenv("RECMESH_MAX_UNLISTED", "0.5")
    with pytest.raises(DataError, match=r"60 of 100 rows name unknown users or items \(more than the 50% that RECMESH"):
        read(path)


def test_damage_above_a_small_share_is_an_error(folder: MakeFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """One row of ten in another encoding must not pass unseen; one of two thousand is a warning."""
    products = [b"sku_id,brand,cate,price\n", *(f"{sku},x,1,1\n".encode() for sku in "abc")]
    others = [f"p{n},{'北京' if n % 10 == 0 else 'x'},1,1\n".encode("gbk") for n in range(97)]
    path = folder({"products.csv": b"".join(products + others)})
    with pytest.raises(
        DataError,
        match=r"products: 10 of 100 rows are damaged \(more than the 0.1% that RECMESH_MAX_DAMAGED allows\); the "
        r"reason for 10 of them: not valid in the declared encoding \(declare encoding: in schema.yaml\) "
        r"\(first: products.csv line 5\)",
    ):
        read(path)
    monkeypatch.setenv("RECMESH_MAX_DAMAGED", "0.2")
    assert read(path).report.tally("products").damaged == 10
    monkeypatch.delenv("RECMESH_MAX_DAMAGED")
    many = [f"p{n},x,1,1{',1' if n == 7 else ''}\n".encode() for n in range(1997)]
    data = read(folder({"products.csv": b"".join(products + many)}, name="many"))
    assert data.report.warnings == [
        "products: 1 of 2,000 rows are damaged and not used; the reason for 1 of them: 5 columns instead of 4 "
        "(first: products.csv line 12)"
    ]


def test_reading_fails_if_all_actions_are_anonymous(folder: MakeFolder) -> None:
    with pytest.raises(DataError, match="actions: all 1 rows are anonymous"):
        read(folder({"actions.csv": HEADER + ",a,2024-01-01T00:00:00,view,\n"}))


def test_a_data_set_without_actions_is_read(folder: MakeFolder) -> None:
    data = read(folder({"actions.csv": HEADER}))
    assert data.actions.height == 0
    assert data.actions.schema["time"] == pl.Int64
    assert data.report.first_time is None
    assert "actions" in str(data.report)


def test_a_later_row_wins_over_an_earlier_one_with_quotes_or_line_breaks(folder: MakeFolder) -> None:
    users = 'user_id,age,city\n101,"two\nlines","say ""hi"""\n102,1,old\n101,2,new\n102,3,"say ""ho"""\n103,,\n'
    data = read(folder({"users.csv": users}))
    assert data.users.rows() == [("101", "2", "new"), ("102", "3", 'say "ho"'), ("103", None, None)]


def test_later_rows_of_users_win_and_equal_actions_count_once(folder: MakeFolder) -> None:
    data = read(
        folder(
            {
                "users.csv": FILES["users.csv"] + "101,50-59,Bern\n",
                "users-2.csv": "user_id,age,city\n102,1,two\n",
                "users-10.csv": "user_id,age,city\n102,1,ten\n",
                "actions.csv": FILES["actions.csv"] + "101,a,2024-01-01 00:00:00,view,1\n102,b,2024-01-02,order,3\n",
            }
        )
    )
    assert dict(data.users.select("user_id", "city").iter_rows()) == {"101": "Bern", "102": "ten", "103": "Oslo"}
    assert data.report.tally("users").duplicates == 3
    assert [row[4] for row in actions_of(data)] == [1.0, 2.0, 3.0, 1.5]
    tally = data.report.tally("actions")
    assert (tally.read, tally.used, tally.duplicates) == (5, 4, 1)


def test_the_order_of_rows_and_files_never_matters(folder: MakeFolder) -> None:
    """Neither does the form of the files."""
    rng = random.Random(3)
    header, *rows = many_actions(200, {}).splitlines(keepends=True)
    plain = read(folder({"actions.csv": header + "".join(rows)}, name="plain"))
    assert read(plain.folder).fingerprint == plain.fingerprint
    rng.shuffle(rows)
    users, products = (FILES[f].splitlines(keepends=True) for f in ("users.csv", "products.csv"))
    shuffled = read(
        folder(
            {
                "actions.csv": None,
                "actions/part-1.csv": header + "".join(rows[:50]),
                "actions/part-0.csv": header + "".join(rows[50:]),
                "actions/_SUCCESS": "",
                "users.csv": users[0] + users[3] + users[1] + users[2],
                "products.csv": products[0] + "".join(reversed(products[1:])),
            },
            name="shuffled",
        )
    )
    assert shuffled.fingerprint == plain.fingerprint
    assert shuffled.actions.equals(plain.actions)
    as_parquet = folder({"actions.csv": None}, name="parquet")
    pl.read_csv(plain.folder / "actions.csv", infer_schema=False).write_parquet(as_parquet / "actions.parquet")
    assert read(as_parquet).fingerprint == plain.fingerprint


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("users.csv", "Rome", "Roma"),
        ("users.csv", "102,30-39,\n", "102,30-39, \n"),
        ("products.csv", "b,y,1,10", "b,y,1,10.0"),
        ("actions.csv", "order,2", "order,2.5"),
        ("actions.csv", "2024-01-03T00:00:00", "2024-01-03T00:00:01"),
        ("actions.csv", ",view,", ",cart,"),
        ("schema.yaml", "order: 3", "order: 2"),
        ("schema.yaml", "city: {kind: categorical}", 'city: {kind: multi, separator: "|"}'),
    ],
)
def test_any_change_of_content_changes_the_fingerprint(folder: MakeFolder, file: str, old: str, new: str) -> None:
    before = read(folder(name="before")).fingerprint
    text = FILES[file]
    assert old in text
    assert read(folder({file: text.replace(old, new)}, name="after")).fingerprint != before


@pytest.mark.parametrize(
    ("unit", "time", "expected"),
    [
        (None, "2024-02-29T12:30:45", "2024-02-29T12:30:45"),
        (None, "2024-02-29 12:30:45", "2024-02-29T12:30:45"),
        (None, "2024-02-29", "2024-02-29"),
        (None, "2024-02-29T12:30", "2024-02-29T12:30"),
        (None, "2024-02-29 12:30:45.250", "2024-02-29T12:30:45.250"),
        (None, "2024-02-29T12:30:45Z", "2024-02-29T12:30:45"),
        (None, "2024-02-29T12:30:45.5+02:00", "2024-02-29T10:30:45.500"),
        (None, "2024-02-29 12:30:45-0530", "2024-02-29T18:00:45"),
        (None, "2024-02-29 12:30:45 UTC", "2024-02-29T12:30:45"),
        (None, "2024-02-29 12:30:45.250999 GMT", "2024-02-29T12:30:45.250"),
        (None, "2024-02-29 12:30 utc", "2024-02-29T12:30"),
        (None, "2024-02-29 12:30:45,250", "2024-02-29T12:30:45.250"),
        (None, "2024-02-29T12:30:45 +02:00", "2024-02-29T10:30:45"),
        (None, "20240229T123045Z", "2024-02-29T12:30:45"),
        (None, "20240229T1230", "2024-02-29T12:30"),
        (None, "20240229T123045.5+0800", "2024-02-29T04:30:45.500"),
        (None, "20240229 123045", "2024-02-29T12:30:45"),
        (None, "20240229", "2024-02-29"),
        (None, "20230229", None),
        (None, "2024-0229", None),
        (None, "2024-02-29 12:30:45 CET", None),
        (None, "1970-01-01", None),
        ("s", "0", None),
        ("ms", "0.0", None),
        ("s", "1709209845", "2024-02-29T12:30:45"),
        ("s", "1709209845.25", "2024-02-29T12:30:45.250"),
        ("ms", "1709209845250", "2024-02-29T12:30:45.250"),
        ("us", "1709209845250999", "2024-02-29T12:30:45.250"),
        ("ns", "1709209845250999999", "2024-02-29T12:30:45.250"),
        (None, "1709209845", None),
        (None, "2023-02-29T00:00:00", None),
        (None, "29/02/2024", None),
        (None, "2024-02-29T12:30:45 or so", None),
        (None, "", None),
        (None, "1969-12-31T23:59:59", None),
        ("s", "2024-02-29T12:30:45", None),
        ("s", "1709209845250", None),
        ("s", "9223372036854775807", None),
        ("s", "-5", None),
        ("ms", "nan", None),
    ],
)
def test_times_of_all_forms(
    folder: MakeFolder, tmp_path: Path, unit: str | None, time: str, expected: str | None
) -> None:
    schema = SCHEMA.replace("time: action_time", f"time: action_time, unit: {unit}") if unit else SCHEMA
    good = {None: "2024-01-01T00:00:00", "s": "1704067200", "ms": "1704067200000", "us": "1704067200000000"}
    good["ns"] = "1704067200000000000"
    rows = f'101,a,{good[unit]},view,\n101,b,"{time}",order,\n'
    path = folder({"schema.yaml": schema, "actions.csv": HEADER + rows})
    data = read(path, tmp_path / "rejects.csv", max_rejected=0.5)
    times = {sku: t for _, sku, t, _, _ in actions_of(data)}
    assert times.pop("a") == millis("2024-01-01")
    assert times == ({"b": millis(expected)} if expected else {})
    assert [(line, reason[:5]) for _, line, reason, _ in rejected(tmp_path / "rejects.csv")] == (
        [] if expected else [(3, "time ")]
    )


@pytest.mark.parametrize(
    ("form", "time", "expected"),
    [
        ("%d/%m/%Y %H:%M", "02/01/2024 11:52", "2024-01-02T11:52"),
        ("%m/%d/%Y %I:%M:%S %p", "01/02/2024 02:17:33 PM", "2024-01-02T14:17:33"),
        ("%d.%m.%Y", "2.1.2024", "2024-01-02"),
        ("%d/%b/%Y:%H:%M:%S %z", "02/Jan/2024:11:52:00 +0200", "2024-01-02T09:52"),
        ("%Y%m%d%H%M%S", "20240102115259", "2024-01-02T11:52:59"),
        ("%d/%m/%Y", "02/01/2024 11:52", None),
    ],
)
def test_times_are_read_with_a_declared_format(folder: MakeFolder, form: str, time: str, expected: str | None) -> None:
    schema = SCHEMA.replace("time: action_time", f'time: action_time, format: "{form}"')
    path = folder({"schema.yaml": schema, "actions.csv": HEADER + f"101,a,{time},view,\n"})
    if expected:
        assert read(path).actions["time"].to_list() == [millis(expected)]
        return
    with pytest.raises(DataError, match=r'time is not of the form "%d/%m/%Y".*such as "02/01/2024 11:52"; declare'):
        read(path)


def test_a_number_may_be_read_with_a_format(folder: MakeFolder) -> None:
    schema = SCHEMA.replace("time: action_time", 'time: action_time, format: "%Y%m%d"')
    path = folder({"schema.yaml": schema, "actions.csv": None})
    rows = {"user_id": ["101"], "sku_id": ["a"], "action_time": [20240229], "type": ["view"], "value": [1]}
    pl.DataFrame(rows).write_parquet(path / "actions.parquet")
    assert read(path).actions["time"].to_list() == [millis("2024-02-29")]


@pytest.mark.parametrize(
    ("declared", "time", "said"),
    [
        ("", "02/01/2024 11:52", 'action.format: "%d/%m/%Y %H:%M" or "%m/%d/%Y %H:%M", whichever is right,'),
        ("", "31.01.2024 9:05 PM", 'action.format: "%d.%m.%Y %I:%M %p" in schema.yaml'),
        ("", "Jan 31, 2024", 'action.format: "%b %d, %Y" in schema.yaml'),
        ("", "1704196379000", "declare action.unit: ms in schema.yaml"),
        ("", "soon", "declare how times are written in schema.yaml, such as action.format:"),
        (", unit: s", "1704196379000", "declare action.unit: ms in schema.yaml"),
        (", unit: s", "2024-01-31", "it is ISO 8601: declare neither action.unit nor action.format"),
        (", unit: ms", "0", 'time is 0 (1970-01-01), which means no time, such as "0" (first: actions.csv line 2)'),
        (
            "",
            "1970-01-01",
            'time is 0 (1970-01-01), which means no time, such as "1970-01-01" (first: actions.csv line 2)',
        ),
        (
            ", unit: ms",
            "1704196379",
            "times such as 1704196379 lie in 1970-01-20 with action.unit: ms; declare action.unit: s",
        ),
        (", unit: ns", "1704196379000000", "declare action.unit: us"),
        (', format: "%d/%m"', "01/02", 'action: format "%d/%m" has no year'),
        (', format: "%d/%m/%Y %H"', "01/02/2024 10", 'cannot be read with action.format: "%d/%m/%Y %H"'),
        (', unit: s, format: "%Y"', "2024", "declare either unit"),
    ],
)
def test_times_in_another_form_are_an_error_that_names_the_setting(
    folder: MakeFolder, declared: str, time: str, said: str
) -> None:
    schema = SCHEMA.replace("time: action_time", "time: action_time" + declared)
    path = folder({"schema.yaml": schema, "actions.csv": HEADER + f'101,a,"{time}",view,\n'})
    with pytest.raises(DataError) as caught:
        read(path)
    assert said in str(caught.value)


def test_small_numbers_are_counters_and_no_wrong_unit(folder: MakeFolder) -> None:
    schema = SCHEMA.replace("time: action_time", "time: action_time, unit: s")
    path = folder({"schema.yaml": schema, "actions.csv": HEADER + "101,a,1,view,\n101,b,2,view,\n"})
    assert read(path).actions["time"].to_list() == [1000, 2000]


@pytest.mark.parametrize(
    "column",
    [
        pl.Series([datetime(2024, 2, 29, 12, 30, 45)], dtype=pl.Datetime("ns")),
        pl.Series([datetime(2024, 2, 29, 12, 30, 45)], dtype=pl.Datetime("us")).dt.replace_time_zone("UTC"),
        pl.Series([datetime(2024, 2, 29, 20, 30, 45)], dtype=pl.Datetime("ms")).dt.replace_time_zone("Asia/Shanghai"),
        pl.Series(["2024-02-29T12:30:45"]),
    ],
)
def test_times_in_parquet_need_no_unit(folder: MakeFolder, column: pl.Series) -> None:
    path = folder({"actions.csv": None})
    rest = pl.DataFrame({"user_id": ["101"], "sku_id": ["a"], "type": ["view"], "value": [1]})
    rest.with_columns(column.alias("action_time")).write_parquet(path / "actions.parquet")
    assert read(path).actions["time"].to_list() == [millis("2024-02-29T12:30:45")]


def test_numbers_as_times_need_a_unit(folder: MakeFolder) -> None:
    path = folder({"actions.csv": None})
    rows = {"user_id": ["101"], "sku_id": ["a"], "action_time": [1_709_209_845], "type": ["view"], "value": [1]}
    pl.DataFrame(rows).write_parquet(path / "actions.parquet")
    with pytest.raises(
        DataError, match=r'actions\.parquet: column "action_time" contains numbers; declare action\.unit'
    ):
        read(path)
    (path / "schema.yaml").write_text(SCHEMA.replace("time: action_time", "time: action_time, unit: s"))
    assert read(path).actions["time"].to_list() == [millis("2024-02-29T12:30:45")]


def test_invalid_types_and_values_are_rejected(folder: MakeFolder, tmp_path: Path) -> None:
    rows = ["view,", "view,3", "view,-2.5", "view,many", "view,inf", "view,1e39", ",1", "look,1"]
    text = "".join(f"101,a,2024-01-01T00:00:0{n},{row}\n" for n, row in enumerate(rows))
    data = read(folder({"actions.csv": HEADER + text}), tmp_path / "rejects.csv", max_rejected=0.5)
    assert [(row[3], row[4]) for row in actions_of(data)] == [
        ("view", 1.0),
        ("view", 3.0),
        ("view", -2.5),
        ("look", 1.0),
    ]
    assert [(line, reason) for _, line, reason, _ in rejected(tmp_path / "rejects.csv")] == [
        (5, "value is not a finite number"),
        (6, "value is not a finite number"),
        (7, "value is not a finite number"),
        (8, "type is empty"),
    ]
    assert 'action type "look" has no weight in schema.yaml: its weight is 1' in data.report.notices
    assert 'schema.yaml has a weight for action type "order", but no action has it' in data.report.notices


def test_a_column_with_too_many_types_is_an_error(folder: MakeFolder) -> None:
    text = "".join(f"101,a,2024-01-01T00:00:00,kind-{n},\n" for n in range(200))
    with pytest.raises(DataError, match=r'"type" has more than 127 action types'):
        read(folder({"actions.csv": HEADER + text}))


def test_lists_in_parquet_are_joined(folder: MakeFolder) -> None:
    schema = SCHEMA.replace("cate: {kind: categorical}", 'cate: {kind: multi, separator: "|"}')
    path = folder({"schema.yaml": schema, "products.csv": None})
    items = {
        "sku_id": ["a", "b", "c"],
        "brand": [1, 2, None],
        "cate": [["x", "y"], ["x"], None],
        "price": [1.5, 2.0, None],
    }
    pl.DataFrame(items).write_parquet(path / "products.parquet")
    data = read(path)
    assert data.items.rows() == [("a", "1", "x|y", "1.5"), ("b", "2", "x", "2"), ("c", None, None, None)]
    cate = next(f for f in data.report.fields if f.name == "cate")
    assert (cate.values, round(cate.missing, 3)) == (2, 0.333)


def test_columns_of_nested_types_are_an_error(folder: MakeFolder) -> None:
    path = folder({"users.csv": None})
    users = pl.DataFrame({"user_id": ["101"], "age": ["1"], "city": [{"name": "Rome"}]})
    users.write_parquet(path / "users.parquet")
    with pytest.raises(
        DataError, match=r'users\.parquet: column "city" .user.fields.city of the schema. has type Struct'
    ):
        read(path)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"users.csv": None, "user.csv": "x"}, 'no users; .*did you mean "user.csv"'),
        ({"products.csv": None}, "no products; expected products.csv, products-2.csv or a folder products/ with files"),
        ({"actions.csv": None, "action.csv": "x"}, 'no actions; .*did you mean "action.csv"'),
        ({"actions.csv": None, "actions.tsv": "x"}, 'actions.tsv: no column "user_id"'),
        ({"actions.csv": None, "actions.parquet": b"PAR1 no"}, "actions.parquet: cannot be read as parquet"),
        ({"schema.yaml": SCHEMA.replace("price:", "cost:")}, 'products.csv: no column "cost" .item.fields.cost of the'),
    ],
)
def test_missing_and_unusable_files_are_errors(
    folder: MakeFolder, changes: dict[str, str | bytes | None], said: str
) -> None:
    with pytest.raises(DataError, match=said):
        read(folder(changes))


def test_files_that_are_not_read_are_reported(folder: MakeFolder) -> None:
    data = read(folder({"users_old.csv": "x", "notes/readme.md": "x", "users.csv.bak": "x"}))
    assert "files that were not read: notes/readme.md, users.csv.bak, users_old.csv" in data.report.notices


def test_progress_ends_at_the_size_of_the_files(folder: MakeFolder) -> None:
    path = folder()
    seen: dict[str, tuple[int, int]] = {}
    read(path, progress=lambda what, done, total: seen.update({what: (done, total)}))
    sizes = {kind: (path / f"{kind}.csv").stat().st_size for kind in ("users", "products", "actions")}
    assert seen == {kind: (size, size) for kind, size in sizes.items()}
