"""`recmesh feed load` over a real feed."""

import csv
import json
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import polars as pl
import pytest

from recmesh.client import Item
from tests.component.client.live import LiveMesh
from tests.waiting import eventually

ROOT = Path(__file__).parents[3]
DAY = 86_400_000
FIRST = "2025-07-01T00:00:00"
START = 1_751_328_000_000  # FIRST
TYPO = "type 'vieww' is not one of order, cart, view"


def command(file: Path, *options: str) -> list[str]:
    return [sys.executable, "-m", "recmesh", "feed", "load", str(file), *options]


def load(file: Path, *options: str, code: int = 0) -> str:
    """Load a file; return what is printed."""
    finished = subprocess.run(
        command(file, *options), cwd=ROOT, capture_output=True, text=True, check=False, timeout=120
    )
    assert finished.returncode == code, finished.stderr
    assert finished.stdout == ""
    return finished.stderr


def rows(path: Path) -> list[list[str]]:
    with path.open(newline="") as file:
        return list(csv.reader(file))


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_rows_that_cannot_be_used_are_listed_and_the_others_recorded(
    live_environment: LiveMesh, tmp_path: Path
) -> None:
    file = tmp_path / "actions.csv"
    good = "".join(f"l1,i{k},{FIRST[:-2]}{k:02},view,{k}\n" for k in range(10))
    bad = ["l1,i1,,view,1", "-1,i1,2025-07-01,view,1", "l1,i1,2025-07-01,vieww,1"]
    file.write_text("user_id,sku_id,time,type,value\n" + good + "\n".join(bad) + "\n")
    printed = load(file, code=3)
    assert f"{file}: 10 of 13 rows are in feed's log\n" in printed
    assert "actions of anonymous users, which are not recorded: 1\n" in printed
    assert "warning: actions: 2 of 13 rows cannot be used" in printed
    assert names(tmp_path) == {"actions.csv", "_actions.csv.rejects.csv"}
    assert rows(tmp_path / "_actions.csv.rejects.csv") == [
        ["file", "line", "reason", "row"],
        [
            "actions.csv",
            "12",
            "time is not ISO 8601 (epoch times need action.unit, other forms action.format), "
            "or is not between 1970 and 2100",
            bad[0],
        ],
        ["actions.csv", "13", "anonymous: the user is empty or -1", bad[1]],
        ["actions.csv", "14", TYPO, f"l1,i1,{START},vieww,1.0,"],
    ]
    live_environment.has_actions("l1", [(f"i{k}", START + 1000 * k, "view", k) for k in reversed(range(10))])


def test_a_file_that_is_loaded_twice_counts_once(live_environment: LiveMesh, tmp_path: Path) -> None:
    file = tmp_path / "actions.csv"
    # No times: without event ids, these would be four actions.
    file.write_text("sku_id,user_id\ni1,twice\ni2,twice\n")
    assert f"{file}: 2 of 2 rows are in feed's log\n" in load(file)
    before = live_environment.logged()
    assert f"{file}: 2 of 2 rows are in feed's log, 2 of them before\n" in load(file)
    assert live_environment.logged() == before
    assert names(tmp_path) == {"actions.csv"}
    eventually(lambda: len(live_environment.actions("twice")) == 2, lambda: live_environment.actions("twice"))
    kinds = {(sku_id, kind) for sku_id, _, kind, _ in live_environment.actions("twice")}
    assert kinds == {("i1", "order"), ("i2", "order")}


def test_ids_of_events_are_those_of_the_file(live_environment: LiveMesh, tmp_path: Path) -> None:
    file = tmp_path / "actions.csv"
    file.write_text("user_id,sku_id,event_id\nevents,i1,e1\nevents,i2,e1\nevents,i3,\n")
    assert "3 of 3 rows are in feed's log, 1 of them before\n" in load(file)
    expected = {"i1", "i3"}
    eventually(lambda: {row[0] for row in live_environment.actions("events")} == expected, lambda: "other actions")


SCHEMA = """
action: {user: who, item: what.id, time: at, unit: s, type: did, value: stars}
encoding: gb18030
separator: ";"
missing: ["", "-"]
decimal: ","
"""
ROWS = [("用户", "a;b", 1_751_328_000, "view", "2,5"), ("用户", "i2", 1_751_414_400, "cart", "-")]
COLUMNS = ("who", "what.id", "at", "did", "stars")


def write(file: Path, given: Sequence[tuple[object, ...]]) -> None:
    if file.suffix == ".parquet":
        pl.DataFrame(given, COLUMNS, orient="row").write_parquet(file)
    elif file.suffix == ".jsonl":
        objects = (
            {"who": who, "what": {"id": item}, "at": at, "did": did, "stars": stars}
            for who, item, at, did, stars in given
        )
        file.write_text("".join(json.dumps(each, ensure_ascii=False) + "\n" for each in objects), encoding="gb18030")
    else:
        with file.open("w", encoding="gb18030", newline="") as out:
            csv.writer(out, delimiter="\t" if file.suffix == ".tsv" else ";").writerows([COLUMNS, *given])


@pytest.mark.parametrize("form", ["csv", "tsv", "parquet", "jsonl"])
@pytest.mark.parametrize("beside", [True, False], ids=["schema in the folder", "schema by option"])
def test_the_schema_says_how_a_file_is_read(
    live_environment: LiveMesh, tmp_path: Path, form: str, beside: bool
) -> None:
    user = f"用户 {form} {beside}"
    file, schema = tmp_path / f"clicks.{form}", tmp_path / ("schema.yaml" if beside else "other.yaml")
    schema.write_text(SCHEMA)
    write(file, [(user, *cells) for _, *cells in ROWS])
    load(file, *([] if beside else ["--schema", str(schema)]))
    live_environment.has_actions(user, [("i2", START + DAY, "cart", 1.0), ("a;b", START, "view", 2.5)])


def test_users_and_items_change_by_files(live_environment: LiveMesh, tmp_path: Path) -> None:
    users, items = tmp_path / "users.csv", tmp_path / "products.jsonl"
    users.write_text("age,user_id,income\n30,f1,1\n31,f2,high\n32,f1,\n")
    items.write_text('{"sku_id": 7, "price": 9.5, "brand": "b"}\n{"sku_id": 8, "cate": "70"}\n')
    printed = load(users, "--kind", "users", "--rejects", str(tmp_path / "rejects.csv"), code=3)
    assert f"{users}: 1 of 3 rows are in feed's log\n" in printed
    assert "replaced by later rows with the same id: 1 rows\n" in printed
    assert rows(tmp_path / "rejects.csv")[1:] == [
        ["users.csv", "3", "user field income is numeric, but 'high' is no number", "f2,31,high"]
    ]
    live_environment.has_profile("f1", {"age": "32"})
    assert f"{items}: 2 of 2 rows" in load(items, "--kind", "items")
    live_environment.offers("7", Item("7", {"price": "9.5", "brand": "b"}))
    live_environment.offers("8", Item("8", {"cate": "70"}))
    users.write_text("user_id,income\nf1,5\n")
    load(users, "--kind", "users")
    live_environment.has_profile("f1", {"age": "32", "income": "5"})


def test_nothing_is_sent_if_a_file_is_unusable(live_environment: LiveMesh, tmp_path: Path) -> None:
    before = live_environment.logged()
    file = tmp_path / "actions.csv"
    file.write_text("user_id,sku_id,time\n" + "u,i,1751328000000\n" * 3 + "u,i,2025-07-01\n")
    printed = load(file, code=3)
    assert "recmesh: actions: 3 of 4 rows cannot be used (more than the 20%" in printed
    assert "declare action.unit: ms in schema.yaml" in printed
    file.write_text("user,sku_id\nu,i\n")
    assert 'no column "user_id"' in load(file, code=3)
    assert "no such file" in load(tmp_path / "other.csv", code=3)
    assert "the form is not known" in load(ROOT / "Makefile", code=3)
    assert "actions, users, items" in load(file, "--kind", "shops", code=2)
    assert live_environment.logged() == before
    assert names(tmp_path) == {"actions.csv", "_actions.csv.rejects.csv"}


def test_a_load_ends_if_feed_does_not_answer_and_resumes(live_environment: LiveMesh, tmp_path: Path) -> None:
    file = tmp_path / "actions.csv"
    file.write_text("user_id,sku_id\nlater,i1\n")
    printed = load(file, "--target", "127.0.0.1:1", "--timeout", "0.2", code=6)
    assert "failed: 1 requests; the same command sends them again" in printed
    assert "feed at 127.0.0.1:1 did not answer" in printed
    assert names(tmp_path) == {"actions.csv"}
    assert "1 of 1 rows" in load(file)


def test_a_killed_load_resumes_and_every_row_counts_once(own_live: LiveMesh, tmp_path: Path) -> None:
    file, journal = tmp_path / "actions.csv", tmp_path / "_actions.csv.part"
    # Without times, a repeated row would be another action.
    lines = [f"k{k % 2000},i{k}" for k in range(20_001)]
    lines[19_500] = "-1,i"
    file.write_text("user_id,sku_id\n" + "\n".join(lines) + "\n")
    options = ("--target", own_live.targets["feed"], "--concurrency", "2")
    process = subprocess.Popen(command(file, *options), cwd=ROOT, stderr=subprocess.PIPE)
    eventually(lambda: journal.exists() and len(journal.read_bytes().splitlines()) > 3, lambda: "no requests")
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    # As if the last line had been cut off.
    *finished, last = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join(finished) + last[:5])
    printed = load(file, *options)
    assert f"{1000 * (len(finished) - 1):,} of them by an earlier run\n" in printed
    assert f"{file}: 20,000 of 20,001 rows are in feed's log, " in printed
    assert own_live.logged() == 20_000
    requests = own_live.feed.metrics()
    answered = sum(
        count for name, count in requests.items() if name.startswith("recmesh_requests_total") and 'status="OK"' in name
    )
    assert answered <= 20 + 3  # the one without a line, and the two in flight
    assert rows(tmp_path / "_actions.csv.rejects.csv")[1:] == [
        ["actions.csv", "19502", "anonymous: the user is empty or -1", "-1,i"]
    ]
    assert names(tmp_path) == {"actions.csv", "_actions.csv.rejects.csv"}
    expected = {f"i{k}" for k in range(1500, 20_001, 2000) if k != 19_500}
    eventually(lambda: {row[0] for row in own_live.actions("k1500")} == expected, lambda: own_live.actions("k1500"))


def test_a_changed_file_is_another_load(live_environment: LiveMesh, tmp_path: Path) -> None:
    file, journal = tmp_path / "actions.csv", tmp_path / "_actions.csv.part"
    file.write_text("user_id,sku_id\nchanged,i1\n")
    journal.write_text('{"file": "another"}\n["0", 1, 0, []]\n')
    assert "belongs to a load of other rows, or to another target: starting over" in load(file)
    eventually(lambda: len(live_environment.actions("changed")) == 1, lambda: live_environment.actions("changed"))


def test_two_loads_of_a_file_exclude_each_other(live_environment: LiveMesh, tmp_path: Path) -> None:
    file = tmp_path / "actions.csv"
    file.write_text("user_id,sku_id\nlocked,i1\n")
    hold = f"import fcntl, sys; f = open({str(tmp_path / '_actions.csv.part')!r}, 'a'); fcntl.flock(f, fcntl.LOCK_EX)"
    holder = subprocess.Popen(
        [sys.executable, "-c", f"{hold}; print(flush=True); sys.stdin.read()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert holder.stdout is not None
    holder.stdout.readline()
    assert "another run is writing it; wait until it has ended" in load(file, code=2)
    holder.communicate(timeout=60)
    assert "1 of 1 rows" in load(file)
