"""The protos: their generated code is current, and changes that break existing clients are rejected."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from local.protos import BASELINE, PROTOS, compile_protos
from tests.servers import ROOT

_BUF = str(Path(sys.prefix) / "bin" / "buf")
_V0_PROTOS = ROOT / "tests" / "contract" / "protos"
# Matches messages and services by package and name, since the files lie in different folders.
_BY_NAME = json.dumps({"version": "v2", "breaking": {"use": ["PACKAGE"]}})


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """A copy of the protos with their buf configuration."""
    shutil.copytree(PROTOS, tmp_path / "protos")
    shutil.copy(ROOT / "buf.yaml", tmp_path)
    return tmp_path


def _replace(workspace: Path, file: str, old: str, new: str) -> None:
    path = workspace / "protos" / "recmesh" / "pb" / file
    text = path.read_text()
    assert text.count(old) == 1
    path.write_text(text.replace(old, new))


def _breaking(workspace: Path, against: Path, *options: str) -> list[str]:
    """The complaints of `buf breaking`."""
    command = [_BUF, "breaking", *options, "--against", str(against)]
    result = subprocess.run(command, cwd=workspace, capture_output=True, text=True, check=False)
    assert not result.stderr
    assert result.returncode == (100 if result.stdout else 0)
    return result.stdout.splitlines()


def _image(source: Path) -> bytes:
    command = [_BUF, "build", str(source), "--exclude-source-info", "--output", "-#format=binpb"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout


def test_generated_code_is_current(tmp_path: Path) -> None:
    compile_protos(PROTOS, tmp_path)
    generated = {path.name: path.read_text() for path in (tmp_path / "recmesh" / "pb").iterdir()}
    committed = {path.name: path.read_text() for path in (ROOT / "recmesh" / "pb").glob("*_pb2*")}
    assert generated.keys() == committed.keys()
    stale = [name for name, text in generated.items() if committed[name] != text]
    assert not stale, "run `make protos` and commit the result"


def test_baseline_is_current() -> None:
    assert _image(BASELINE) == _image(ROOT), "run `make protos` and commit the result"


@pytest.mark.parametrize(
    ("file", "old", "new", "complaint"),
    [
        ("cm.proto", "  repeated string missing_ids = 16;\n", "", 'field "16" with name "missing_ids"'),
        ("as.proto", "uint32 size = 16;", "uint32 size = 99;", 'field "16" with name "size"'),
        ("um.proto", "History history = 16;", "History actions = 16;", 'name from "history" to "actions"'),
        ("rank.proto", 'java_package = "recmesh.pb"', 'java_package = "recmesh.rank"', '"java_package"'),
    ],
    ids=["removed field", "renumbered field", "renamed field", "moved Java package"],
)
def test_breaking_change_is_rejected(workspace: Path, file: str, old: str, new: str, complaint: str) -> None:
    _replace(workspace, file, old, new)

    complaints = _breaking(workspace, BASELINE)

    assert any(complaint in line for line in complaints), complaints


def test_added_field_is_accepted(workspace: Path) -> None:
    _replace(workspace, "um.proto", "History history = 16;", "History history = 16;\n  string etag = 17;")

    assert _breaking(workspace, BASELINE) == []


def test_v0_contract_is_kept(workspace: Path) -> None:
    (workspace / "buf.yaml").unlink()

    assert _breaking(workspace / "protos", _V0_PROTOS, "--config", _BY_NAME) == []


def test_v0_method_cannot_be_renamed(workspace: Path) -> None:
    (workspace / "buf.yaml").unlink()
    _replace(workspace, "um.proto", "rpc um_call", "rpc call")

    (complaint,) = _breaking(workspace / "protos", _V0_PROTOS, "--config", _BY_NAME)

    assert '"um_call"' in complaint
