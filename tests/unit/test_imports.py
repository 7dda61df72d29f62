"""Imports run one way (docs/architecture.md), and what training shares imports nothing of the serving stack."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers import ROOT

# Each package may import those of its own layer and of the layers after it.
LAYERS = [
    {"services", "jobs", "local"},
    {"recmesh.cli"},
    {"recmesh.chain"},
    {"recmesh.client", "recmesh.serving"},
    {"recmesh.stores", "recmesh.releases"},
    {"recmesh.evaluation", "recmesh.retrieval"},
    {"recmesh.features"},
    {"recmesh.kernels"},
    {"recmesh.dataset"},
    {"recmesh.contract", "recmesh.errors", "recmesh.pb", "recmesh.progress", "recmesh.timeouts"},
]
SHARED = (
    "recmesh/errors.py",
    "recmesh/dataset",
    "recmesh/evaluation",
    "recmesh/features",
    "recmesh/kernels",
    "recmesh/progress.py",
    "recmesh/retrieval",
    "recmesh/releases",
    "jobs/train",
    "jobs/import_model",
)
SERVICES = ("um", "cm", "recall", "rank", "as")
SERVING_STACK = {"grpc", "grpc_health", "grpc_reflection", "recmesh.pb", "redis", "pymilvus", "google", "uvloop"}


def sources(folder: str) -> list[Path]:
    path = ROOT / folder
    return [path] if path.suffix == ".py" else sorted(p for p in path.rglob("*.py") if "pb" not in p.parts)


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """Line and full name of each module that a file imports, wherever in the file."""
    package = ".".join(path.relative_to(ROOT).parent.parts)
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            module = ".".join([*parents, *([node.module] if node.module else [])])
            yield from ((node.lineno, f"{module}.{alias.name}") for alias in node.names)


def within(name: str, package: str) -> bool:
    return name == package or name.startswith(f"{package}.")


def layer(name: str) -> int | None:
    return next((depth for depth, layer in enumerate(LAYERS) if any(within(name, package) for package in layer)), None)


def module(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


def test_imports_run_one_way() -> None:
    upward = [
        f"{path.relative_to(ROOT)}:{line}: {name}"
        for folder in ("recmesh", "services", "jobs", "local")
        for path in sources(folder)
        for line, name in imports(path)
        if (own := layer(module(path))) is not None and (other := layer(name)) is not None and other < own
    ]
    # The command line gathers the commands of all parts, so it stands above them.
    assert [entry for entry in upward if not entry.startswith("recmesh.cli.main.py")] == []


@pytest.mark.parametrize("folder", SHARED)
def test_what_training_shares_needs_no_serving_stack(folder: str) -> None:
    foreign = [
        f"{path.relative_to(ROOT)}:{line}: {name}"
        for path in sources(folder)
        for line, name in imports(path)
        if any(within(name, package) for package in SERVING_STACK)
    ]
    assert foreign == []


def test_paddle_stays_in_training() -> None:
    users = {
        path.relative_to(ROOT).parts[:2]
        for folder in ("recmesh", "services", "jobs", "local")
        for path in sources(folder)
        for _, name in imports(path)
        if within(name, "paddle") or within(name, "paddle2onnx")
    }
    assert users <= {("jobs", "train"), ("jobs", "import_model"), ("services", "rank")}


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_imports_no_other_service(service: str) -> None:
    others = [f"services.{name}" for name in (*SERVICES, "compact") if name != service]
    foreign = [
        f"{path.relative_to(ROOT)}:{line}: {name}"
        for path in sources(f"services/{service}")
        for line, name in imports(path)
        if any(within(name, other) for other in others)
    ]
    assert foreign == []
