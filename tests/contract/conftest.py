"""The legacy client, with messages and stubs generated from the v0 protos."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from local.protos import compile_protos
from tests.processes import Service

HERE = Path(__file__).parent
LegacyClient = Callable[..., dict[str, Any]]


@pytest.fixture(scope="session")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with messages and stubs generated from the v0 protos."""
    folder = tmp_path_factory.mktemp("v0")
    compile_protos(HERE / "protos", folder, kinds=("python", "grpc_python"))
    return folder


@pytest.fixture(scope="session")
def legacy_client(generated: Path) -> LegacyClient:
    """Runs the legacy client: `legacy_client(service, "um", "5")` returns the answer as a dict."""

    def run(service: Service, *arguments: str) -> dict[str, Any]:
        command = [sys.executable, str(HERE / "legacy_client.py"), str(generated), json.dumps(service.ports)]
        result = subprocess.run([*command, *arguments], capture_output=True, text=True, timeout=60, check=False)
        assert result.returncode == 0, result.stderr
        answer: dict[str, Any] = json.loads(result.stdout)
        return answer

    return run
