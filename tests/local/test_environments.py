"""The Python environments are complete or absent, and one line says why they cannot be made."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from local import environments
from tests.servers import ROOT

OFFLINE = {"PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PIP_RETRIES": "1"}


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A repository that can make environments, and whose lock files are empty except for that of uv."""
    (tmp_path / "local").mkdir()
    (tmp_path / "requirements").mkdir()
    for name in ("__init__.py", "environments.py"):
        shutil.copy(ROOT / "local" / name, tmp_path / "local")
    # Compiled already, as the compiler would have to be downloaded.
    shutil.copytree(ROOT / "recmesh" / "kernels", tmp_path / "recmesh" / "kernels")
    for group in ("serving", "train", "dev"):
        (tmp_path / "requirements" / f"{group}.txt").write_text("# empty\n")
    shutil.copy(ROOT / "requirements" / "installer.txt", tmp_path / "requirements")
    return tmp_path


def make(checkout: Path, *groups: str, variables: dict[str, str] | None = None) -> "subprocess.CompletedProcess[str]":
    """Make the environments of a checkout, with a user's pip settings in `variables`."""
    command = [sys.executable, "-m", "local.environments", *groups]
    return subprocess.run(
        command, cwd=checkout, env={**os.environ, **(variables or {})}, capture_output=True, text=True, check=False
    )


def test_environments_are_made_once_and_again_when_an_installation_was_interrupted(checkout: Path) -> None:
    first = make(checkout, "serving", "train")
    assert first.returncode == 0, first.stderr
    assert ".venv-installer: ready" in first.stdout
    assert ".venv: ready" in first.stdout
    assert ".venv-train: ready" in first.stdout
    assert make(checkout, "serving", "train").stdout == ""

    (checkout / ".venv" / ".unfinished").touch()
    (checkout / "requirements" / "serving.txt").write_text("# another empty file\n")
    again = make(checkout, "serving", "train")
    assert ".venv: new" in again.stdout
    assert ".venv-train" not in again.stdout


def test_without_a_network_pip_fails_with_one_line(checkout: Path) -> None:
    result = make(checkout, "serving", variables=OFFLINE)
    assert result.returncode == 2
    (line,) = result.stderr.splitlines()
    assert line.startswith("recmesh: no network")


def test_without_a_network_uv_fails_with_one_line_and_the_next_run_recovers(checkout: Path) -> None:
    """Only pip is told of the index that does not answer: uv gets pip's settings."""
    assert make(checkout, "serving").returncode == 0
    locked = checkout / "requirements" / "serving.txt"
    locked.write_text(f"wheel==0.1 --hash=sha256:{'0' * 64}\n")
    result = make(checkout, "serving", variables=OFFLINE)
    assert result.returncode == 2
    (line,) = result.stderr.splitlines()
    assert line.startswith("recmesh: no network")

    locked.write_text("# empty\n")
    assert ".venv: new" in make(checkout, "serving").stdout


def test_a_package_that_differs_from_its_hash_fails_with_one_line(checkout: Path) -> None:
    (checkout / "requirements" / "serving.txt").write_text(f"iniconfig==2.3.1 --hash=sha256:{'0' * 64}\n")
    result = make(checkout, "serving")
    assert result.returncode == 2
    (line,) = result.stderr.splitlines()
    assert line.startswith("recmesh: installation failed: ")
    assert line.endswith(f"(full log: {checkout}/.venv/install.log)")


def test_a_full_disk_and_a_missing_network_are_told_apart() -> None:
    environment = environments.Environment(Path(".venv-train"), ["train"])
    full = ["error: Failed to install: numpy", "Caused by: No space left on device (os error 28)"]
    assert environments._reason(full, environment) == "the disk is full: free about 3 GB for .venv-train"
    offline = ["error: Request failed", "Caused by: Failed to fetch: `http://127.0.0.1:9/simple/wheel/`"]
    assert environments._reason(offline, environment).startswith("no network")


def test_uv_gets_the_settings_that_pip_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    configuration = tmp_path / "pip.conf"
    configuration.write_text(
        "[global]\nindex-url = https://user:secret@index.example/simple\nretries = 7\n"
        "extra-index-url =\n    https://one.example/simple\n    https://two.example/simple\n"
        f"find-links = {tmp_path} {tmp_path}/missing\n[install]\ntrusted-host = index.example\n"
    )
    for name in [name for name in os.environ if name.startswith(("PIP_", "UV_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", str(configuration))
    monkeypatch.setenv("PIP_RETRIES", "2")
    monkeypatch.setenv("UV_HTTP_TIMEOUT", "9")
    monkeypatch.setenv("PIP_TIMEOUT", "8")
    variables = environments.installer_variables()
    assert variables["UV_DEFAULT_INDEX"] == "https://user:secret@index.example/simple"
    assert variables["UV_INDEX"] == "https://one.example/simple https://two.example/simple"
    assert variables["UV_FIND_LINKS"] == str(tmp_path)
    assert variables["UV_INSECURE_HOST"] == "index.example"
    assert variables["UV_HTTP_RETRIES"] == "2"
    assert variables["UV_HTTP_TIMEOUT"] == "9"
