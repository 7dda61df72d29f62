"""A small `as` server for clients that do not share the versions, or the language, of the services."""

import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import pytest

from recmesh.pb.as_pb2 import ASRequest, ASResponse
from recmesh.pb.as_pb2_grpc import ASServiceServicer, add_ASServiceServicer_to_server
from tests.servers import ROOT

_TOOLS = {"test_go.py": ("go",), "test_java.py": ("javac", "mvn")}
_MISSING = {file: [tool for tool in tools if not shutil.which(tool)] for file, tools in _TOOLS.items()}

collect_ignore = [file for file, missing in _MISSING.items() if missing]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Name the clients that this machine cannot compile."""
    for file in collect_ignore:
        terminalreporter.write_line(f"NOT RUN: tests/clients/{file} needs {' and '.join(_MISSING[file])}")


@dataclass
class AsServer(ASServiceServicer):
    """Recommends items named after the user, best first, and keeps the requests that it got."""

    target: str = ""
    requests: list[ASRequest] = field(default_factory=list)

    def as_call(self, request: ASRequest, context: grpc.ServicerContext) -> ASResponse:
        """Answer as `as` does."""
        self.requests.append(request)
        response = ASResponse(error=ASResponse.Error(code=200), release="r1")
        for position in range(request.size):
            response.item_infos.add(sku_id=f"{request.user_id}-{position}", rank_score=1 - position / 10)
        return response

    def lines(self, user_id: str, size: int) -> list[str]:
        """What an example prints for a user."""
        return [f"{user_id}-{position} {1 - position / 10:.3f}" for position in range(size)]


@pytest.fixture
def as_server() -> Iterator[AsServer]:
    """A running server; `target` is its address."""
    servicer = AsServer()
    server = grpc.server(ThreadPoolExecutor(max_workers=1))
    add_ASServiceServicer_to_server(servicer, server)
    servicer.target = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    yield servicer
    server.stop(None).wait()


@pytest.fixture
def examples(tmp_path: Path) -> Path:
    """A copy of examples/, and of the protos that the examples compile."""
    ignored = shutil.ignore_patterns("target", "recmesh")
    shutil.copytree(ROOT / "protos", tmp_path / "protos")
    shutil.copytree(ROOT / "examples", tmp_path / "examples", ignore=ignored)
    return tmp_path / "examples"
