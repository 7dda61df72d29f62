"""The committed messages are those that protos/ describes."""

import subprocess
import sys
from pathlib import Path

from tests.servers import ROOT


def test_generated_messages_are_current(tmp_path: Path) -> None:
    protos = sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("protos/recmesh/pb/*.proto"))
    outputs = [f"--{kind}_out={tmp_path}" for kind in ("python", "pyi", "grpc_python")]
    command = [sys.executable, "-m", "grpc_tools.protoc", "-Iprotos", *outputs, *protos]
    subprocess.run(command, cwd=ROOT, check=True)
    generated = {path.name: path.read_text() for path in (tmp_path / "recmesh" / "pb").iterdir()}
    committed = {path.name: path.read_text() for path in (ROOT / "recmesh" / "pb").glob("*_pb2*")}
    assert generated.keys() == committed.keys()
    stale = [name for name, text in generated.items() if committed[name] != text]
    assert not stale, "run `make protos` and commit the result"
