"""The commands of client.py that change something, over a real feed."""

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from google.protobuf import text_format

from recmesh.cli.client import main
from recmesh.client import Item
from recmesh.pb.feed_pb2 import FeedResponse
from tests.component.client.live import LiveMesh
from tests.waiting import eventually

ROOT = Path(__file__).parents[3]
NOON = 1_751_371_200_000  # 2025-07-01T12:00:00Z

Captured = pytest.CaptureFixture[str]


def answer(capsys: Captured) -> FeedResponse:
    return text_format.Parse(capsys.readouterr().out, FeedResponse())


@pytest.mark.parametrize(
    "time", ["2025-07-01T12:00:00Z", "2025-07-01 12:00", "2025-07-01T14:00:00.000+02:00", str(NOON)]
)
def test_record_takes_type_value_and_time(live_environment: LiveMesh, capsys: Captured, time: str) -> None:
    user = f"record {time}"
    assert main(["record", user, "i7", "--type", "view", "--value", "-2.5", "--time", time]) == 0
    assert answer(capsys).accepted == 1
    live_environment.has_actions(user, [("i7", NOON, "view", -2.5)])


def test_record_without_options_is_the_strongest_type_now(live_environment: LiveMesh, capsys: Captured) -> None:
    assert main(["record", "record now", "i7", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert (printed["error"]["code"], printed["accepted"]) == (200, 1)
    eventually(lambda: len(live_environment.actions("record now")) == 1, lambda: "no action")
    ((sku_id, time, kind, value),) = live_environment.actions("record now")
    assert (sku_id, kind, value) == ("i7", "order", 1.0)
    assert time > NOON


def test_what_feed_rejects_is_an_error_of_one_line(live_environment: LiveMesh, capsys: Captured) -> None:
    assert main(["record", "8", "i7", "--type", "vieww"]) == 5
    printed = capsys.readouterr()
    assert printed.err == "client.py: 8 i7: type 'vieww' is not one of order, cart, view\n"
    assert text_format.Parse(printed.out, FeedResponse()).rejected[0].position == 0
    assert main(["put", "user", "8", "aeg=3"]) == 5
    assert (
        capsys.readouterr().err == "client.py: 8: user field 'aeg' is not in the schema, which has: age, city, income\n"
    )
    long = "x" * 129
    assert main(["remove", "i8", long]) == 5
    assert capsys.readouterr().err == f"client.py: {long}: sku_id has 129 bytes: at most 128\n"


def test_an_item_comes_changes_hides_and_goes(live_environment: LiveMesh) -> None:
    assert main(["put", "item", "c1", "cate=70", "price=9.5", "brand=a=b"]) == 0
    live_environment.offers("c1", Item("c1", {"cate": "70", "price": "9.5", "brand": "a=b"}))
    assert main(["put", "item", "c1", "price=", "cate=71"]) == 0
    live_environment.offers("c1", Item("c1", {"cate": "71", "brand": "a=b"}))
    assert main(["available", "c1", "off"]) == 0
    live_environment.offers("c1", None)
    assert main(["available", "c1", "on"]) == 0
    live_environment.offers("c1", Item("c1", {"cate": "71", "brand": "a=b"}))
    assert main(["put", "item", "c2"]) == 0
    live_environment.offers("c2", Item("c2"))
    assert main(["remove", "c1,c2"]) == 0
    live_environment.offers("c1", None)
    live_environment.offers("c2", None)


def test_a_user_comes_and_goes(live_environment: LiveMesh, capsys: Captured) -> None:
    assert main(["put", "user", "-7", "age=30", "income=1"]) == 0
    live_environment.has_profile("-7", {"age": "30", "income": "1"})
    assert main(["put", "user", "-7", "income="]) == 0
    live_environment.has_profile("-7", {"age": "30"})
    capsys.readouterr()
    assert main(["delete-user", "-7", "--yes"]) == 0
    assert answer(capsys).accepted == 1
    live_environment.has_profile("-7", None)


@pytest.mark.parametrize(
    ("said", "code", "profile"), [("n\n", 1, {"age": "30"}), ("\n", 1, {"age": "30"}), ("y\n", 0, None)]
)
def test_delete_user_asks_on_a_terminal(
    live_environment: LiveMesh, said: str, code: int, profile: dict[str, str] | None
) -> None:
    assert main(["put", "user", "asked", "age=30"]) == 0
    live_environment.has_profile("asked", {"age": "30"})
    terminal, end = pty.openpty()
    os.write(terminal, said.encode())
    command = [sys.executable, "client.py", "delete-user", "asked"]
    process = subprocess.run(command, cwd=ROOT, stdin=end, capture_output=True, text=True, check=False, timeout=60)
    os.close(terminal)
    os.close(end)
    assert process.returncode == code
    question = "Delete the profile and the history of user 'asked'? [y/N] "
    assert process.stderr == question + ("" if code == 0 else "client.py: nothing was changed\n")
    live_environment.has_profile("asked", profile)


def test_delete_user_without_a_terminal_needs_yes(live_environment: LiveMesh) -> None:
    command = [sys.executable, "client.py", "delete-user", "asked"]
    process = subprocess.run(command, cwd=ROOT, input="y\n", capture_output=True, text=True, check=False, timeout=60)
    assert process.returncode == 2
    assert process.stderr == "client.py: there is no terminal to ask for confirmation; add --yes\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["record", "8", "i7", "--time", "yesterday"], "'yesterday' is neither ISO 8601"),
        (["record", "8", "i7", "--value", "much"], "'much' is not a number"),
        (["put", "shop", "8"], "'shop' is neither item nor user"),
        (["put", "item", "8", "cate"], "'cate' is not of the form field=value"),
        (["available", "8", "maybe"], "'maybe' is neither on nor off"),
    ],
)
def test_wrong_usage(capsys: Captured, arguments: list[str], said: str) -> None:
    assert main(arguments) == 2
    printed = capsys.readouterr().err
    assert said in printed
    assert printed.count("\n") == 1


def test_no_feed_is_an_error(capsys: Captured) -> None:
    assert main(["record", "8", "i7", "--target", "127.0.0.1:1", "--timeout", "0.2"]) == 6
    assert "feed at 127.0.0.1:1 did not answer within 0.2 s" in capsys.readouterr().err
