"""Schemas drafted from small folders in different shapes, compared line by line."""

import gzip
import json
from collections.abc import Mapping
from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner

from recmesh.cli.main import app
from recmesh.dataset import Schema, read
from recmesh.drafting import Draft, draft
from recmesh.errors import DataError

HEAD = "# A first schema, drafted by `recmesh dataset init` from the files: each line with its reason."
USERS = "user_id,age,city\n" + "".join(f"u{n},{20 + n},{'Rome' if n % 3 else 'Oslo'}\n" for n in range(30))
PRODUCTS = "sku_id,brand,price\n" + "".join(f"p{n},b{n % 4},{n}.5\n" for n in range(30))


def actions(
    time: str = "2024-01-{day:02}T10:00:00", header: str = "user_id,sku_id,action_time,type", more: str = "view"
) -> str:
    """Actions of 30 users, five each, none of them repeated."""
    rows = [
        f"u{user},p{(user + step) % 30},{time.format(day=1 + (user + step) % 12, n=user + step)},{more}"
        for user in range(30)
        for step in range(5)
    ]
    return "\n".join([header, *rows]) + "\n"


def made(folder: Path, files: Mapping[str, str | bytes]) -> Draft:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return draft(folder)


def yaml_lines(found: Draft) -> list[str]:
    """The lines without their comments; lines that are nothing but a comment are left out."""
    return [bare for line in found.text.splitlines() if (bare := line.partition("# ")[0].rstrip())]


def comments(found: Draft) -> dict[str, str]:
    """The comment of each line, by the line without it."""
    pairs = (line.partition("  # ") for line in found.text.splitlines() if not line.lstrip().startswith("#"))
    return {line.rstrip(): comment for line, _, comment in pairs}


def test_a_shop_with_plain_names(tmp_path: Path) -> None:
    found = made(tmp_path, {"users.csv": USERS, "products.csv": PRODUCTS, "actions.csv": actions()})
    assert [" ".join(line.split()) for line in found.text.splitlines()] == [
        HEAD,
        "user:",
        "id: user_id # unique in users.csv; 100% of the values of user_id are in it",
        "fields:",
        "age: {kind: numeric} # numbers from 20 to 49, and a quantity by its name",
        'city: {kind: categorical} # 2 different texts, such as "Oslo"',
        "item:",
        "id: sku_id # unique in products.csv; 100% of the values of sku_id are in it",
        "fields:",
        'brand: {kind: categorical} # 4 different texts, such as "b0"',
        "price: {kind: numeric} # numbers with fractions, from 0.5 to 29.5",
        "action:",
        "user: user_id",
        "item: sku_id",
        'time: action_time # ISO 8601, such as "2024-01-01T10:00:00"',
        "type: type # 1 type: view (150)",
        "weights: # how much an action says about what a user wants; change them as you see fit",
        "view: 0.1 # the usual weight",
        "repeats: false # 0.0% of the actions repeat a user and an item",
    ]
    assert (found.questions, found.renamed) == ((), ())


def test_a_log_alone_has_no_tables(tmp_path: Path) -> None:
    log = actions("17041{n:02}379000", "visitorid,itemid,timestamp,event", "addtocart")
    found = made(tmp_path, {"actions.csv": log})
    assert yaml_lines(found) == [
        "action:",
        "  user: visitorid",
        "  item: itemid",
        "  time: timestamp",
        "  unit: ms",
        "  type: event",
        "  weights:",
        "    addtocart: 1",
        "repeats: false",
    ]


def test_ratings_and_films_are_found_by_their_columns(tmp_path: Path) -> None:
    """User ids and film ids are small numbers that overlap: their names tell them apart."""
    films = "movieId,title,genres\n" + "".join(
        f"{n},Film number {n} (19{n + 10}),{'Comedy|Drama' if n % 2 else 'Drama'}\n" for n in range(1, 61)
    )
    ratings = "userId,movieId,rating,timestamp\n" + "".join(
        f"{user},{1 + (user + step) % 60},{0.5 + (step % 10) / 2},{964982703 + user * 86400}\n"
        for user in range(1, 21)
        for step in range(10)
    )
    found = made(tmp_path, {"ratings.csv": ratings, "movies.csv": films})
    assert found.renamed == (("ratings.csv", "actions.csv"), ("movies.csv", "products.csv"))
    assert found.text.splitlines()[1:3] == [
        "# Rename ratings.csv to actions.csv.",
        "# Rename movies.csv to products.csv.",
    ]
    assert yaml_lines(found) == [
        "item:",
        "  id: movieId",
        "  fields:",
        "    title: {kind: display}",
        '    genres: {kind: multi, separator: "|"}',
        "action:",
        "  user: userId",
        "  item: movieId",
        "  time: timestamp",
        "  unit: s",
        '  value: {column: rating, positive: ">= 4"}',
        "repeats: false",
    ]


@pytest.mark.parametrize("cell", ["{day:02}/01/2024 11:52", "{day:02}-03-2024", "{day:02}.03.24 9:05"])
def test_day_and_month_that_cannot_be_told_apart_are_asked_for(tmp_path: Path, cell: str) -> None:
    found = made(tmp_path, {"actions.csv": actions(cell)})
    (question,) = found.questions
    line = found.text.splitlines()[question[0] - 1]
    assert question[1] == "action.format"
    assert line.startswith("  format: DECIDE  ")
    assert "(day first)" in line and "(month first)" in line
    assert found.text.splitlines()[1] == f"# Replace DECIDE before use: line {question[0]} (action.format)."


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        (["02/01/2024 11:52", "13/01/2024 03:59"], '"%d/%m/%Y %H:%M"'),
        (["01/02/2024 11:52:59 AM", "01/13/2024 03:59:07 PM"], '"%m/%d/%Y %I:%M:%S %p"'),
        (["2024/01/02", "2024/01/03"], '"%Y/%m/%d"'),
        (["31.12.2023", "01.02.2024"], '"%d.%m.%Y"'),
        (["2 Jan 2024", "12 Feb 2024"], '"%d %b %Y"'),
        (["12.31.23 9:05", "01.02.24 10:15"], '"%m.%d.%y %H:%M"'),
        (['"Tue, 02 Jan 2024 11:52:59 GMT"', '"Wed, 03 Jan 2024 11:52:59 GMT"'], '"%a, %d %b %Y %H:%M:%S %Z"'),
    ],
)
def test_formats_that_the_cells_decide(tmp_path: Path, times: list[str], expected: str) -> None:
    rows = [f"u{n},p{n % 7},{times[n % len(times)]},view" for n in range(40)]
    found = made(tmp_path, {"actions.csv": "\n".join(["user_id,sku_id,when,type", *rows]) + "\n"})
    assert [line for line in yaml_lines(found) if "time:" in line or "format:" in line] == [
        "  time: when",
        f"  format: {expected}",
    ]
    assert found.questions == ()


@pytest.mark.parametrize(
    ("first", "step", "unit"),
    [
        (1_704_196_379, 60, "s"),
        (1_704_196_379_000, 60_000, "ms"),
        (1_704_196_379_000_000, 60_000_000, "us"),
        (1_704_196_379_000_000_000, 60_000_000_000, "ns"),
        (0, 1, "DECIDE"),
        (45_300, 1, "DECIDE"),
    ],
)
def test_epoch_times_have_a_unit_or_a_question(tmp_path: Path, first: int, step: int, unit: str) -> None:
    rows = [f"u{n},p{n % 7},{first + n * step}" for n in range(40)]
    found = made(tmp_path, {"actions.csv": "\n".join(["user_id,sku_id,time", *rows]) + "\n"})
    assert f"  unit: {unit}" in yaml_lines(found)
    assert [key for _, key in found.questions] == (["action.unit"] if unit == "DECIDE" else [])


def test_numbers_that_may_be_codes_or_quantities_are_asked_for(tmp_path: Path) -> None:
    rows = [f"p{n},{n % 9},{n % 5},0{n % 9}1,{n % 2},{n % 6},{n % 3}" for n in range(30)]
    products = "\n".join(["sku_id,foo,stock,zone,flag,category_id,year", *rows]) + "\n"
    found = made(tmp_path, {"products.csv": products, "actions.csv": actions()})
    assert yaml_lines(found)[1:9] == [
        "  id: sku_id",
        "  fields:",
        "    foo: {kind: DECIDE}",
        "    stock: {kind: numeric}",
        "    zone: {kind: categorical}",
        "    flag: {kind: categorical}",
        "    category_id: {kind: categorical}",
        "    year: {kind: numeric}",
    ]
    assert found.questions == ((6, "item.fields.foo.kind"),)
    (tmp_path / "schema.yaml").write_text(found.text)
    with pytest.raises(DataError) as refused:
        Schema.load(tmp_path)
    assert str(refused.value) == (
        f'{tmp_path / "schema.yaml"} line 6: "kind" is not decided: '
        "numbers from 0 to 8: categorical if they are codes, numeric if they are quantities"
    )
    (tmp_path / "schema.yaml").write_text(found.text.replace("{kind: DECIDE}", "{kind: categorical}"))
    assert Schema.load(tmp_path).item.fields["foo"].kind == "categorical"


def test_all_lines_to_decide_are_named(tmp_path: Path) -> None:
    (tmp_path / "schema.yaml").write_text(
        "user: {id: u, fields: {age: {kind: DECIDE}}}\naction:\n  user: u\n  item: i\n  time: t\n  unit: DECIDE\n"
    )
    with pytest.raises(DataError, match=r'schema.yaml line 1: "kind" is not decided; see also line 6$'):
        Schema.load(tmp_path)
    (tmp_path / "schema.yaml").write_text('action: {user: u, item: i, time: t, type: "DECIDE"}\n')
    assert Schema.load(tmp_path).action.type == "DECIDE"


def test_texts_that_tell_nothing_are_for_display_or_not_declared(tmp_path: Path) -> None:
    rows = [f"p{n},Title {n},https://shop.example/{n},same,,{'red;blue' if n % 2 else 'blue'}" for n in range(40)]
    products = "\n".join(["sku_id,title,link,constant,nothing,colours", *rows]) + "\n"
    found = made(tmp_path, {"products.csv": products, "actions.csv": actions()})
    lines = found.text.splitlines()
    assert [" ".join(line.split()) for line in lines[4:9]] == [
        'title: {kind: display} # 40 different texts in 40 cells, such as "Title 0"',
        'link: {kind: display} # addresses, such as "https://shop.example/0"',
        '# constant: not declared, all cells are "same"',
        "# nothing: not declared, no cell has a value",
        'colours: {kind: multi, separator: ";"} # several values in a cell, such as "red;blue"',
    ]


def test_semicolons_decimal_commas_and_windows_text_of_a_spreadsheet(tmp_path: Path) -> None:
    products = "sku_id;brand;price\n" + "".join(f"p{n};Müller {n % 3};{n},50\n" for n in range(30))
    found = made(
        tmp_path,
        {"products.csv": products.encode("utf-16"), "actions.csv": actions().replace(",", ";").encode("utf-16")},
    )
    assert yaml_lines(found)[-4:] == [
        "repeats: false",
        "encoding: utf-16",
        'separator: ";"',
        'decimal: ","',
    ]
    assert "    price: {kind: numeric}" in yaml_lines(found)


def test_decimal_commas_that_may_be_thousands_are_asked_for(tmp_path: Path) -> None:
    products = "sku_id;price\n" + "".join(f"p{n};{n + 1},250\n" for n in range(30))
    found = made(tmp_path, {"products.csv": products, "actions.csv": actions().replace(",", ";")})
    assert "decimal: DECIDE" in yaml_lines(found)
    assert "decimal" in [key for _, key in found.questions]


@pytest.mark.parametrize(
    ("word", "encoding", "expected"),
    [
        ("Müller", "utf-8", None),
        ("茶叶", "gb18030", "gb18030"),
        ("Müller", "cp1252", "DECIDE"),
        ("чай", "cp1251", "DECIDE"),
    ],
)
def test_the_encoding_is_told_or_asked_for(tmp_path: Path, word: str, encoding: str, expected: str | None) -> None:
    products = "sku_id,brand\n" + "".join(f"p{n},{word}{n % 3}\n" for n in range(30))
    found = made(tmp_path, {"products.csv": products.encode(encoding), "actions.csv": actions()})
    assert [line for line in yaml_lines(found) if line.startswith("encoding")] == (
        [f"encoding: {expected}"] if expected else []
    )
    if expected == "DECIDE":
        assert f'{encoding}: "{word}' in found.text


def test_missing_markers_escapes_and_columns_without_a_name(tmp_path: Path) -> None:
    rows = [
        rf'p{n},"The \"b{n % 3}\"",{n % 4 if n % 5 else "-1"}.5,{chr(92) + "N" if n % 7 else "x"},1,2,'
        for n in range(30)
    ]
    products = "\n".join(["sku_id,brand,price,note,twice,twice,", *rows]) + "\n"
    found = made(tmp_path, {"products.csv": products.replace("-1.5", "-1"), "actions.csv": actions()})
    assert yaml_lines(found)[-2:] == ['missing: ["-1", "\\\\N"]', 'escape: "\\\\"']
    assert '    # not declared: column "twice" occurs twice' in found.text.splitlines()
    assert "    # not declared: a column without a name" in found.text.splitlines()
    assert "    brand: {kind: categorical}" in yaml_lines(found)


def test_repeats_follow_from_the_actions(tmp_path: Path) -> None:
    again = actions().splitlines()[1:31]
    found = made(tmp_path, {"actions.csv": actions() + "\n".join(again).replace("2024-01", "2024-02") + "\n"})
    assert comments(found)["repeats: true"] == "16.7% of the actions repeat a user and an item"


def test_quantities_may_be_returned(tmp_path: Path) -> None:
    rows = [f"u{n % 9},p{n % 7},2024-01-02,{-1 if n == 3 else n % 4 + 1}" for n in range(40)]
    found = made(tmp_path, {"actions.csv": "\n".join(["customer_id,product_id,date,quantity", *rows]) + "\n"})
    assert "  value: quantity" in yaml_lines(found)
    assert comments(found)["  value: quantity"] == "numbers from -1 to 4; those that are not above 0 count as returns"


def test_values_that_are_all_equal_are_not_declared(tmp_path: Path) -> None:
    rows = [f"u{n % 9},p{n % 7},2024-01-02,1" for n in range(40)]
    found = made(tmp_path, {"actions.csv": "\n".join(["user_id,sku_id,date,amount", *rows]) + "\n"})
    assert "  # value: not declared, all cells of amount are 1" in found.text.splitlines()
    assert not [line for line in yaml_lines(found) if "value" in line]


def test_two_columns_that_fit_equally_well_are_asked_for(tmp_path: Path) -> None:
    rows = [f"{n % 9},{n % 9},p{n % 7},2024-01-02" for n in range(40)]
    found = made(tmp_path, {"actions.csv": "\n".join(["buyer_id,customer_id,sku_id,date", *rows]) + "\n"})
    assert "  user: DECIDE" in yaml_lines(found)
    assert comments(found)["  user: DECIDE"] == "one of buyer_id, customer_id"


def test_parquet_has_types_of_its_own(tmp_path: Path) -> None:
    times = pl.datetime_range(pl.datetime(2024, 1, 1), pl.datetime(2024, 1, 30), "1d", eager=True)
    pl.DataFrame({"user_id": range(30), "item_id": [n % 7 for n in range(30)], "ts": times}).write_parquet(
        tmp_path / "actions.parquet"
    )
    pl.DataFrame({"item_id": range(7), "tags": [["a", "b"]] * 7, "price": [1.5] * 6 + [2.5]}).write_parquet(
        tmp_path / "products.parquet"
    )
    assert yaml_lines(draft(tmp_path)) == [
        "item:",
        "  id: item_id",
        "  fields:",
        '    tags: {kind: multi, separator: ","}',
        "    price: {kind: numeric}",
        "action:",
        "  user: user_id",
        "  item: item_id",
        "  time: ts",
        "repeats: false",
    ]


def test_empty_rows_of_a_spreadsheet_do_not_count(tmp_path: Path) -> None:
    found = made(tmp_path, {"users.csv": USERS + ",,\n" * 9, "actions.csv": actions() + ",,,\n" * 9})
    assert yaml_lines(found)[:2] == ["user:", "  id: user_id"]
    assert found.questions == ()


def test_compressed_text_and_tabs(tmp_path: Path) -> None:
    files: dict[str, str | bytes] = {
        "actions.csv.gz": gzip.compress(actions().encode()),
        "products.tsv": PRODUCTS.replace(",", "\t"),
    }
    found = made(tmp_path, files)
    assert "    price: {kind: numeric}" in yaml_lines(found)
    assert yaml_lines(found)[-1] == "repeats: false"


def test_json_lines_have_nested_fields(tmp_path: Path) -> None:
    rows = [
        {"user": {"id": f"u{n % 9}"}, "item_id": f"p{n % 7}", "event": "buy", "at": {"time": 1_704_196_379 + n}}
        for n in range(40)
    ]
    found = made(tmp_path, {"actions.jsonl": "\n".join(map(json.dumps, rows)) + "\n"})
    assert yaml_lines(found) == [
        "action:",
        "  user: user.id",
        "  item: item_id",
        "  time: at.time",
        "  unit: s",
        "  type: event",
        "  weights:",
        "    buy: 3",
        "repeats: false",
    ]


def test_types_of_parquet_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    pl.DataFrame({"sku_id": ["a", "b"], "box": [{"w": 1}, {"w": 2}], "code": [b"\xff", b"\xfe"]}).write_parquet(
        tmp_path / "products.parquet"
    )
    found = made(tmp_path, {"actions.csv": actions().replace("p1,", "a,").replace("p2,", "b,")})
    skipped = [line for line in found.text.splitlines() if "not declared" in line]
    assert [line.partition(" (item.fields")[0] for line in skipped] == [
        '    # not declared: column "box"',
        '    # not declared: column "code"',
    ]


def test_partition_folders_count_as_their_table(tmp_path: Path) -> None:
    found = made(
        tmp_path,
        {f"actions/month=2024-0{month}/part-0.csv": actions() for month in (1, 2)} | {"products.csv": PRODUCTS},
    )
    assert found.renamed == ()
    assert "  user: user_id" in yaml_lines(found)


def test_a_folder_without_actions_says_what_is_needed(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no file holds actions .*: users\.csv; name it actions\.csv"):
        made(tmp_path, {"users.csv": USERS})


def test_the_command_writes_once_and_the_result_can_be_read(tmp_path: Path) -> None:
    made(tmp_path, {"users.csv": USERS, "products.csv": PRODUCTS, "actions.csv": actions()})
    written = CliRunner().invoke(app, ["dataset", "init", str(tmp_path)])
    assert (written.exit_code, written.stdout) == (0, f"{tmp_path / 'schema.yaml'}\n")
    data = read(tmp_path)
    assert (data.users.height, data.items.height, data.actions.height) == (30, 30, 150)
    before = (tmp_path / "schema.yaml").read_text()
    again = CliRunner().invoke(app, ["dataset", "init", str(tmp_path)])
    assert isinstance(again.exception, DataError)
    assert str(again.exception) == f"{tmp_path / 'schema.yaml'}: exists; --force replaces it"
    (tmp_path / "schema.yaml").write_text("# mine\n")
    assert CliRunner().invoke(app, ["dataset", "init", str(tmp_path), "--force"]).exit_code == 0
    assert (tmp_path / "schema.yaml").read_text() == before


def test_a_folder_in_the_form_of_the_v0_contract_needs_no_schema(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"need no schema\.yaml"):
        made(tmp_path, {"users.dat": "1:2:3:4:5:6:7\n", "actions.csv": actions()})


def test_columns_between_double_colons_are_called_by_their_numbers(tmp_path: Path) -> None:
    users = "".join(f"u{n}::{'F' if n % 2 else 'M'}::0{n % 9}\n" for n in range(30))
    products = "".join(f"p{n}::Film {n}::{'Comedy|Drama' if n % 2 else 'Drama'}\n" for n in range(30))
    files = {"users.dat": users, "products.dat": products, "actions.csv": actions()}
    assert yaml_lines(made(tmp_path, files))[:11] == [
        "user:",
        '  id: "1"',
        "  fields:",
        '    "2": {kind: categorical}',
        '    "3": {kind: categorical}',
        "item:",
        '  id: "1"',
        "  fields:",
        '    "2": {kind: display}',
        '    "3": {kind: multi, separator: "|"}',
        "action:",
    ]


def test_a_table_without_rows_is_no_obstacle(tmp_path: Path) -> None:
    found = made(tmp_path, {"users.csv": "user_id,age\n", "actions.csv": actions()})
    assert yaml_lines(found)[:5] == ["user:", "  id: user_id", "  fields: {}", "action:", "  user: user_id"]


def test_minus_one_is_a_marker_only_without_other_negative_numbers(tmp_path: Path) -> None:
    rows = [f"p{n},{n % 5 - 3}.5,{-1 if n % 4 == 0 else n}" for n in range(30)]
    products = "\n".join(["sku_id,temperature,price", *rows]).replace("-1.5", "-1") + "\n"
    found = made(tmp_path, {"products.csv": products, "actions.csv": actions()})
    assert 'missing: ["-1"]' in yaml_lines(found)
    temperature = products.replace(",-1\n", ",1\n")
    assert not [line for line in yaml_lines(made(tmp_path, {"products.csv": temperature})) if "missing" in line]
