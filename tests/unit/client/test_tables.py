"""Tables on a terminal."""

import io

import pytest
from rich.console import Console

from recmesh.cli.tables import as_table
from recmesh.pb.as_pb2 import ASResponse

LONG = "".join(f"{number:04}" for number in range(32))
"""An id of 128 characters, the longest there are."""


def printed(response: ASResponse, width: int) -> str:
    console = Console(width=width, file=io.StringIO())
    as_table(response, console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


ANSWER = ASResponse(
    item_infos=[{"sku_id": LONG, "cate": "9" * 60, "rank_score": 0.5}, {"sku_id": "short", "rank_score": 0.25}],
    release="r1",
    reasons=[
        {
            "channels": [{"channel": "popular", "score": 0.5}],
            "features": [{"group": "item.cate", "effect": -0.125}],
            "rules": ["sale", "pins"],
        },
        {"channels": [{"channel": "new", "score": 2}]},
    ],
    missing=[{"sku_id": LONG[::-1], "reason": "rank", "text": "at place 9"}],
)


def test_explanations_have_columns_and_a_table_of_their_own() -> None:
    lines = printed(ANSWER, 400).splitlines()
    assert [cell.strip() for cell in lines[1].strip("┃").split("┃")] == [
        "#", "sku_id", "cate", "score", "channels", "features", "rules",
    ]  # fmt: skip
    assert [cell.strip() for cell in lines[3].strip("│").split("│")] == [
        "1", LONG, "9" * 60, "0.5000", "popular 0.5", "item.cate -0.1250", "sale, pins",
    ]  # fmt: skip
    assert [cell.strip() for cell in lines[-3].strip("│").split("│")] == [LONG[::-1], "rank", "at place 9"]
    assert lines[-1] == "release r1, degraded: nothing"


@pytest.mark.parametrize("width", [40, 80, 200])
def test_an_id_is_never_cut(width: int) -> None:
    """On a narrow terminal it goes on in the next line of its cell."""
    text = printed(ANSWER, width)
    cells = [line.split("│")[2].strip() for line in text.splitlines() if line.count("│") > 5]
    assert "".join(cells).startswith(LONG + "short")
    first = [line.split("│")[1].strip() for line in text.splitlines() if line.count("│") == 4]
    assert "".join(first) == LONG[::-1]


@pytest.mark.parametrize("width", [60, 80])
def test_a_short_id_stays_in_one_line(width: int) -> None:
    answer = ASResponse()
    answer.CopyFrom(ANSWER)
    answer.item_infos[0].sku_id = answer.missing[0].sku_id = "4714981010038"
    lines = printed(answer, width).splitlines()
    assert sum("│ 4714981010038 │" in line for line in lines) == 2
    assert max(map(len, lines)) <= width
