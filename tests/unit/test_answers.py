"""The lines of the log of answers."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from recmesh.answers import LoggedAnswer, answer_files, read_answers
from recmesh.errors import DataError

LINE: dict[str, Any] = {
    "time": 1_764_403_200_000,
    "now": 1_700_000_000_001,
    "release": "r1",
    "items": ["b", "a"],
    "candidates": {"ids": ["a", "b", "c"], "scores": [3, 2, 1]},
    "channels": {"popular": {"positions": [0, 2], "scores": [1, 1]}, "new": {"positions": [], "scores": []}},
    "ranked": {"ids": ["b", "a", "c"], "scores": [0.3, 0.2, 0.1]},
    "request": {"user_id": "5"},
    "profile": {},
    "history": {},
}
ANSWER = LoggedAnswer.model_validate(LINE)


def read_all(*files: Path) -> tuple[list[tuple[str, LoggedAnswer]], list[str]]:
    faults: list[str] = []
    return list(read_answers(files, faults.append)), faults


def test_a_line_says_who_asked_and_which_channels_proposed_what() -> None:
    assert ANSWER.user_id == "5"
    assert ANSWER.proposals() == {"popular": {"a", "c"}, "new": set()}
    assert ANSWER.model_copy(update={"request": {}}).user_id == ""


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"version": 2}, "version 2 of the format; this program reads version 1"),
        ({"items": None}, "items: Input should be a valid array"),
        ({"ranked": {"ids": ["a"], "scores": []}}, "ranked: Value error, ids and scores differ in length"),
        ({"channels": {"new": {"positions": [3], "scores": [1]}}}, "channel new proposed a position"),
        ({"channels": {"new": {"positions": [-1], "scores": [1]}}}, "channel new proposed a position"),
    ],
)
def test_a_bad_line_is_named_and_the_others_are_read(tmp_path: Path, changes: dict[str, Any], fault: str) -> None:
    good, bad = ANSWER.model_dump_json(), json.dumps({**LINE, **changes})
    file = tmp_path / "log.jsonl"
    file.write_text("\n".join([good, bad, "", good[:-9], good]) + "\n")
    found, faults = read_all(file)
    assert found == [(f"{file}:1", ANSWER), (f"{file}:5", ANSWER)]
    assert [of.partition(": ")[0] for of in faults] == [f"{file}:{line}" for line in (2, 3, 4)]
    assert fault in faults[0]


def test_compressed_files_are_read_as_far_as_they_go(tmp_path: Path) -> None:
    line = ANSWER.model_dump_json().encode() + b"\n"
    whole, cut = tmp_path / "answers-1.jsonl.gz", tmp_path / "answers-2.jsonl.gz"
    whole.write_bytes(gzip.compress(line * 2))
    cut.write_bytes(gzip.compress(line) + gzip.compress(line)[:-9])
    found, faults = read_all(whole, cut, tmp_path / "none.jsonl")
    assert [place for place, _ in found][:3] == [f"{whole}:1", f"{whole}:2", f"{cut}:1"]
    assert len(faults) == 2
    assert f"{cut}:" in faults[0] and "cannot be read from here on" in faults[0]
    assert f"{tmp_path / 'none.jsonl'}:1: cannot be read" in faults[1]


def test_the_files_of_a_folder_come_by_age(tmp_path: Path) -> None:
    for name in ("answers-20261129T1-b.jsonl", "answers-20261128T1-c.jsonl.gz", "other.jsonl", "answers-1.txt"):
        (tmp_path / name).write_bytes(b"")
    assert [file.name for file in answer_files(tmp_path)] == [
        "answers-20261128T1-c.jsonl.gz",
        "answers-20261129T1-b.jsonl",
    ]
    assert answer_files(tmp_path / "other.jsonl") == [tmp_path / "other.jsonl"]
    with pytest.raises(DataError, match="RECMESH_ANSWER_SAMPLE makes `as` log"):
        answer_files(tmp_path / "none")
