"""The forms of files: separators, escapes, folders, compression, JSON lines, Excel and the types of parquet."""

import csv
import gzip
import io
import json
import sys
import uuid
import zipfile
from collections.abc import Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recmesh.dataset import read
from recmesh.dataset.forms.csvtext import RecordSplitter, is_well_formed
from recmesh.dataset.forms.escapes import Escapes
from recmesh.errors import DataError, SettingsError

from .conftest import FILES, SCHEMA, MakeFolder, rejected
from .test_reading import HEADER, actions_of, millis

CELLS = st.text(st.sampled_from(list("ab,\";'\n \t|é😀\\-:")), max_size=8)


def rows_of(text: str, width: int, cut: int) -> list[list[str]]:
    """Read well-formed text in pieces of `cut` bytes."""
    data = text.encode()
    pieces = [data[k : k + cut] for k in range(0, len(data), cut)]
    assert is_well_formed(pieces, width, ",")
    splitter = RecordSplitter(width)
    found: dict[int, list[str]] = {}
    for rows in [*(splitter.feed(piece) for piece in pieces), splitter.feed(b"", final=True)]:
        assert not rows.broken
        if len(rows.lines):
            frame = pl.read_csv(rows.plain, has_header=False, infer_schema=False, empty_string_is_null=False)
            found |= dict(zip(rows.lines.tolist(), map(list, frame.rows()), strict=True))
            assert [next(csv.reader(io.StringIO(rows.text(k), newline=""))) for k in range(frame.height)] == list(
                map(list, frame.rows())
            )
    starts = [1 + text[: k + 1].count("\n") for k in range(-1, len(text) - 1) if k < 0 or text[k] == "\n"]
    assert set(found) <= set(starts)
    return list(found.values())


@given(
    st.integers(2, 4).flatmap(lambda width: st.lists(st.lists(CELLS, min_size=width, max_size=width), min_size=1)),
    st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    st.integers(1, 40),
)
@settings(max_examples=150, deadline=None)
def test_well_formed_text_is_read_as_the_csv_module_reads_it(table: list[list[str]], quoting: Any, cut: int) -> None:
    out = io.StringIO()
    csv.writer(out, quoting=quoting, lineterminator="\n").writerows(table)
    expected = list(csv.reader(io.StringIO(out.getvalue(), newline="")))
    # Rows of separators alone are empty rows.
    expected = [row for row in expected if any(row) or quoting == csv.QUOTE_ALL]
    assert rows_of(out.getvalue(), len(table[0]), cut) == expected


def test_descriptions_over_lines_that_look_like_rows_are_read_whole(folder: MakeFolder) -> None:
    """Every line of these cells is a complete row by itself, and still a part of a cell."""
    cells = [f"soft, warm\n1,2,3,{n}\nx,y" for n in range(400)]
    out = io.StringIO()
    rows = [(f"p{n}", cell, "1", "1") for n, cell in enumerate(cells)]
    csv.writer(out, lineterminator="\n").writerows([("sku_id", "brand", "cate", "price"), ("a", "", "", ""), *rows])
    log = HEADER + "101,p7,2024-01-01,view,\n"
    data = read(folder({"products.csv": out.getvalue(), "actions.csv": log}))
    assert dict(data.items.select("sku_id", "brand").iter_rows()) == {"a": None, **{row[0]: row[1] for row in rows}}
    assert data.report.tally("products").rejected == 0


def test_a_row_with_too_many_columns_does_not_spoil_other_rows(folder: MakeFolder, tmp_path: Path) -> None:
    text = 'sku_id,brand,cate,price\na,"x\n1,2,3,4",1,1\nb,y,1,1,1\nc,z,1,1\n'
    data = read(folder({"products.csv": text}), tmp_path / "rejects.csv", max_damaged=0.5)
    assert data.items["brand"].to_list() == ["x\n1,2,3,4", "z"]
    assert rejected(tmp_path / "rejects.csv")[0] == ("products.csv", 4, "5 columns instead of 4", "b,y,1,1,1")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('1,"a\nb",3\n', True),
        ('1,"a""b",3', True),
        ("1,2\n", True),
        ('1,"a"b,3\n', False),
        ('1,a"b",3\n', False),
        ('1,"a,3\n4,5,6\n', False),
        ('1,"a\n4",5,6\n', False),
    ],
)
@pytest.mark.parametrize("cut", [1, 3, 100])
def test_what_is_well_formed(text: str, expected: bool, cut: int) -> None:
    data = text.encode()
    assert is_well_formed([data[k : k + cut] for k in range(0, len(data), cut)], 3, ",") == expected


PLAIN = {name: list(csv.reader(io.StringIO(FILES[name]))) for name in ("users.csv", "products.csv", "actions.csv")}


def joined(separator: str) -> dict[str, str | bytes | None]:
    return {name: "".join(separator.join(row) + "\n" for row in rows) for name, rows in PLAIN.items()}


@pytest.mark.parametrize("separator", [";", "\t", "|", "::", "¦", "\x01"])
def test_any_separator_can_be_declared(folder: MakeFolder, separator: str) -> None:
    declared = SCHEMA + f"separator: {json.dumps(separator)}\n"
    data = read(folder({**joined(separator), "schema.yaml": declared}, name="other"))
    assert data.fingerprint == read(folder()).fingerprint


@pytest.mark.parametrize("line", ["sep=;", '"sep=;"', "SEP=;", "\ufeffsep=;"])
def test_the_line_of_excel_declares_the_separator_of_its_file(folder: MakeFolder, tmp_path: Path, line: str) -> None:
    files = {name: f"{line}\r\n{text!s}" for name, text in joined(";").items()}
    files["actions.csv"] += "101;a\n"
    data = read(folder(files), tmp_path / "rejects.csv", max_damaged=0.5)
    assert data.fingerprint == read(folder(name="plain")).fingerprint
    assert rejected(tmp_path / "rejects.csv")[0][:2] == ("actions.csv", 6)


def test_unnamed_and_doubled_columns_are_no_error_if_they_are_not_used(folder: MakeFolder) -> None:
    users = "user_id,,note,age,,note,city\n101,,x,20-29,,y,Rome\n102,,,30-39,,,\n103,,,,,,Oslo\n,,,,,,\n,,,,,,\n"
    data = read(folder({"users.csv": users}))
    assert data.fingerprint == read(folder(name="plain")).fingerprint
    assert data.report.tally("users").read == 3


def test_a_header_may_have_line_breaks_in_its_names(folder: MakeFolder, tmp_path: Path) -> None:
    schema = SCHEMA.replace("city: {kind: categorical}", 'city: {kind: categorical, column: "city\\n(home)"}')
    users = 'user_id,age,"city\n(home)"\n101,20-29,Rome\n102,30-39,\n103,,Oslo\n104\n'
    data = read(folder({"schema.yaml": schema, "users.csv": users}), tmp_path / "rejects.csv", max_damaged=0.5)
    assert data.users["city"].to_list() == ["Rome", None, "Oslo"]
    assert rejected(tmp_path / "rejects.csv")[0][:2] == ("users.csv", 6)


def test_escapes_of_spark_and_mysql_are_read(folder: MakeFolder, tmp_path: Path) -> None:
    products = "\n".join(
        [
            "sku_id,brand,cate,price",
            r'a,"The \"B0\", original",back\\slash,1',
            r"b,\N,one\, two,\N",
            "c,two\\\nlines,\\\\N,3",
            "d,damaged",
        ]
    )
    actions = HEADER + "\\N,a,2024-01-01,view,1\n101,a,2024-01-01,view,\\N\n101,a,2024-01-01,look\\\\,2\n"
    schema = SCHEMA + 'escape: "\\\\"\n'
    path = folder({"schema.yaml": schema, "products.csv": products, "actions.csv": actions})
    data = read(path, tmp_path / "rejects.csv", max_damaged=0.5)
    assert data.items.rows() == [
        ("a", 'The "B0", original', "back\\slash", "1"),
        ("b", None, "one, two", None),
        ("c", "two\nlines", "\\N", "3"),
    ]
    assert sorted(row[3:] for row in actions_of(data)) == [("look\\", 2.0), ("view", 1.0)]
    assert rejected(tmp_path / "rejects.csv") == [
        ("products.csv", 6, "2 columns instead of 4", "d,damaged"),
        ("actions.csv", 2, "anonymous: the user is empty or -1", "\\N,a,2024-01-01,view,1"),
    ]


def test_escapes_without_a_declaration_are_named(folder: MakeFolder) -> None:
    path = folder({"products.csv": 'sku_id,brand,cate,price\na,"The \\"B0\\", original",1,1\n'})
    with pytest.raises(DataError, match=r'unclosed or misplaced quote; \\" needs escape: "\\\\" in schema.yaml'):
        read(path)
    data = read(folder({"products.csv": "sku_id,brand,cate,price\na,\\N,1,1\nb,x,1,1\nc,x,1,1\n"}, name="null"))
    assert data.report.warnings == [
        'products: 1 cells of "brand" are \\N, which means null with escape: "\\\\" in schema.yaml'
    ]


@given(st.lists(st.lists(CELLS, min_size=2, max_size=2), min_size=1, max_size=6), st.integers(1, 20))
@settings(max_examples=100, deadline=None)
def test_escapes_are_restored(table: list[list[str]], cut: int) -> None:
    def escaped(cell: str) -> str:
        for character in ("\\", '"', ";", "\n"):
            cell = cell.replace(character, "\\" + character)
        return cell

    text = "".join(";".join(map(escaped, row)) + "\n" for row in table)
    escapes = Escapes(";", "\\")
    data = text.encode()
    encoded = b"".join(escapes.encode(data[k : k + cut] for k in range(0, len(data), cut))).decode()
    assert escapes.original(encoded) == text
    lines = encoded.split("\n")[:-1]
    frame = pl.DataFrame([line.split(";") for line in lines], schema=["a", "b"], orient="row")
    assert escapes.cells(frame).rows() == [tuple(row) for row in table]


def test_decimal_commas(folder: MakeFolder) -> None:
    products = 'sku_id;brand;cate;price\na;x;1;"1.234,50"\nb;x;1;-5,25\nc;x;1;7\n'
    files = {**joined(";"), "products.csv": products, "schema.yaml": SCHEMA + 'separator: ";"\ndecimal: ","\n'}
    files["actions.csv"] = "user_id;sku_id;action_time;type;value\n101;a;2024-01-01;view;2,5\n"
    data = read(folder(files))
    assert data.items["price"].to_list() == ["1234.50", "-5.25", "7"]
    assert data.actions["value"].to_list() == [2.5]


def test_decimal_commas_without_a_declaration(folder: MakeFolder) -> None:
    header = "sku_id,brand,cate,price\n"
    with pytest.raises(DataError, match=r'products: 2 values of "price" .* "5,00"; .* declare decimal: "," in schema'):
        read(folder({"products.csv": header + 'a,x,1,"5,00"\nb,x,1,"6,50"\nc,x,1,\n'}))
    data = read(folder({"products.csv": header + 'a,x,1,"5,00"\nb,x,1,6\nc,x,1,\n'}, name="some"))
    assert data.report.warnings == [
        'products: 1 values of "price" are not numbers, such as "5,00"; if their commas are decimal points, '
        'declare decimal: "," in schema.yaml; they count as missing'
    ]


def test_double_colons_are_told_apart_from_the_v0_contract(folder: MakeFolder) -> None:
    files = {
        "users.csv": None,
        "products.csv": None,
        "actions.csv": None,
        "users.dat": "101::F::1::10::48067\n102::M::56::16::70072\n",
        "products.dat": "a::Star Wars: Episode IV (1977)::Action|Drama\nb::É::Comedy\n",
        "actions.dat": "101::a::5::978300760\n102::b::3::978302109\n",
        "schema.yaml": """
            user: {id: 1, fields: {sex: {kind: categorical, column: 2}}}
            item: {id: 1, fields: {title: {kind: categorical, column: 2},
                                   genres: {kind: multi, separator: "|", column: 3}}}
            action: {user: 1, item: 2, value: 3, time: 4, unit: s}
            encoding: latin-1
            """,
    }
    encoded = {name: text.encode("latin-1") if text else None for name, text in files.items()}
    data = read(folder(encoded))
    assert data.users.rows() == [("101", "F"), ("102", "M")]
    assert data.items.rows() == [("a", "Star Wars: Episode IV (1977)", "Action|Drama"), ("b", "É", "Comedy")]
    assert [(row[0], row[1], row[4]) for row in actions_of(data)] == [("101", "a", 5.0), ("102", "b", 3.0)]
    with pytest.raises(DataError, match=r'users\.dat: no column "user_id".*columns separated by "::" without a header'):
        read(folder({**encoded, "schema.yaml": None}, name="bare"))


def gzipped(text: str) -> bytes:
    return gzip.compress(text.encode())


def zstd(text: str, path: Path) -> bytes:
    pl.DataFrame({"x": text.splitlines()}).lazy().sink_csv(
        path, include_header=False, quote_style="never", compression="zstd", check_extension=False
    )
    return path.read_bytes()


def json_lines(rows: list[list[str]]) -> str:
    """Write actions with nested objects, numbers and empty lines."""
    objects: list[Mapping[str, Any]] = [
        {
            "event": {"user": {"id": int(user)}, "sku.id": sku},
            "at": at,
            "kind": {"name": kind},
            "value": value and float(value),
        }
        for user, sku, at, kind, value in rows[1:]
    ]
    return "\n\n".join(json.dumps(each) for each in objects)


def test_packed_files_give_the_same_data(folder: MakeFolder, tmp_path: Path) -> None:
    plain = read(folder())
    tsv = {name.replace(".csv", ".tsv"): text for name, text in joined("\t").items()}
    packed: dict[str, str | bytes | None] = {
        "users.csv": None,
        "users.csv.gz": gzipped(FILES["users.csv"]),
        "products.csv": None,
        "products.CSV.zst": zstd(FILES["products.csv"], tmp_path / "x"),
        "actions.csv": None,
        "actions.tsv.gz": gzipped(str(tsv["actions.tsv"])),
    }
    sizes: dict[str, tuple[int, int]] = {}
    path = folder(packed, name="packed")
    data = read(path, progress=lambda what, done, total: sizes.update({what: (done, total)}))
    assert data.fingerprint == plain.fingerprint
    assert all(done == total for done, total in sizes.values())
    with pytest.raises(DataError, match=r"users\.csv\.gz: cannot be unpacked"):
        read(folder({**packed, "users.csv.gz": b"user_id,age,city\n"}, name="damaged"))
    with pytest.raises(DataError, match=r"products\.CSV\.zst: cannot be unpacked"):
        read(
            folder(
                {**packed, "products.CSV.zst": zstd(FILES["products.csv"], tmp_path / "y")[:-9]}, name="also damaged"
            )
        )


def test_json_lines_with_nested_objects(folder: MakeFolder, tmp_path: Path) -> None:
    schema = [
        *SCHEMA.splitlines()[:2],
        "action: {user: event.user.id, item: event.sku.id, time: at, type: kind.name, value: value,"
        " weights: {view: 0.1, order: 3}}",
    ]
    log = json_lines(PLAIN["actions.csv"]) + '\n[1]\n{"event"\n'
    path = folder({"schema.yaml": "\n".join(schema), "actions.csv": None, "actions.jsonl": log})
    data = read(path, tmp_path / "rejects.csv", max_damaged=0.5)
    assert data.fingerprint == read(folder(name="plain")).fingerprint
    assert rejected(tmp_path / "rejects.csv") == [
        ("actions.jsonl", 6, "not a JSON object", "[1]"),
        ("actions.jsonl", 7, "not a JSON object", '{"event"'),
    ]
    with pytest.raises(DataError, match=r'actions\.jsonl: no column "event.user.id" .action.user of the schema.'):
        read(
            folder({"schema.yaml": "\n".join(schema), "actions.csv": None, "actions.jsonl": '{"event": 1}\n'}, name="b")
        )


def test_numbers_lists_and_texts_of_json_lines(folder: MakeFolder) -> None:
    schema = SCHEMA.replace("cate: {kind: categorical}", 'cate: {kind: multi, separator: "|"}')
    lines = [
        '{"sku_id": 12345678901234567890, "brand": 1.50, "cate": ["x", 2], "price": 5.00}',
        '{"sku_id": "007", "brand": true, "cate": null}',
        '{"sku_id": 101.0, "brand": {"a": "é"}, "cate": "z", "price": 1e3}',
    ]
    files = {"schema.yaml": schema, "products.csv": None, "products.ndjson": "\n".join(lines), "actions.csv": HEADER}
    assert read(folder(files)).items.rows() == [
        ("007", "true", None, None),
        ("101", '{"a": "é"}', "z", "1000"),
        ("12345678901234567890", "1.50", "x|2", "5"),
    ]


def test_partition_folders_are_read_and_their_keys_are_columns(folder: MakeFolder) -> None:
    header, *rows = FILES["actions.csv"].splitlines(keepends=True)
    untyped = [",".join(row.split(",")[:3]) + "," + row.split(",")[4] for row in rows]
    files = {
        "actions.csv": None,
        "actions/type=view/day=1/part-0.csv": "user_id,sku_id,action_time,value\n" + untyped[0],
        "actions/type=order/part-0.csv.gz": gzipped("user_id,sku_id,action_time,value\n" + untyped[1]),
        "actions/late.csv": header + rows[2],
        "actions/type=view/_SUCCESS": "",
        "actions/type=view/.part-0.csv.crc": "x",
        "actions/README.md": "about",
    }
    data = read(folder(files))
    assert data.fingerprint == read(folder(name="plain")).fingerprint
    assert data.report.tally("actions").files == [
        "actions/late.csv",
        "actions/type=order/part-0.csv.gz",
        "actions/type=view/day=1/part-0.csv",
    ]
    assert data.report.notices[-1] == "files that were not read: actions/README.md"
    escaped = {"actions.csv": None, "actions/type=view%2Forder/a.csv": files["actions/type=view/day=1/part-0.csv"]}
    assert read(folder(escaped, name="escaped")).report.types == {"view/order": 1}
    without = {
        "actions.csv": None,
        "actions/type=__HIVE_DEFAULT_PARTITION__/a.csv": escaped["actions/type=view%2Forder/a.csv"],
    }
    with pytest.raises(DataError, match="type is empty"):
        read(folder(without, name="without"))


@pytest.mark.parametrize(
    "name",
    ["actions-2.txt", "actions/more.txt", "actions/part-00000", "actions/a.json", "actions/a.csv.zip", "users.xls"],
)
def test_a_folder_that_is_half_read_is_an_error(folder: MakeFolder, name: str) -> None:
    path = folder({name: "x"})
    with pytest.raises(DataError) as caught:
        read(path)
    assert str(caught.value).startswith(f"{path / name}: not read, because its form is not known; the forms are .csv,")


def test_suffixes_may_be_in_capitals(folder: MakeFolder) -> None:
    data = read(folder({"actions.csv": None, "actions.CSV": FILES["actions.csv"]}))
    assert data.report.tally("actions").used == 3


TYPES: dict[str, pl.Series] = {
    "text": pl.Series(["101", None]),
    "integer": pl.Series([101, None], dtype=pl.Int32),
    "unsigned": pl.Series([2**64 - 1, None], dtype=pl.UInt64),
    "float": pl.Series([101.0, None]),
    "half": pl.Series([101.0, None], dtype=pl.Float32),
    "decimal": pl.Series([Decimal("101.50"), None], dtype=pl.Decimal(10, 2)),
    "boolean": pl.Series([True, None]),
    "date": pl.Series([date(2024, 2, 29), None]),
    "datetime": pl.Series([datetime(2024, 2, 29, 12, 30), None], dtype=pl.Datetime("ns")),
    "zoned": pl.Series([datetime(2024, 2, 29, 12, 30), None]).dt.replace_time_zone("Asia/Shanghai"),
    "time": pl.Series([time(12, 30), None]),
    "duration": pl.Series([timedelta(days=1, seconds=5), None]),
    "bytes": pl.Series([b"101", None]),
    "uuid": pl.Series([uuid.UUID("00112233-4455-6677-8899-aabbccddeeff").bytes, None]),
    "odd bytes": pl.Series([b"\xff\xfe", None]),
    "category": pl.Series(["101", None], dtype=pl.Categorical),
    "enum": pl.Series(["101", None], dtype=pl.Enum(["101"])),
    "null": pl.Series([None, None]),
    "list": pl.Series([["101", "102"], None]),
    "array": pl.Series([[1, 2], None], dtype=pl.Array(pl.Int64, 2)),
    "nested list": pl.Series([[["101"]], None]),
    "struct": pl.Series([{"name": "101"}, None]),
}

UNUSABLE = {"odd bytes", "nested list", "struct"}
NO_SCALAR = UNUSABLE | {"list", "array"}
NO_TIME = NO_SCALAR | {"boolean", "time", "duration", "bytes", "uuid", "category", "enum"}
NO_VALUE = NO_SCALAR | {"boolean", "bytes", "uuid", "date", "datetime", "zoned", "time", "duration"}


@pytest.mark.parametrize(
    ("file", "column", "key", "unusable"),
    [
        ("users", "user_id", "user.id", NO_SCALAR),
        ("users", "age", "user.fields.age", UNUSABLE),
        ("products", "price", "item.fields.price", UNUSABLE),
        ("products", "tags", "item.fields.tags", UNUSABLE),
        ("actions", "user_id", "action.user", NO_SCALAR),
        ("actions", "sku_id", "action.item", NO_SCALAR),
        ("actions", "action_time", "action.time", NO_TIME),
        ("actions", "type", "action.type", NO_SCALAR),
        ("actions", "value", "action.value", NO_VALUE),
    ],
)
@pytest.mark.parametrize("name", TYPES)
def test_every_type_of_parquet_gives_values_or_one_line(
    folder: MakeFolder, file: str, column: str, key: str, unusable: set[str], name: str
) -> None:
    schema = """
        user: {id: user_id, fields: {age: {kind: categorical}}}
        item: {id: sku_id, fields: {price: {kind: numeric}, tags: {kind: multi, separator: "|"}}}
        action: {user: user_id, item: sku_id, time: action_time, type: type, value: value}
        """
    tables: dict[str, dict[str, list[Any]]] = {
        "users": {"user_id": ["101", "102"], "age": ["1", "2"]},
        "products": {"sku_id": ["101", "b"], "price": ["1", "2"], "tags": ["x", "y"]},
        "actions": {
            "user_id": ["102", "101"],
            "sku_id": ["b", "101"],
            "action_time": ["2024-01-01", "2024-01-02"],
            "type": ["view", "view"],
            "value": [1, 2],
        },
    }
    path = folder({"schema.yaml": schema, **{f"{stem}.csv": None for stem in tables}})
    for stem, content in tables.items():
        frame = pl.DataFrame(content)
        frame = frame.with_columns(TYPES[name].alias(column)) if stem == file else frame
        frame.write_parquet(path / f"{stem}.parquet")
    try:
        data = read(path, max_rejected=1, max_unlisted=1)
    except DataError as error:
        said = str(error)
        assert "\n" not in said
        if name in unusable:
            assert said.startswith(f'{path / file}.parquet: column "{column}" ({key} of the schema) has ')
        else:  # read, but no row can be used
            assert said.startswith((f"{file}: ", "actions: ", f'{file}.parquet: column "{column}" contains numbers'))
        return
    assert name not in unusable
    assert data.report.tally(file).read == 2


def test_values_of_parquet_types(folder: MakeFolder) -> None:
    """UUIDs are ids in their usual form, and times of day and durations are text."""
    path = folder({"users.csv": None, "actions.csv": None})
    ids = [uuid.UUID(int=n * 2**100 + 2**127) for n in range(3)]
    users = {"user_id": [each.bytes for each in ids], "age": [time(1, 2, 3)] * 3, "city": [timedelta(hours=2)] * 3}
    pl.DataFrame(users).write_parquet(path / "users.parquet")
    actions = {
        "user_id": [ids[1].bytes],
        "sku_id": ["a"],
        "action_time": [datetime(2024, 1, 1)],
        "type": pl.Series(["view"], dtype=pl.Categorical),
        "value": [Decimal("2.5")],
    }
    pl.DataFrame(actions).write_parquet(path / "actions.parquet")
    data = read(path)
    assert data.users.rows() == [(str(each), "01:02:03", "PT2H") for each in ids]
    assert actions_of(data) == [(str(ids[1]), "a", millis("2024-01-01"), "view", 2.5)]


def test_dotted_names_lead_into_structs(folder: MakeFolder) -> None:
    schema = SCHEMA.replace("action: {user: user_id", "action: {user: who.user.id")
    path = folder({"schema.yaml": schema, "actions.csv": None})
    rest = {"sku_id": ["a"], "action_time": ["2024-01-01"], "type": ["view"], "value": [1]}
    pl.DataFrame({"who": [{"user": {"id": 101}}], **rest}).write_parquet(path / "actions.parquet")
    assert actions_of(read(path)) == [("101", "a", millis("2024-01-01"), "view", 1.0)]


@pytest.mark.parametrize(
    ("listed", "used", "said"),
    [
        ("u1 ", "u1", '1 match after trimming blanks ("u1" and "u1 ")'),
        ("u1", "\u00a0u1", '1 match after trimming blanks ("\\xa0u1" and "u1")'),
        ("u1", "U1", '1 match ignoring case ("U1" and "u1")'),
        ("u1", "u1\u200b", '1 match without invisible characters ("u1\\u200b" and "u1")'),
        ("caf\u00e9", "cafe\u0301", "1 match in the same Unicode form"),
        ("7", "007", '1 match without leading zeros ("007" and "7")'),
        ("u1", " U1\u200b", "1 match after several of these changes"),
        ("u1", "u2", ""),
    ],
)
def test_near_misses_are_counted_and_stay_different(folder: MakeFolder, listed: str, used: str, said: str) -> None:
    users = f"user_id,age,city\n101,1,x\n{listed},1,x\n"
    data = read(
        folder({"users.csv": users, "actions.csv": f"{HEADER}101,a,2024-01-01,view,\n{used},b,2024-01-02,view,\n"})
    )
    assert [row[0] for row in actions_of(data)] == ["101"]
    assert data.report.tally("actions").unlisted == 1
    (warning,) = data.report.warnings
    assert said in warning
    assert warning.count("match") == bool(said)


def test_ids_that_come_near_each_other_in_a_bare_log_are_reported(folder: MakeFolder) -> None:
    schema = "action: {user: user_id, item: sku_id, time: action_time}"
    log = HEADER + "u1,a,2024-01-01,,\nU1,a,2024-01-02,,\nu1 ,b,2024-01-03,,\n"
    data = read(folder({"schema.yaml": schema, "users.csv": None, "products.csv": None, "actions.csv": log}))
    assert data.users["user_id"].to_list() == ["U1", "u1", "u1 "]
    assert data.report.warnings == [
        'actions: of the values of user_id, 2 ids match another after trimming blanks ("u1" and "u1 "), '
        '2 ids match another ignoring case ("U1" and "u1"); they count as different'
    ]


def xlsx(sheets: Mapping[str, list[list[str]]]) -> bytes:
    """Write a minimal workbook with inline text."""
    out = io.BytesIO()
    main = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    links = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    package = "http://schemas.openxmlformats.org/package/2006"
    with zipfile.ZipFile(out, "w") as book:
        parts = "".join(
            f'<Override PartName="/xl/worksheets/sheet{n}.xml" '
            'ContentType="application/vnd.openxmlformats-officedocument.spreadsheetml.worksheet+xml"/>'
            for n in range(len(sheets))
        )
        book.writestr(
            "[Content_Types].xml",
            f'<Types xmlns="{package}/content-types"><Default Extension="rels" '
            'ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
            '<Override PartName="/xl/workbook.xml" '
            'ContentType="application/vnd.openxmlformats-officedocument.spreadsheetml.sheet.main+xml"/>'
            f"{parts}</Types>",
        )
        book.writestr(
            "_rels/.rels",
            f'<Relationships xmlns="{package}/relationships"><Relationship Id="r1" Type="{links}/officeDocument" '
            'Target="xl/workbook.xml"/></Relationships>',
        )
        names = "".join(f'<sheet name="{name}" sheetId="{n + 1}" r:id="r{n}"/>' for n, name in enumerate(sheets))
        book.writestr(
            "xl/workbook.xml", f'<workbook xmlns="{main}" xmlns:r="{links}"><sheets>{names}</sheets></workbook>'
        )
        rels = "".join(
            f'<Relationship Id="r{n}" Type="{links}/worksheet" Target="worksheets/sheet{n}.xml"/>'
            for n in range(len(sheets))
        )
        book.writestr(
            "xl/_rels/workbook.xml.rels", f'<Relationships xmlns="{package}/relationships">{rels}</Relationships>'
        )
        for n, rows in enumerate(sheets.values()):
            cells = "".join(
                f'<row r="{r}">'
                + "".join(
                    f'<c r="{chr(65 + c)}{r}" t="inlineStr"><is><t>{cell}</t></is></c>' for c, cell in enumerate(row)
                )
                + "</row>"
                for r, row in enumerate(rows, 1)
            )
            book.writestr(
                f"xl/worksheets/sheet{n}.xml", f'<worksheet xmlns="{main}"><sheetData>{cells}</sheetData></worksheet>'
            )
    return out.getvalue()


def test_excel_files_are_read(folder: MakeFolder, tmp_path: Path) -> None:
    empty = [""] * 5
    rows = [*PLAIN["actions.csv"], empty, ["101", "a", "soon", "view", "1"], empty]
    changes = {"actions.csv": None, "actions.xlsx": xlsx({"Notes": [["about"]], "Actions": rows})}
    data = read(folder(changes), tmp_path / "rejects.csv", max_rejected=0.5)
    assert data.fingerprint == read(folder(name="plain")).fingerprint
    assert rejected(tmp_path / "rejects.csv")[0][:2] == ("actions.xlsx", 6)
    unclear = {"actions.csv": None, "actions.xlsx": xlsx({"One": rows, "Two": rows})}
    with pytest.raises(
        DataError, match=r'actions\.xlsx: has the sheets One, Two; name the one with the rows "actions"'
    ):
        read(folder(unclear, name="unclear"))
    with pytest.raises(DataError, match=r"actions\.xlsx: cannot be read as \.xlsx"):
        read(folder({"actions.csv": None, "actions.xlsx": "no"}, name="damaged"))


def test_excel_files_without_the_extra_are_an_error_that_names_it(
    folder: MakeFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "fastexcel", None)
    with pytest.raises(
        SettingsError, match=r"actions\.xlsx: reading \.xlsx needs the extra: pip install 'recmesh\[excel\]'"
    ):
        read(folder({"actions.csv": None, "actions.xlsx": xlsx({"One": PLAIN["actions.csv"]})}))
