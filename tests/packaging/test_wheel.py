"""The wheel, as a user gets it: installed into an empty environment, and run without the checkout."""

import re
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest

import recmesh
from local.environments import installer_variables
from tests.servers import ROOT

# Without an extra: a command says which one it needs.
NEEDS_CLI = "recmesh: this command needs the extra \"cli\": pip install 'recmesh[cli]'\n"
EXPLORER_PAGES = ("base", "compare", "explore", "item", "items", "parts", "problem")
GOOD = """
import asyncio

from recmesh.client import Mesh, Recommendation


async def main() -> list[str]:
    async with Mesh() as mesh:
        answer: Recommendation = await mesh.recommend("8888", size=10)
        return [item.sku_id for item in answer.items]


print(asyncio.run(main()))
"""
BAD = GOOD.replace('"8888"', "8888").replace("item.sku_id", "item.sku")
IMPORT_CORE = """
import importlib, pkgutil, sys
import recmesh.client
names = ["recmesh.contract", "recmesh.errors"]
names += [found.name for found in pkgutil.iter_modules(recmesh.client.__path__, "recmesh.client.")]
for name in names:
    importlib.import_module(name)
print(recmesh.__version__, recmesh.__file__)
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stdout + built.stderr
    (path,) = folder.glob("*.whl")
    return path


def environment(folder: Path, *requirements: str) -> Path:
    """Make a virtual environment that holds some requirements and their dependencies; return its Python."""
    uv = [sys.executable, "-m", "uv", "--quiet"]
    python = folder / "bin" / "python"
    for command in (
        ["venv", "--python", sys.executable, str(folder)],
        ["pip", "install", "--python", str(python), "--only-binary", ":all:", *requirements],
    ):
        run = subprocess.run([*uv, *command], env=installer_variables(), capture_output=True, text=True, check=False)
        assert run.returncode == 0, run.stderr
    return python


@pytest.fixture(scope="module")
def core(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment with the wheel and the core dependencies, in their newest versions."""
    return environment(tmp_path_factory.mktemp("core"), str(wheel))


@pytest.fixture(scope="module")
def cli(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment with the extra `cli`."""
    return environment(tmp_path_factory.mktemp("cli"), f"{wheel}[cli]")


def run(command: Sequence[str | Path], folder: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_the_wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    info = f"recmesh-{recmesh.__version__}.dist-info/"
    assert [name for name in names if not name.startswith(("recmesh/", info))] == []
    assert {name for name in names if name.startswith("recmesh/") and not name.endswith((".py", ".pyi"))} == {
        "recmesh/explorer/static/htmx.min.js",
        *(f"recmesh/explorer/templates/{name}.html.j2" for name in EXPLORER_PAGES),
        "recmesh/kernels/kernels.c",
        "recmesh/pages/templates/document.html.j2",
        "recmesh/pages/templates/tables.html.j2",
        "recmesh/profiling/templates/check.html.j2",
        "recmesh/py.typed",
        *(f"recmesh/serving/http/openapi/{service}.{kind}" for service in ("as", "feed") for kind in ("html", "json")),
    }
    assert "recmesh/pb/as_pb2.py" in names
    assert wheel.name == f"recmesh-{recmesh.__version__}-py3-none-any.whl"


def test_the_core_imports_the_client(core: Path, tmp_path: Path) -> None:
    imported = run([core, "-c", IMPORT_CORE], tmp_path)
    assert imported.returncode == 0, imported.stderr
    number, file = imported.stdout.split()
    assert number == recmesh.__version__
    assert Path(file).is_relative_to(core.parent.parent)


def test_the_core_runs_with_the_oldest_versions_that_it_allows(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        metadata = archive.read(f"recmesh-{recmesh.__version__}.dist-info/METADATA").decode()
    bounds = re.findall(r"(?m)^Requires-Dist: ([\w-]+)>=([\d.]+)$", metadata)
    assert [name for name, _ in bounds] == ["grpcio", "protobuf"]
    oldest = environment(tmp_path / "oldest", str(wheel), *(f"{name}~={bound}.0" for name, bound in bounds))
    imported = run([oldest, "-c", IMPORT_CORE], tmp_path)
    assert imported.returncode == 0, imported.stderr


def test_the_core_has_help_that_names_the_commands_and_their_extra(core: Path, cli: Path, tmp_path: Path) -> None:
    helped = run([core.parent / "recmesh", "--help"], tmp_path)
    assert (helped.returncode, helped.stderr) == (0, "")
    commands = re.findall(r"(?m)^  (\w+)  ", helped.stdout)
    operating = ["evaluate", "replay", "explore", "top", "verify"]
    assert commands == [*operating, "dataset", "release", "rules", "policy", "feed", "job"]
    assert "pip install 'recmesh[cli]'" in helped.stdout
    whole = run([cli.parent / "recmesh", "--help"], tmp_path)
    assert re.findall(r"(?m)^│ (\w+) ", whole.stdout) == commands


def test_the_command_says_which_extra_is_missing(core: Path, tmp_path: Path) -> None:
    result = run([core, "-m", "recmesh", "release", "list"], tmp_path)
    assert (result.returncode, result.stdout, result.stderr) == (2, "", NEEDS_CLI)


def test_the_command_line_works_with_its_extra(cli: Path, tmp_path: Path) -> None:
    helped = run([cli.parent / "recmesh", "--help"], tmp_path)
    assert helped.returncode == 0, helped.stderr
    assert "release" in helped.stdout
    listed = run([cli.parent / "recmesh", "release", "list", "--store", "store"], tmp_path)
    assert (listed.returncode, listed.stdout) == (0, "no releases in store\n"), listed.stderr
    top = run([cli.parent / "recmesh", "top", "--once", "--interval", "0.2", "--target", "127.0.0.1:1"], tmp_path)
    assert (top.returncode, top.stdout) == (6, "")
    assert top.stderr.startswith("recmesh: no metrics port answers: 127.0.0.1:1 (connection refused)")


def test_commands_name_the_extras_that_only_they_need(cli: Path, tmp_path: Path) -> None:
    jobs = run([cli.parent / "recmesh", "job", "list"], tmp_path)
    assert jobs.returncode == 2
    assert jobs.stderr == "recmesh: this command needs the extra \"kubernetes\": pip install 'recmesh[kubernetes]'\n"
    pages = run([cli.parent / "recmesh", "explore"], tmp_path)
    assert (pages.returncode, pages.stdout) == (2, "")
    assert pages.stderr == "recmesh: this command needs the extra \"explore\": pip install 'recmesh[explore]'\n"
    listed = run([cli.parent / "recmesh", "release", "list", "--store", "s3://bucket/store"], tmp_path)
    assert listed.returncode == 2
    assert listed.stderr == (
        'recmesh: model store (RECMESH_MODEL_STORE) s3://bucket/store: needs the extra "s3": '
        "pip install 'recmesh[s3]'\n"
    )


@pytest.mark.parametrize("name", ["retrieval", "features"])
def test_a_module_of_compiled_code_says_how_to_compile_it(cli: Path, tmp_path: Path, name: str) -> None:
    imported = run([cli, "-c", f"import recmesh.{name}"], tmp_path)
    advice, _, build = imported.stderr.splitlines()[-1].rpartition(" ")
    assert advice == "ImportError: recmesh.kernels is not compiled: run pip install 'recmesh[build]', then python"
    assert Path(build).parts[-3:] == ("recmesh", "kernels", "build.py")
    assert Path(build).is_file()


@pytest.mark.parametrize(("script", "errors"), [(GOOD, []), (BAD, ["arg-type", "attr-defined"])])
def test_mypy_sees_the_types_of_the_client(core: Path, tmp_path: Path, script: str, errors: list[str]) -> None:
    (tmp_path / "script.py").write_text(script)
    mypy = [sys.executable, "-m", "mypy", "--strict", "--no-incremental", "--config-file=", "script.py"]
    checked = run([*mypy, "--python-executable", str(core)], tmp_path)
    found = [line.rpartition("[")[2].rstrip("]") for line in checked.stdout.splitlines() if ": error:" in line]
    assert found == errors, checked.stdout + checked.stderr


def test_the_installed_version_is_that_of_the_package(core: Path, tmp_path: Path) -> None:
    code = "from importlib.metadata import version; print(version('recmesh'))"
    assert run([core, "-c", code], tmp_path).stdout.strip() == recmesh.__version__
