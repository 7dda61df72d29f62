import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TypeVar

import grpc
import pytest
from google.protobuf import text_format
from google.protobuf.message import Message

from recmesh.cli.client import main
from recmesh.conditions import Condition
from recmesh.filters import to_message
from recmesh.pb import as_pb2, cm_pb2, rank_pb2, recall_pb2, um_pb2
from tests.component.client.conftest import LoopbackMesh

ROOT = Path(__file__).parents[3]
STATUS = grpc.StatusCode
M = TypeVar("M", bound=Message)


def parse(capsys: pytest.CaptureFixture[str], message: M) -> M:
    return text_format.Parse(capsys.readouterr().out, message)


def test_um_prints_the_protobuf_text_form(environment: LoopbackMesh, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["um", "1"]) == 0
    assert parse(capsys, um_pb2.UserModelResponse()).user_info.attributes["job"] == "cook"


@pytest.mark.parametrize("ids", [["a,b"], ["a", "b"], ["a,", "b"], ["a, b"]])
def test_cm_takes_ids_with_commas_and_spaces(
    environment: LoopbackMesh, capsys: pytest.CaptureFixture[str], ids: list[str]
) -> None:
    assert main(["cm", *ids]) == 0
    assert [item.sku_id for item in parse(capsys, cm_pb2.CMResponse()).item_infos] == ["a", "b"]


def test_recall_sends_the_profile_and_history_of_um(
    environment: LoopbackMesh, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["recall", "1", "--size", "3", "--channel", "popular"]) == 0
    assert [pair.nid for pair in parse(capsys, recall_pb2.RecallResponse()).score_pairs] == ["a", "b", "c"]
    sent = environment.requests["recall"][0]
    assert (sent.user_info.age, list(sent.history.sku_ids)) == ("5.0", ["b", "a"])
    assert (sent.request_num, sent.recall_type) == (3, "popular")


def test_rank_without_arguments_sends_the_request_of_the_legacy_client(
    environment: LoopbackMesh, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["rank"]) == 0
    assert [pair.nid for pair in parse(capsys, rank_pb2.RankResponse()).score_pairs] == ["1"]
    assert environment.requests["rank"][0] == rank_pb2.RankRequest(
        user_info={
            "user_id": "1", "age": "5.0", "sex": "1.0", "city_level": "5.0",
            "province": "20.0", "city": "176.0", "country": "1933.0",
        },
        item_infos=[{"sku_id": "1", "brand": "3456", "shopid": "6980", "cate": "70"}],
    )  # fmt: skip


def test_as_by_id_and_by_profile(environment: LoopbackMesh, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["as", "8"]) == 0
    assert [item.sku_id for item in parse(capsys, as_pb2.ASResponse()).item_infos] == list("abcdefghij")
    assert main(["as", "5.0", "1.0", "3.0", "-1", "120.0", "741.0"]) == 0
    known, new = environment.requests["as"]
    assert known == as_pb2.ASRequest(user_id="8")
    assert new == as_pb2.ASRequest(
        user_info={
            "user_id": "0", "age": "5.0", "sex": "1.0", "city_level": "3.0",
            "province": "-1", "city": "120.0", "country": "741.0",
        }
    )  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "user_id"),
    [
        (["-1"], "-1"),
        (["-.5", "--size", "1"], "-.5"),
        (["--size", "1", "-1h"], "-1h"),
        (["--", "-abc"], "-abc"),
        (["--siz=1", "-a b"], "-a b"),
    ],
)
def test_ids_may_begin_with_a_dash(environment: LoopbackMesh, arguments: list[str], user_id: str) -> None:
    assert main(["as", *arguments]) == 0
    assert environment.requests["as"][0].user_id == user_id


def test_the_packages_of_tables_and_batches_are_imported_only_for_them(environment: LoopbackMesh) -> None:
    """Importing them takes half as long as a request by `client.py um 8888` does altogether."""
    code = """
import sys
from recmesh.cli.client import main

assert main(["um", "1"]) == 0
assert not {"rich", "pydantic", "polars", "recmesh.cli.batch"} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


@pytest.mark.parametrize("command", [[], ["as"], ["batch"]])
@pytest.mark.parametrize("option", ["-h", "--help"])
def test_help(capsys: pytest.CaptureFixture[str], command: list[str], option: str) -> None:
    assert main([*command, option]) == 0
    assert "Usage: client.py" in capsys.readouterr().out


def test_options_reach_as(environment: LoopbackMesh, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["as", "8", "--size", "3", "--exclude", "a,b", "--exclude", "c", "--new-only", "--explain"]) == 0
    assert environment.requests["as"] == [
        as_pb2.ASRequest(user_id="8", size=3, exclude_ids=["a", "b", "c"], new_only=True, explain=True)
    ]


def test_a_guest_is_a_history_a_profile_or_both(environment: LoopbackMesh) -> None:
    assert main(["as", "--history", "b,c", "--profile", "age=3", "--profile", "job=cook", "--why-not", "x,y"]) == 0
    assert main(["as", "8", "--profile", "age=3"]) == 0
    assert main(["as", "--scenario", "trending"]) == 0
    assert environment.requests["as"] == [
        as_pb2.ASRequest(
            user_info={"user_id": "0", "age": "3", "attributes": {"job": "cook"}},
            history={"sku_ids": ["b", "c"]},
            explain_missing=["x", "y"],
        ),
        as_pb2.ASRequest(user_id="8", user_info={"user_id": "8", "age": "3"}),
        as_pb2.ASRequest(scenario="trending"),
    ]


def test_filters_reach_as_and_recall(environment: LoopbackMesh, capsys: pytest.CaptureFixture[str]) -> None:
    texts = ["cate=12,13", "price<=9", 'brand!="Ben, Jerry"']
    filters = [argument for text in texts for argument in ("--filter", text)]
    assert main(["as", "8", *filters]) == 0
    assert main(["recall", "1", *filters]) == 0
    expected = to_message(map(Condition.parse, texts))
    assert environment.requests["as"][0].filter == environment.requests["recall"][0].filter == expected
    assert main(["as", "8", "--filter", "price<9"]) == 2
    assert "'price<9' is not a condition: write cate=12,13" in capsys.readouterr().err


def test_json_and_table(environment: LoopbackMesh, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["as", "8", "--size", "2", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert [item["sku_id"] for item in answer["item_infos"]] == ["a", "b"]
    for command in (["um", "1"], ["cm", "a", "no"], ["recall", "1"], ["rank"], ["as", "1"]):
        assert main([*command, "--table"]) == 0
    assert "not there: no" in capsys.readouterr().out


def test_the_target_option_overrides_the_environment(
    environment: LoopbackMesh, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RECMESH_AS_TARGET", "127.0.0.1:1")
    assert main(["as", "1", "--target", environment.target]) == 0


@pytest.mark.parametrize(
    ("status", "code"),
    [(STATUS.INVALID_ARGUMENT, 5), (STATUS.RESOURCE_EXHAUSTED, 6), (STATUS.DEADLINE_EXCEEDED, 7), (STATUS.INTERNAL, 1)],
)
def test_a_status_is_one_line_and_its_exit_code(
    environment: LoopbackMesh, capsys: pytest.CaptureFixture[str], status: grpc.StatusCode, code: int
) -> None:
    environment.faults["as"].append(status)
    assert main(["as", "1"]) == code
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("client.py: as at ") and printed.err.count("\n") == 1


def test_an_unreachable_service_is_exit_code_6(environment: LoopbackMesh, capsys: pytest.CaptureFixture[str]) -> None:
    environment.kill()
    assert main(["as", "1", "--timeout", "1"]) == 6
    assert capsys.readouterr().err.count("\n") == 1


def test_a_failed_answer_is_printed_and_exit_code_8(
    environment: LoopbackMesh, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["um", "5000"]) == 8
    printed = capsys.readouterr()
    assert 'user_id: \\"5000\\"' in printed.out
    assert printed.err.startswith("client.py: um answered 500: UM server") and printed.err.count("\n") == 1


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["nothing"],
        ["as"],
        ["as", "1", "--size", "201"],
        ["um", "1", "--timeout", "0"],
        ["um", "1", "--timeout", "x"],
        ["as", "1", "--json", "--table"],
        ["as", "1", "--unknown"],
        ["as", "-abc"],
        ["um", "1", "2"],
        ["recall", "1", "--size", "-3"],
        ["score", "--pairs", "p.csv", "--out", "o.csv", "--by", "chance"],
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    assert main(arguments) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_profile_with_five_fields_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["as", "5.0", "1.0", "3.0", "11.0", "120.0"]) == 2
    assert "six fields" in capsys.readouterr().err


def test_the_script_runs_from_any_folder(environment: LoopbackMesh, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "client.py", "as", "8", "--size", "1"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert 'sku_id: "a"' in done.stdout


def test_a_python_without_the_packages_gets_a_hint() -> None:
    done = subprocess.run(
        [sys.executable, "-S", "-E", ROOT / "client.py", "as", "8"],
        capture_output=True,
        text=True,
        env=os.environ,
        check=False,
    )
    assert done.returncode == 2
    assert "this Python has no " in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("command", "scenario", "context"),
    [(["similar", "a"], "related", ["a"]), (["basket", "a,b"], "basket", ["a", "b"])],
)
def test_lists_for_items_name_their_scenario(
    environment: LoopbackMesh,
    capsys: pytest.CaptureFixture[str],
    command: list[str],
    scenario: str,
    context: list[str],
) -> None:
    assert main([*command, "--size", "3"]) == 0
    assert parse(capsys, as_pb2.ASResponse()).error.code == 200
    sent = environment.requests["as"][0]
    assert (sent.scenario, list(sent.context_ids), sent.size, sent.user_id) == (scenario, context, 3, "")
