import csv
import signal
import subprocess
import sys
from pathlib import Path

import grpc
import pytest

from recmesh.cli.client import main
from recmesh.pb import as_pb2
from tests.component.client.conftest import LoopbackMesh

ROOT = Path(__file__).parents[3]


def rows(path: Path) -> list[list[str]]:
    with path.open(newline="") as file:
        return list(csv.reader(file))


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def batch(tmp_path: Path, text: str, *options: str) -> int:
    queries = tmp_path / "queries.csv"
    queries.write_text(text)
    return main(["batch", "--queries", str(queries), "--out", str(tmp_path / "out.csv"), *options])


def test_predictions_are_best_first_in_the_order_of_the_queries(
    environment: LoopbackMesh, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert batch(tmp_path, "user_id\n3\n1\n2\n", "--size", "2", "--new-only") == 0
    assert rows(tmp_path / "out.csv") == [
        ["user_id", "sku_id"], ["3", "a"], ["3", "b"], ["1", "a"], ["1", "b"], ["2", "a"], ["2", "b"],
    ]  # fmt: skip
    assert {(r.size, r.new_only) for r in environment.requests["as"]} == {(2, True)}
    assert names(tmp_path) == {"queries.csv", "out.csv"}
    assert "6 items for 3 of 3 queries, release r1" in capsys.readouterr().err


def test_scores_and_fields_are_written_on_request(
    environment: LoopbackMesh, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert batch(tmp_path, "user_id\n3\n", "--size", "2", "--scores", "--fields", "cate,no") == 0
    assert rows(tmp_path / "out.csv") == [
        ["user_id", "sku_id", "score", "cate", "no"], ["3", "a", "1", "c", ""], ["3", "b", "0.5", "c", ""],
    ]  # fmt: skip
    for taken in ("sku_id", "score", "cate,cate"):
        assert batch(tmp_path, "user_id\n3\n", "--scores", "--fields", taken) == 2
        assert f"would have two columns '{taken.split(',')[0]}'" in capsys.readouterr().err


def test_each_kind_of_user_is_sent_as_the_contract_says(environment: LoopbackMesh, tmp_path: Path) -> None:
    text = "user_id,age,job\n1,,\n2,6.0,\n500,5.0,cook\n,4.0,\n-1,3.0,\n600,,\n"
    assert batch(tmp_path, text, "--concurrency", "1", "--size", "1") == 0
    assert environment.requests["as"] == [
        as_pb2.ASRequest(size=1, user_id="1"),
        as_pb2.ASRequest(size=1, user_id="2", user_info={"user_id": "2", "age": "6.0"}),
        as_pb2.ASRequest(
            size=1, user_id="500", user_info={"user_id": "500", "age": "5.0", "attributes": {"job": "cook"}}
        ),
        as_pb2.ASRequest(size=1, user_info={"user_id": "0", "age": "4.0"}),
        as_pb2.ASRequest(size=1, user_info={"user_id": "0", "age": "3.0"}),
        as_pb2.ASRequest(size=1, user_id="600"),
    ]
    assert [row[0] for row in rows(tmp_path / "out.csv")[1:]] == ["1", "2", "500", "row-5", "row-6", "600"]


def test_degraded_answers_are_counted_by_reason(
    environment: LoopbackMesh, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    environment.degraded = {"1": ["rank", "recall:two_tower"], "2": ["rank"]}
    assert batch(tmp_path, "user_id\n1\n2\n3\n") == 0
    assert "degraded: 2 answers (rank 2, recall:two_tower 1)" in capsys.readouterr().err


def test_a_failed_query_is_listed_and_tried_again(
    environment: LoopbackMesh, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    environment.faults["as"].append(grpc.StatusCode.INVALID_ARGUMENT)
    text = "user_id\n1\n2\n"
    assert batch(tmp_path, text, "--concurrency", "1", "--size", "1") == 5
    assert rows(tmp_path / "out.csv") == [["user_id", "sku_id"], ["2", "a"]]
    assert rows(tmp_path / "out.csv.failed.csv")[1][0] == "1"
    assert "failed: 1 queries" in capsys.readouterr().err
    assert batch(tmp_path, text, "--concurrency", "1", "--size", "1") == 0
    assert rows(tmp_path / "out.csv") == [["user_id", "sku_id"], ["1", "a"], ["2", "a"]]
    assert [request.user_id for request in environment.requests["as"]] == ["1", "2", "1"]
    assert names(tmp_path) == {"queries.csv", "out.csv"}


def test_a_batch_survives_overload_and_restarts(environment: LoopbackMesh, tmp_path: Path) -> None:
    environment.faults["as"].extend([grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.UNAVAILABLE] * 3)
    assert batch(tmp_path, "user_id\n" + "".join(f"{k}\n" for k in range(40)), "--size", "1") == 0
    assert len(rows(tmp_path / "out.csv")) == 41


def test_an_unreachable_mesh_ends_the_batch_without_waiting_for_every_deadline(
    environment: LoopbackMesh, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    environment.kill()
    text = "user_id\n" + "".join(f"{k}\n" for k in range(1_000))
    assert batch(tmp_path, text, "--timeout", "1") == 6
    assert not (tmp_path / "out.csv").exists()
    environment.start()
    assert batch(tmp_path, text, "--size", "1") == 0
    assert len(rows(tmp_path / "out.csv")) == 1_001


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_batch_resumes(environment: LoopbackMesh, tmp_path: Path, stop: signal.Signals) -> None:
    queries, out = tmp_path / "queries.csv", tmp_path / "out.csv"
    queries.write_text("user_id\n" + "".join(f"u{k}\n" for k in range(300)))
    command: list[str | Path] = [
        sys.executable,
        ROOT / "client.py",
        "batch",
        "--queries",
        queries,
        "--out",
        out,
        "--concurrency",
        "4",
    ]
    environment.hold_from["as"] = 100
    process = subprocess.Popen(command, stderr=subprocess.PIPE)
    environment.wait_for("as", 100)
    process.send_signal(stop)
    _, printed = process.communicate(timeout=60)
    assert process.returncode in (130, -signal.SIGKILL)
    assert b"Traceback" not in printed
    assert not out.exists()
    with (tmp_path / "out.csv.part").open("a") as file:
        file.write('["u299", ["a", ')
    environment.gate.set()
    subprocess.run(command, check=True)
    in_flight = 4
    assert environment.calls["as"] <= 300 + in_flight
    assert rows(out) == [
        ["user_id", "sku_id"],
        *([f"u{k}", sku_id] for k in range(300) for sku_id in environment.items),
    ]
    assert names(tmp_path) == {"queries.csv", "out.csv"}


def test_answers_of_another_run_are_discarded(
    environment: LoopbackMesh, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    environment.faults["as"].append(grpc.StatusCode.INVALID_ARGUMENT)
    assert batch(tmp_path, "user_id\n1\n2\n", "--size", "1", "--concurrency", "1") == 5
    assert batch(tmp_path, "user_id\n1\n2\n", "--size", "2") == 0
    assert len(rows(tmp_path / "out.csv")) == 5
    assert "starting over" in capsys.readouterr().err


def test_two_batches_cannot_write_one_file(
    environment: LoopbackMesh, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    queries, out = tmp_path / "queries.csv", tmp_path / "out.csv"
    queries.write_text("user_id\n1\n")
    environment.gate.clear()
    command: list[str | Path] = [sys.executable, ROOT / "client.py", "batch", "--queries", queries, "--out", out]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    environment.wait_for("as", 1)
    assert batch(tmp_path, "user_id\n1\n") == 2
    assert "another run" in capsys.readouterr().err
    environment.gate.set()
    assert process.wait(60) == 0


def test_a_file_without_queries_gives_a_file_without_predictions(environment: LoopbackMesh, tmp_path: Path) -> None:
    assert batch(tmp_path, "user_id\n") == 0
    assert rows(tmp_path / "out.csv") == [["user_id", "sku_id"]]


@pytest.mark.parametrize(
    "text", ["", "user_id,user_id\n1,1\n", "user_id,age\n1\n", "user_id,age\n1,2\n1,3\n", 'user_id\n"1\n']
)
def test_a_damaged_file_is_one_line_and_exit_code_3(
    environment: LoopbackMesh, tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    assert batch(tmp_path, text) == 3
    assert capsys.readouterr().err.count("\n") == 1
    assert not environment.calls
