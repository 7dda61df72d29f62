"""CSV text: a broken row affects no other row."""

import csv
import io
import random
from pathlib import Path

import polars as pl
import pytest

from recmesh.dataset import read
from recmesh.dataset.forms.csvtext import AMBIGUOUS, MAX_CELL_LINES, UNCLOSED, Splitter
from recmesh.errors import DataError

from .conftest import SCHEMA, MakeFolder, rejected


def rows_of(text: str | bytes, width: int = 4, cut: int = 0) -> tuple[dict[int, list[str]], dict[int, str]]:
    """Return rows and reasons by line. The splitter gets the text in pieces of `cut` bytes, or at once."""
    data = text.encode() if isinstance(text, str) else text
    splitter = Splitter(width)
    rows: dict[int, list[str]] = {}
    reasons: dict[int, str] = {}
    pieces = [data[k : k + cut] for k in range(0, len(data), cut)] if cut else [data]
    for k in range(len(pieces) + 1):
        got = splitter.feed(pieces[k]) if k < len(pieces) else splitter.feed(b"", final=True)
        for row, line in enumerate(got.lines.tolist()):
            rows[line] = next(csv.reader([got.text(row)], strict=True))
        if len(got.lines):
            read_back = pl.read_csv(got.plain, has_header=False, infer_schema=False, empty_string_is_null=False)
            assert read_back.rows() == [tuple(rows[line]) for line in got.lines.tolist()]
        rows |= {r.line: r.cells for r in got.records}
        reasons |= {b.line: b.reason for b in got.broken}
    return dict(sorted(rows.items())), reasons


PLAIN = "1,a,b,c\n"

CASES = [
    # text, rows, reasons
    ("1,2,3,4\n5,6,7,8", {1: list("1234"), 2: list("5678")}, {}),
    ("1,2,3,4\n\n\n5,6,7,8\n", {1: list("1234"), 4: list("5678")}, {}),
    # Rows of separators alone are empty rows, as spreadsheets write them.
    ("1,2,3,4\n,,,\n,,\n5,6,7,8\n,,,\n", {1: list("1234"), 4: list("5678")}, {}),
    (',,,""\n', {1: ["", "", "", ""]}, {}),
    ("1,2,3\n4,5,6,7\n1,2,3,4,5\n", {2: list("4567")}, {1: "3 columns instead of 4", 3: "5 columns instead of 4"}),
    ('"1","2,2","","4"\n', {1: ["1", "2,2", "", "4"]}, {}),
    ('1,"say ""hi""",3,4\n', {1: ["1", 'say "hi"', "3", "4"]}, {}),
    ('1,"two\nlines, one cell",3,4\n5,6,7,8\n', {1: ["1", "two\nlines, one cell", "3", "4"], 3: list("5678")}, {}),
    ('1,"a\n\nb ""c"" d\ne",3,4\n5,6,7,8\n', {1: ["1", 'a\n\nb "c" d\ne', "3", "4"], 5: list("5678")}, {}),
    ('1,5" screen,3,4\n', {1: ["1", '5" screen', "3", "4"]}, {}),
    ('1,"open,3,4\n5,6,7,8\n9,0,1,2\n', {2: list("5678"), 3: list("9012")}, {1: UNCLOSED}),
    ('1,"open,3,4\n5,6,7,8\n9,"q",1,2\n', {2: list("5678"), 3: ["9", "q", "1", "2"]}, {1: UNCLOSED}),
    ('1,"x"y,3,4\n5,6,7,8\n', {2: list("5678")}, {1: UNCLOSED}),
    # A stray quote further down ends an unclosed cell: it is unknown which rows are real, so none of them is used.
    ('1,"open,3,4\n5,6,7,8\n9,stray",1,2\n3,4,5,6\n', {4: list("3456")}, {1: AMBIGUOUS}),
    ('1,"open,3,4\n9,stray",1,2\n3,4,5,6\n', {3: list("3456")}, {1: AMBIGUOUS}),
    ('1,"open,3\n4,"\n5,6,7,8\n', {3: list("5678")}, {1: UNCLOSED, 2: UNCLOSED}),
    (b"1,2,3,4\n5,\xff,7,8\n9,0,1,2\n", {1: list("1234"), 3: list("9012")}, {2: "not valid in"}),
    (b'1,"a\xff\nb",3,4\n9,0,1,2\n', {3: list("9012")}, {1: "not valid in", 2: "3 columns instead of 4"}),
]


@pytest.mark.parametrize(("text", "rows", "reasons"), CASES)
@pytest.mark.parametrize("cut", [0, 1, 7])
def test_rows_and_reasons(text: str | bytes, rows: dict[int, list[str]], reasons: dict[int, str], cut: int) -> None:
    got_rows, got_reasons = rows_of(text, cut=cut)
    assert got_rows == rows
    assert got_reasons.keys() == reasons.keys()
    assert all(got_reasons[line].startswith(reason) for line, reason in reasons.items())


def test_the_search_for_a_closing_quote_is_bounded() -> None:
    text = '1,"open,3,4\n' + "x\n" * (3 * MAX_CELL_LINES) + PLAIN
    rows, reasons = rows_of(text, cut=5000)
    assert rows == {3 * MAX_CELL_LINES + 2: ["1", "a", "b", "c"]}
    assert reasons[1] == UNCLOSED
    assert len(reasons) == 1 + 3 * MAX_CELL_LINES


def test_a_well_formed_file_is_read_as_the_csv_module_reads_it() -> None:
    rng = random.Random(5)
    cells = ["", "plain", "with, comma", 'with "quotes"', "line\nbreak", '"', "€ 日本 😀", " spaces ", "'"]
    for style in (csv.QUOTE_MINIMAL, csv.QUOTE_ALL):
        table = [[str(n), *rng.choices(cells, k=4)] for n in range(300)]
        out = io.StringIO()
        csv.writer(out, quoting=style, lineterminator="\n").writerows(table)
        rows, reasons = rows_of(out.getvalue(), width=5, cut=997)
        assert not reasons
        assert list(rows.values()) == table


def test_a_damaged_row_affects_no_other_row(folder: MakeFolder, tmp_path: Path) -> None:
    """A quoted comma and line break are kept. A row with an extra column and an unclosed quote are rejected by line."""
    lines = [f"p{n},brand,cate,{n}" for n in range(10_000)]
    lines[100] = 'p100,"Smith, Jones\nand Sons",cate,100'
    lines[5000] = "p5000,brand,cate,5000,extra"
    lines[7000] = 'p7000,"brand,cate,7000'
    path = folder(
        {
            "products.csv": "sku_id,brand,cate,price\n" + "\n".join(lines),
            "actions.csv": "user_id,sku_id,action_time,type,value\n101,p9999,2024-01-01T00:00:00,view,\n",
        }
    )
    data = read(path, tmp_path / "rejects.csv")
    assert data.items.height == 9_998
    brands = dict(data.items.select("sku_id", "brand").iter_rows())
    assert brands["p100"] == "Smith, Jones\nand Sons"
    assert {brands[f"p{n}"] for n in range(10_000) if n not in (100, 5000, 7000)} == {"brand"}
    # The line break in row 100 moves all later rows down by one line.
    assert rejected(tmp_path / "rejects.csv") == [
        ("products.csv", 5003, "5 columns instead of 4", "p5000,brand,cate,5000,extra"),
        ("products.csv", 7003, UNCLOSED, 'p7000,"brand,cate,7000'),
    ]


def test_a_bom_and_crlf_change_nothing(folder: MakeFolder, tmp_path: Path) -> None:
    """A file saved by Excel gives the same data as the plain file."""
    plain = read(folder(name="plain"))
    excel = {
        name: b"\xef\xbb\xbf" + (plain.folder / name).read_bytes().replace(b"\n", b"\r\n")
        for name in ("users.csv", "products.csv", "actions.csv")
    }
    data = read(folder(excel, name="excel"), tmp_path / "rejects.csv")
    assert data.fingerprint == plain.fingerprint
    assert data.users.equals(plain.users)
    assert data.items.equals(plain.items)
    assert data.actions.equals(plain.actions)
    assert rejected(tmp_path / "rejects.csv") == []


@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("first", ["\ufeff", "\ufeff101"])
@pytest.mark.parametrize("cell", ["30-39", '""""'])
def test_the_first_id_may_begin_with_the_character_of_a_bom(
    folder: MakeFolder, tmp_path: Path, mark: str, first: str, cell: str
) -> None:
    """Only the one at the beginning of the file is a BOM. Quoted cells are read in another way than plain ones."""
    users = f"{mark}user_id,age,city\n{first},{cell},1\n101,20-29,\n"
    data = read(folder({"users.csv": users}), tmp_path / "rejects.csv")
    assert set(data.users.get_column("user_id")) == {first, "101"}
    assert not [row for row in rejected(tmp_path / "rejects.csv") if row[0] == "users.csv"]


@pytest.mark.parametrize("encoding", ["gb18030", "utf-16", "latin-1", "utf-8-sig"])
def test_declared_encodings_are_read(folder: MakeFolder, encoding: str) -> None:
    city = "Zürich" if encoding == "latin-1" else "北京"
    users = f"user_id,age,city\n101,20-29,{city}\n102,30-39,\n"
    changes = {
        name: text.encode(encoding)
        for name, text in ((n, folder().joinpath(n).read_text()) for n in ("products.csv", "actions.csv"))
    }
    data = read(
        folder(
            {"schema.yaml": SCHEMA + f"encoding: {encoding}", "users.csv": users.encode(encoding), **changes}, name="e"
        )
    )
    assert data.users["city"].to_list() == [city, None]
    assert data.report.tally("users").rejected == 0


def test_rows_in_an_undeclared_encoding_are_rejected_by_line(folder: MakeFolder, tmp_path: Path) -> None:
    users = "user_id,age,city\n101,1,Rome\n102,1,Genève\n103,1,Oslo\n".encode("latin-1")
    data = read(folder({"users.csv": users}), tmp_path / "rejects.csv", max_damaged=0.5)
    assert data.users["user_id"].to_list() == ["101", "103"]
    assert rejected(tmp_path / "rejects.csv")[0][:2] == ("users.csv", 3)


def test_bytes_that_are_invalid_in_the_declared_encoding_reject_their_row(folder: MakeFolder, tmp_path: Path) -> None:
    users = "user_id,age,city\n101,1,北京\n102,1,上海\n103,1,Oslo\n".encode("gb18030").replace(
        b"102,1,", b"102,1,\xff\xff"
    )
    path = folder({"users.csv": users, "schema.yaml": SCHEMA + "encoding: gb18030"})
    data = read(path, tmp_path / "rejects.csv", max_damaged=0.5)
    assert data.users["city"].to_list() == ["北京", "Oslo"]
    assert rejected(tmp_path / "rejects.csv")[0][:2] == ("users.csv", 3)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "line 1 is empty"),
        (b"\n101,1,Rome\n", "line 1 is empty"),
        (b"user_id;age;city\n1;2;3\n", 'no column "user_id" .*It has: user_id;age;city; declare separator: ";" in'),
        (b"user_id\tage\tcity\n1\t2\t3\n", r'declare separator: "\\t" in schema.yaml'),
        (
            b"Our users,,\n,,\nuser_id,age,city\n1,2,3\n",
            "no column .*; line 3 looks like the header: remove what is above",
        ),
        (b"user_id,age,city,age\n1,2,3,4\n", 'names column "age" .user.fields.age of the schema. more than once'),
        (b"userid,age,city\n1,2,3\n", 'no column "user_id" .user.id of the schema.; did you mean "userid"'),
        (b"User_ID,age,city\n1,2,3\n", 'did you mean "User_ID"'),
        ("user_id,age,city\n".encode("utf-16"), "the text is UTF-16"),
    ],
)
def test_an_unusable_header_is_an_error_that_names_the_file(folder: MakeFolder, content: bytes, said: str) -> None:
    with pytest.raises(DataError, match=rf"users\.csv: .*{said}"):
        read(folder({"users.csv": content}))


def account(text: str, cut: int) -> tuple[dict[int, int], list[tuple[int, str]]]:
    """Return the number of lines of each row and rejected text, by its first line; and the texts of all."""
    splitter = Splitter(3)
    covered: dict[int, int] = {}
    texts: list[tuple[int, str]] = []
    pieces = [text[k : k + cut].encode() for k in range(0, len(text), cut)]
    for got in [splitter.feed(piece) for piece in pieces] + [splitter.feed(b"", final=True)]:
        found = [(line, got.text(row)) for row, line in enumerate(got.lines.tolist())]
        found += [(record.line, record.text) for record in got.records]
        found += [(broken.line, broken.text) for broken in got.broken]
        texts += found
        covered |= {line: content.count("\n") + 1 for line, content in found}
    return covered, sorted(texts)


def test_every_line_is_read_exactly_once() -> None:
    rng = random.Random(11)
    for _ in range(500):
        text = "".join(rng.choices('",\nab', weights=(3, 5, 3, 2, 2), k=rng.randint(1, 60)))
        covered, texts = account(text, cut=len(text))
        lines = text.split("\n")
        owners = [line + k for line, count in covered.items() for k in range(count)]
        assert len(owners) == len(set(owners))
        assert set(range(1, len(lines) + 1)) - set(owners) <= {
            n for n, line in enumerate(lines, 1) if not line.strip(",")
        }
        assert account(text, cut=rng.randint(1, 5))[1] == texts
