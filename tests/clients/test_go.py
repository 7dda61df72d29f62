"""The Go example compiles against code generated from the protos, and gets recommendations."""

import os
import subprocess
import sys
from pathlib import Path

from recmesh.pb.as_pb2 import ASRequest
from tests.clients.conftest import AsServer


def test_go_client_gets_recommendations(examples: Path, as_server: AsServer) -> None:
    buf = Path(sys.prefix) / "bin"
    environment = {**os.environ, "PATH": os.pathsep.join([str(buf), os.environ["PATH"]])}

    def go(*arguments: str) -> str:
        command = ["go", *arguments]
        result = subprocess.run(
            command, cwd=examples / "go", env=environment, capture_output=True, text=True, check=False
        )
        assert result.returncode == 0, result.stdout + result.stderr
        return result.stdout

    go("generate")
    go("build", "./...")
    printed = go("run", ".", as_server.target, "8888")

    assert as_server.requests == [ASRequest(user_id="8888", size=10)]
    assert printed.splitlines() == as_server.lines("8888", 10)
