"""What `recmesh --help` imports."""

import subprocess
import sys

from tests.servers import ROOT

HEAVY = {"fsspec", "grpc", "kubernetes", "numpy", "polars", "pydantic", "pymilvus", "structlog", "yaml"}


def test_the_command_line_can_be_imported_with_typer_and_rich_alone() -> None:
    code = f"import sys, recmesh.cli.main; print(*sorted({HEAVY!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "\n"
