"""`make check-security`: what it says if it cannot be done; tests/packaging runs it with osv-scanner."""

import sys
from pathlib import Path

import pytest

from tests.servers import ROOT

sys.path.insert(0, str(ROOT / "docker"))

import vulnerabilities

WHERE = "docs/supply-chain.md#vulnerability-check says where to get it"


@pytest.mark.parametrize(
    ("database", "line"),
    [
        ("", f"SECURITY_DB is not set: it is the folder with the database; {WHERE}"),
        ("/nowhere", f"SECURITY_DB=/nowhere is not a folder; {WHERE}"),
    ],
)
def test_without_a_database_one_line_says_where_to_get_it(
    database: str, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert vulnerabilities.main(["--database", database]) == 2
    assert capsys.readouterr() == ("", f"recmesh: {line}\n")


def test_a_folder_without_bills_of_materials_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert vulnerabilities.main(["--database", str(tmp_path), "--sboms", str(tmp_path)]) == 2
    assert capsys.readouterr().err == f"recmesh: {tmp_path} has no file *.cdx.json: make sbom INTO={tmp_path}\n"


def test_a_missing_scanner_is_named_with_its_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert vulnerabilities.main(["--database", str(tmp_path)]) == 2
    assert capsys.readouterr().err == (
        f"recmesh: osv-scanner is not on the PATH: go install {vulnerabilities.SCANNER}\n"
    )
