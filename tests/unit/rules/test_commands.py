"""`recmesh rules`: what the commands print, and what they refuse."""

import http.server
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from recmesh.cli import rules
from recmesh.cli.rules import app
from recmesh.errors import DataError, ReleaseError, SettingsError, Unavailable
from recmesh.releases import ModelStore
from tests.servers import ROOT

ONE = "rules:\n  - {name: no, kind: exclude, when: cate=5}\n"
TWO = "rules:\n  - {name: no, kind: exclude, when: cate=5}\n  - {name: mmr, kind: diversity, strength: 0.5}\n"


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModelStore:
    monkeypatch.setenv("RECMESH_MODEL_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("COLUMNS", "120")
    return ModelStore(str(tmp_path / "store"))


def run(*arguments: str, text: str = "") -> Result:
    return CliRunner().invoke(app, list(arguments), input=text)


def output(*arguments: str, text: str = "") -> str:
    result = run(*arguments, text=text)
    assert result.exception is None, result.exception
    return result.stdout


def test_check_needs_neither_a_mesh_nor_a_store(tmp_path: Path, store: ModelStore) -> None:
    file = tmp_path / "rules.yaml"
    file.write_text(ONE)
    assert output("check", str(file)) == f"{file}: 1 rule\n"
    assert output("check", "-", text=TWO) == "-: 2 rules\n"
    assert not (tmp_path / "store").exists()


def test_the_example_of_the_page_is_valid() -> None:
    lines = (ROOT / "docs" / "rules.md").read_text().splitlines()
    start = lines.index("    rules:")
    length = next(number for number, line in enumerate(lines[start:]) if not line.startswith("    "))
    text = "\n".join(line[4:] for line in lines[start : start + length])
    assert output("check", "-", text=text) == "-: 4 rules\n"
    wrong = run("check", "-", text=text.replace("factor", "facter"))
    told = " ".join(line.strip() for line in lines if line.startswith("    "))
    assert str(wrong.exception).removeprefix("stdin ") in told, str(wrong.exception)


def test_apply_makes_a_version_and_show_prints_it(store: ModelStore) -> None:
    assert output("apply", "-", "--author", "Ann", "--comment", "for the sale", text=ONE) == "version 1: 1 rule\n"
    assert output("apply", "-", text=TWO) == "version 2: 2 rules\n"
    assert (output("show"), output("show", "1"), output("show", "2")) == (TWO, ONE, TWO)
    assert output("apply", "-", text=output("show", "1")) == "version 3: 1 rule\n"
    first = store.rules(1)
    assert first and (first.author, first.comment) == ("Ann", "for the sale")


def test_history_lists_the_versions_newest_first(store: ModelStore, tmp_path: Path) -> None:
    assert output("history") == f"no rules in {tmp_path / 'store'}\n"
    for number in range(1, 4):
        output("apply", "-", "--comment", f"number {number}", text=ONE)
    (tmp_path / "store" / "rules" / "2").write_bytes(b"x")
    rows = [line for line in output("history").splitlines() if "│" in line]
    cells = [[cell.strip() for cell in row.strip("│").split("│")] for row in rows]
    third = store.rules(3)
    assert third
    assert [row[:2] for row in cells] == [["active", "3"], ["", "2"], ["", "1"]]
    assert cells[0][2:] == [f"{third.time:%Y-%m-%d %H:%M:%S}", "", "number 3"]
    assert cells[1][2:] == ["damaged", "", ""]
    assert output("history", "--count", "1").endswith("2 older versions; --count shows more\n")
    told = json.loads(output("history", "--json"))
    assert [entry["number"] for entry in told] == [3, 2, 1]
    assert (told[0]["text"], told[1]) == (ONE, {"number": 2, "damaged": True})


def test_what_cannot_be_shown_is_named(store: ModelStore) -> None:
    assert "no rules; `recmesh rules apply FILE` makes some active" in str(run("show").exception)
    output("apply", "-", text=ONE)
    missing = run("show", "7").exception
    assert isinstance(missing, ReleaseError)
    assert str(missing).endswith("no version 7 of the rules; the newest is 1")


@pytest.mark.parametrize("command", ["check", "apply"])
def test_a_wrong_file_is_refused_and_not_stored(command: str, store: ModelStore, tmp_path: Path) -> None:
    wrong = run(command, "-", text=ONE.replace("exclude", "exclud"))
    assert isinstance(wrong.exception, DataError)
    assert str(wrong.exception).startswith('stdin line 2, column 22: rule "no": kind: "exclud" is not one of')
    missing = run(command, str(tmp_path / "none.yaml"))
    assert str(missing.exception) == f"{tmp_path / 'none.yaml'}: cannot be read: No such file or directory"
    assert isinstance(run(command, str(tmp_path)).exception, DataError)
    assert list(store.rule_numbers()) == []


@pytest.mark.parametrize("option", ["--author", "--comment"])
def test_author_and_comment_are_one_short_line(option: str, store: ModelStore) -> None:
    for text in ("a\nb", "x" * 201):
        result = run("apply", "-", option, text, text=ONE)
        assert result.exit_code == 2
        assert "give one line of at most 200 characters" in result.output
    assert list(store.rule_numbers()) == []


def test_fields_that_a_data_set_lacks_are_warned_of(store: ModelStore, tmp_path: Path) -> None:
    (tmp_path / "schema.yaml").write_text(
        "user: {id: u, fields: {}}\nitem: {id: i, fields: {category: {kind: categorical}, title: {kind: display}}}\n"
        "action: {user: u, item: i}\n"
    )
    for command in ("check", "apply"):
        result = run(command, "-", "--dataset", str(tmp_path), text=ONE)
        assert result.exit_code == 0
        assert result.stderr == f'warning: rule "no": {tmp_path} has no item field "cate"; did you mean "category"?\n'
    assert run("check", "-", "--dataset", str(tmp_path), text=ONE.replace("cate=", "title=")).stderr == ""


@contextmanager
def serving(pages: list[str]) -> Iterator[str]:
    """A metrics port with these pages, one after the other; the last one stays."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            page = pages.pop(0) if len(pages) > 1 else pages[0]
            self.send_response(200)
            self.end_headers()
            self.wfile.write(page.encode())

        def log_message(self, *_: object) -> None: ...

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def page(version: int) -> str:
    return f"# TYPE recmesh_rules_version gauge\nrecmesh_rules_version {version}.0\n"


def test_apply_waits_until_every_named_process_applies_the_rules(store: ModelStore) -> None:
    slow, fast = [page(0), page(0), page(1)], [page(1)]
    with serving(slow) as first, serving(fast) as second:
        told = output("apply", "-", "--wait", first, "--wait", second, text=ONE)
    assert told == f"version 1: 1 rule\n{first}, {second}: applied\n"
    assert len(slow) == 1


def test_a_process_that_does_not_apply_the_rules_is_named(store: ModelStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "_WAIT_SECONDS", 0.0)
    output("apply", "-", text=ONE)
    with serving([page(1)]) as late, serving(["recmesh_serving 1.0\n"]) as older:
        result = run("apply", "-", "--wait", f"{late},{older}", text=ONE)
    assert isinstance(result.exception, Unavailable)
    assert str(result.exception) == (
        f"version 2 is active in the model store, but after 0 s {late} applies version 1; {older} applies version 0"
    )


def test_a_wrong_metrics_port_is_refused_before_anything_is_applied(store: ModelStore) -> None:
    assert isinstance(run("apply", "-", "--wait", "nowhere", text=ONE).exception, SettingsError)
    assert list(store.rule_numbers()) == []
