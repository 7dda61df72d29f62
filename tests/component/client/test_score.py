import csv
from pathlib import Path

import pytest

from recmesh.cli.client import main
from tests.component.client.conftest import LoopbackMesh


def rows(path: Path) -> list[list[str]]:
    with path.open(newline="") as file:
        return list(csv.reader(file))


def score(tmp_path: Path, pairs: str, *options: str) -> int:
    (tmp_path / "pairs.csv").write_text(pairs)
    return main(["score", "--pairs", str(tmp_path / "pairs.csv"), "--out", str(tmp_path / "out.csv"), *options])


def test_a_users_pairs_are_scored_in_one_call_with_the_history(environment: LoopbackMesh, tmp_path: Path) -> None:
    assert score(tmp_path, "label,user_id,sku_id\n1,1,a\n0,2,bb\n1,1,cc\n1,1,a\n", "--new-only") == 0
    assert [row[:2] for row in rows(tmp_path / "out.csv")] == [
        ["user_id", "sku_id"],
        ["1", "a"],
        ["2", "bb"],
        ["1", "cc"],
    ]
    scores = [float(row[2]) for row in rows(tmp_path / "out.csv")[1:]]
    assert scores == pytest.approx([0.5 + k / 1024 for k in (1, 2, 2)])
    sent = {request.user_info.user_id: request for request in environment.requests["rank"]}
    assert list(sent["1"].item_ids) == ["a", "cc"]
    assert list(sent["1"].history.sku_ids) == ["b", "a"]
    assert sent["1"].new_only


def test_scores_are_debiased_unless_those_of_lists_are_wanted(environment: LoopbackMesh, tmp_path: Path) -> None:
    assert score(tmp_path, "user_id,sku_id\n1,a\n") == 0
    for kind in ("debiased", "affinity", "list"):
        assert score(tmp_path, "user_id,sku_id\n1,a\n", "--by", kind) == 0
    assert [request.affinity for request in environment.requests["rank"]] == [True, True, True, False]


def test_profiles_of_a_file_override_stored_ones(
    environment: LoopbackMesh, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    users = tmp_path / "users.csv"
    users.write_text("user_id,age,job\n1,9.0,\n500,,smith\n")
    assert score(tmp_path, "user_id,sku_id\n1,a\n500,a\n600,a\n", "--users", str(users), "--concurrency", "1") == 0
    known, new, nobody = (request.user_info for request in environment.requests["rank"])
    assert (known.age, known.city, dict(known.attributes)) == ("9.0", "7", {"job": "cook"})
    assert (new.user_id, dict(new.attributes)) == ("0", {"job": "smith"})
    assert (nobody.user_id, dict(nobody.attributes)) == ("0", {})
    assert "scored without profile and history: 1 users" in capsys.readouterr().err


def test_pairs_without_a_score_are_listed_and_the_exit_code_says_so(
    environment: LoopbackMesh, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert score(tmp_path, "user_id,sku_id\n1,unknown\n1,a\n") == 1
    assert [row[:2] for row in rows(tmp_path / "out.csv")] == [["user_id", "sku_id"], ["1", "a"]]
    assert rows(tmp_path / "out.csv.failed.csv")[1] == ["1", "unknown", "rank does not know the item"]
    assert "without a score: 1 pairs" in capsys.readouterr().err


def test_a_file_without_the_columns_is_exit_code_3(
    environment: LoopbackMesh, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert score(tmp_path, "user,item\n1,a\n") == 3
    assert "no column user_id, sku_id" in capsys.readouterr().err
