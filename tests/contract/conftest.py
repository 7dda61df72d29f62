"""The seed's client, generated anew from its messages."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.processes import Service

HERE = Path(__file__).parent
SeedClient = Callable[..., dict[str, Any]]


@pytest.fixture(scope="session")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Messages and stubs compiled from the seed's protos."""
    folder = tmp_path_factory.mktemp("seed")
    protos = sorted(str(path) for path in (HERE / "protos").glob("*.proto"))
    command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{HERE / 'protos'}"]
    subprocess.run([*command, f"--python_out={folder}", f"--grpc_python_out={folder}", *protos], check=True)
    return folder


@pytest.fixture(scope="session")
def seed_client(generated: Path) -> SeedClient:
    """Runs the seed's client against a service: `seed_client(service, "um", "5")` -> the answer as a dict."""

    def run(service: Service, *arguments: str) -> dict[str, Any]:
        command = [sys.executable, str(HERE / "seed_client.py"), str(generated), json.dumps(service.ports), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer

    return run
