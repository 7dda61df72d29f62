"""The two Python environments: made whole or not at all, and one line when they cannot be made."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.servers import ROOT


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A repository with nothing but what makes environments, and one requirement that needs no download."""
    (tmp_path / "local").mkdir()
    (tmp_path / "requirements").mkdir()
    for name in ("__init__.py", "environments.py"):
        shutil.copy(ROOT / "local" / name, tmp_path / "local")
    # Compiled already, as the compiler would have to be downloaded.
    shutil.copytree(ROOT / "recmesh" / "kernels", tmp_path / "recmesh" / "kernels")
    for group in ("serving", "train", "dev"):
        (tmp_path / "requirements" / f"{group}.txt").write_text("# nothing\n")
    return tmp_path


def make(checkout: Path, *groups: str) -> "subprocess.CompletedProcess[str]":
    offline = {"PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PIP_RETRIES": "1", "PIP_CONFIG_FILE": os.devnull}
    plain = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
    command = [sys.executable, "-m", "local.environments", *groups]
    return subprocess.run(command, cwd=checkout, env=plain | offline, capture_output=True, text=True, check=False)


def test_they_are_made_once_and_again_when_cut_off(checkout: Path) -> None:
    first = make(checkout, "serving", "train")
    assert first.returncode == 0, first.stderr
    assert ".venv: ready" in first.stdout
    assert ".venv-train: ready" in first.stdout
    assert make(checkout, "serving", "train").stdout == ""

    (checkout / ".venv" / ".unfinished").touch()
    (checkout / "requirements" / "serving.txt").write_text("# another nothing\n")
    again = make(checkout, "serving", "train")
    assert ".venv: new" in again.stdout
    assert ".venv-train" not in again.stdout


def test_no_network_is_one_line(checkout: Path) -> None:
    (checkout / "requirements" / "serving.txt").write_text(f"wheel==0.1 --hash=sha256:{'0' * 64}\n")
    result = make(checkout, "serving")
    assert result.returncode == 2
    (line,) = result.stderr.splitlines()
    assert "no network" in line
