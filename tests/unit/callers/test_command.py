"""`recmesh policy check`: what it prints, and what it refuses."""

from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from recmesh.callers import StaticTokens
from recmesh.cli.policy import app
from recmesh.errors import DataError
from tests.servers import ROOT


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "160")


def check(file: Path) -> Result:
    return CliRunner().invoke(app, ["check", str(file)])


def rows(result: Result) -> list[list[str]]:
    """The cells of the table, without the head."""
    assert result.exception is None, result.exception
    lines = [line for line in result.stdout.splitlines() if line.startswith("│")]
    return [[cell.strip() for cell in line.strip("│").split("│")] for line in lines]


def example(heading: str) -> str:
    """The first YAML under a heading of the page."""
    lines = (ROOT / "docs" / "callers.md").read_text().splitlines()
    lines = lines[lines.index(heading) :]
    start = next(number for number, line in enumerate(lines) if line.startswith("    "))
    length = next(number for number, line in enumerate(lines[start:]) if not line.startswith("    "))
    return "\n".join(line[4:] for line in lines[start : start + length])


def test_it_prints_who_may_call_what(tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text(example("## The policy"))
    result = check(file)
    assert result.stderr == ""
    assert rows(result) == [
        ["as", "spiffe://cluster.local/ns/shop/release/r/as", "", "um/um_call"],
        ["", "dns:r-as", "", "cm/cm_call"],
        ["", "", "", "recall/recall"],
        ["", "", "", "rank/rank_predict"],
        ["", "", "", "as/as_call"],
        ["", "", "", "metrics"],
        ["tools", "spiffe://cluster.local/ns/tools/*", "", "as/as_call"],
        ["", "", "", "feed/record_actions"],
        ["", "", "", "feed/put_users"],
        ["", "", "", "feed/put_items"],
        ["", "", "", "metrics"],
        ["shop", "token shop", "200, 400 at once", "as/as_call"],
        ["", "", "", "feed/record_actions"],
        ["", "", "", "feed/put_users"],
        ["", "", "", "feed/put_items"],
        ["", "", "", "metrics"],
        ["partner", "jwt sub=partner, groups=buyers", "", "as/as_call"],
        ["", "", "", "metrics"],
        ["every other caller", "", "", "as/as_call"],
        ["", "", "", "metrics"],
    ]


def test_a_service_may_be_open_as_a_whole_or_not_at_all(tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text(
        "callers: [{name: shop, tokens: shop}]\nallow: [{callers: shop, methods: [feed/*, as/as_call, um/look]}]"
    )
    result = check(file)
    assert rows(result) == [
        ["shop", "token shop", "", "as/as_call"],
        ["", "", "", "feed/*"],
        ["every other caller", "", "", "nothing"],
    ]
    assert result.stderr == f"{file}: no method of this version is meant by um/look\n"


def test_a_bad_file_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text("callers: 5")
    with pytest.raises(DataError, match=r'policy\.yaml line 1, column 10: callers: must be a list, not "5"$'):
        raise check(file).exception or AssertionError
    with pytest.raises(DataError, match=r"/nowhere: cannot be read: No such file or directory$"):
        raise check(Path("/nowhere")).exception or AssertionError


def test_the_tokens_of_the_page_are_valid() -> None:
    assert StaticTokens.parse(example("## Tokens").encode(), "tokens.yaml")
