"""The Java example compiles against code generated from the protos, and gets recommendations."""

import subprocess
from pathlib import Path

from recmesh.pb.as_pb2 import ASRequest
from tests.clients.conftest import AsServer

_RESET = "\x1b[0m"


def _without_colours(output: str) -> str:
    """Maven 3 resets the terminal's colours even if it prints to a pipe."""
    return output.replace(_RESET, "")


def test_java_client_gets_recommendations(examples: Path, as_server: AsServer) -> None:
    command = ["mvn", "--quiet", "--batch-mode", "-Dstyle.color=never", "compile", "exec:java"]
    command += [f"-Dexec.args={as_server.target} 8888"]
    result = subprocess.run(command, cwd=examples / "java", capture_output=True, text=True, check=False)

    assert result.returncode == 0, result.stdout + result.stderr
    assert as_server.requests == [ASRequest(user_id="8888", size=10)]
    assert _without_colours(result.stdout).splitlines() == as_server.lines("8888", 10)
