"""Each image has what its program imports: no more than it must, and nothing that is missing."""

import json
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from tests.servers import ROOT

sys.path.insert(0, str(ROOT / "docker"))

import images

import requirements

# What is imported when there is one, and not missed otherwise.
OPTIONAL = {"grpcio-tools", "psutil", "rich", "pygments", "setuptools", "typer"}
IMPORTS = """
import importlib, json, sys
allowed = set(json.loads(sys.argv[2]))
class Absent:
    def find_spec(self, name, path=None, target=None):
        if path is None and name in absent:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
absent = set(json.loads(sys.argv[3]))
sys.meta_path.insert(0, Absent())
importlib.import_module(f"services.{sys.argv[1]}.app")
importlib.import_module("opentelemetry.exporter.otlp.proto.grpc.trace_exporter")
print(json.dumps(sorted({name.partition(".")[0] for name in sys.modules})))
"""


def module_owners() -> dict[str, set[str]]:
    """Top-level module to the packages, by normal name, that bring it here."""
    return {
        module: {name.lower().replace("_", "-").replace(".", "-") for name in names}
        for module, names in packages_distributions().items()
    }


@pytest.mark.parametrize("service", requirements.SERVICES)
def test_a_service_imports_exactly_what_its_image_has(service: str) -> None:
    chosen = set(requirements.of_image(service))
    owners = module_owners()
    absent = [module for module, names in owners.items() if not names & chosen]
    result = subprocess.run(
        [sys.executable, "-c", IMPORTS, service, json.dumps(sorted(chosen)), json.dumps(absent)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    imported = set().union(*(owners.get(module, set()) for module in json.loads(result.stdout)))
    needless = set(requirements.SERVICES[service]) - imported - {"async-timeout", "flatbuffers", "packaging", "pyyaml"}
    assert needless == set()


@pytest.mark.parametrize("image", requirements.IMAGES)
def test_everything_in_an_image_is_pinned_by_hash(image: str) -> None:
    entries = requirements.of_image(image)
    assert entries
    for name, entry in entries.items():
        for pin in entry.split(f"\n{name}=="):
            assert "--hash=sha256:" in pin, name


def test_a_service_has_neither_training_nor_other_stores() -> None:
    for image, absent in {
        "um": {"numpy", "onnxruntime", "pymilvus"},
        "as": {"redis", "numpy"},
        "recall": {"redis", "pandas", "polars", "pymilvus"},
        "rank": {"redis", "pandas", "polars", "pymilvus"},
    }.items():
        assert not absent & set(requirements.of_image(image)), image


def test_build_and_load_are_commands_that_may_be_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECMESH_IMAGE_BUILD", "builder {tag} {context} -f {file} {arguments}")
    monkeypatch.setenv("RECMESH_IMAGE_LOAD", "loader {tag}")
    monkeypatch.setenv("RECMESH_IMAGE_TAG", "7")
    monkeypatch.setenv("RECMESH_IMAGE_REGISTRY", "registry.example/")
    build, load = images.commands("um")
    assert build[:5] == ["builder", "registry.example/recmesh/um:7", ".", "-f", "docker/service.Dockerfile"]
    assert "--build-arg=SERVICE=um" in build
    assert load == ["loader", "registry.example/recmesh/um:7"]


def test_the_bill_of_materials_names_every_package_with_its_hashes() -> None:
    bill = images.sbom("um")
    components = {component["name"]: component for component in bill["components"]}
    assert set(components) == set(requirements.of_image("um"))
    assert components["redis"]["purl"].startswith("pkg:pypi/redis@")
    assert all(component["hashes"] for component in components.values())


def test_every_image_has_its_dockerfile() -> None:
    files = {images.file_and_arguments(image)[0] for image in requirements.IMAGES}
    assert files == {path.name.removesuffix(".Dockerfile") for path in Path(ROOT / "docker").glob("*.Dockerfile")}
