"""Programs and files from Go modules, which the go command fetches and checks against the checksum database."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

_PROGRAMS = Path(sys.prefix) / "share" / "go-programs"


def program(package: str) -> str:
    """The path of a program.

    Args:
        package: A main package and its version, such as example.com/module/cmd/name@v1.2.3. A program `name` on the
            PATH is taken instead.
    """
    path, _, version = package.partition("@")
    name = path.rpartition("/")[2]
    if found := shutil.which(name):
        return found
    folder = _PROGRAMS / version
    if not (folder / name).exists():
        _go("install", package, environment={"GOBIN": str(folder), "CGO_ENABLED": "0"})
    return str(folder / name)


def source(module: str) -> Path:
    """The folder with the files of a module, given as path@version."""
    return Path(json.loads(_go("mod", "download", "-json", module))["Dir"])


def _go(*arguments: str, environment: dict[str, str] | None = None) -> str:
    command = ["go", *arguments]
    result = subprocess.run(
        command, env={**os.environ, **(environment or {})}, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout
