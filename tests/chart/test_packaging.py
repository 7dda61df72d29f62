"""The package of the chart: what is in it, and what Artifact Hub reads from it."""

import os
import re
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml

from tests.chart.conftest import CHARTS, Resource, containers, copy_chart, pod_templates, render, run_helm
from tests.servers import ROOT

CHART = CHARTS / "recmesh"
CHARTED: dict[str, Any] = yaml.safe_load((CHART / "Chart.yaml").read_text())
ANNOTATIONS = {name.removeprefix("artifacthub.io/"): value for name, value in CHARTED["annotations"].items()}


@pytest.fixture(scope="module")
def members(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """The files of the package. Making it prints nothing but where it is."""
    folder = tmp_path_factory.mktemp("package")
    made = run_helm("package", str(CHART), f"--destination={folder}")
    path = folder / f"recmesh-{CHARTED['version']}.tgz"
    assert (made.returncode, made.stderr) == (0, "")
    assert made.stdout == f"Successfully packaged chart and saved it to: {path}\n"
    with tarfile.open(path) as archive:
        assert not any(member.issym() or member.islnk() for member in archive)
        return {member.name.removeprefix("recmesh/") for member in archive}


def test_the_package_has_what_an_installation_needs(members: set[str]) -> None:
    tracked = subprocess.run(
        ["git", "ls-files", "charts/recmesh"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    chart = {str(Path(path).relative_to("charts/recmesh")) for path in tracked}
    left_out = {path for path in chart if path.startswith((".", "ci/"))} | {"README.head.md"}
    assert members == chart - left_out
    assert {"README.md", "LICENSE", "icon.svg", "alerts.yaml", "dashboards/overview.json"} <= members


def test_the_chart_has_no_symbolic_links() -> None:
    assert [path for path in CHART.rglob("*") if path.is_symlink()] == []


def test_the_licence_is_that_of_the_repository() -> None:
    assert (CHART / "LICENSE").read_text() == (ROOT / "LICENSE").read_text()
    assert ANNOTATIONS["license"] == "Apache-2.0"


def test_the_icon_is_a_square_picture_of_the_chart() -> None:
    root = ElementTree.parse(CHART / "icon.svg").getroot()
    left, top, width, height = map(float, root.attrib["viewBox"].split())
    assert (root.tag, left, top, width) == ("{http://www.w3.org/2000/svg}svg", 0, 0, height)
    repository = CHARTED["home"].removeprefix("https://github.com/")
    assert CHARTED["icon"] == f"https://raw.githubusercontent.com/{repository}/main/charts/recmesh/icon.svg"


def test_the_links_of_the_package_lead_to_files_of_the_repository() -> None:
    texts = (CHART / "README.md").read_text() + ANNOTATIONS["links"]
    paths = re.findall(rf"{CHARTED['home']}/blob/main/([\w./-]+)", texts)
    assert len(paths) > 8
    assert [path for path in paths if not (ROOT / path).is_file()] == []


def test_the_changes_are_those_of_the_version() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text()
    _, _, section = changelog.partition(f"\n## [{CHARTED['version']}]")
    section = " ".join(section.partition("\n## [")[0].split())
    changes = yaml.safe_load(ANNOTATIONS["changes"])
    assert [change["kind"] for change in changes] == ["added"]
    for change in changes:
        assert f"### {change['kind'].capitalize()} " in section
        assert change["description"] in section


def test_the_images_are_those_that_the_chart_renders() -> None:
    annotated = {image["image"] for image in yaml.safe_load(ANNOTATIONS["images"])}
    redis_metrics = "redis.metrics.enabled=true"
    paddle = "paddleServing.enabled=true,paddleServing.device"
    renderings = [
        render("default", f"--set={redis_metrics},{paddle}=cpu"),
        render("default", f"--set=mode=compact,{paddle}=gpu"),
    ]
    assert annotated == {image for resources in renderings for image in images(resources)}


def images(resources: list[Resource]) -> set[str]:
    return {container["image"] for pod in pod_templates(resources).values() for container in containers(pod)}


def test_a_publisher_names_the_images_in_one_place(tmp_path: Path) -> None:
    chart = copy_chart(tmp_path)
    schema = (chart / "values.schema.yaml").read_text()
    own = ("default: docker.io\n      repository:\n", "default: recmesh\n")
    changed = schema.replace(own[0], own[0].replace("docker.io", "registry.example"), 1)
    (chart / "values.schema.yaml").write_text(changed.replace(own[1], "default: shops/mesh\n", 1))
    subprocess.run([sys.executable, str(tmp_path / "charts/values.py")], check=True)
    name = f"registry.example/shops/mesh/um:{CHARTED['appVersion']}"
    rendered = run_helm("template", "shop", str(chart)).stdout
    assert f"image: {name}\n" in rendered
    assert f"image: {name}\n" in (chart / "Chart.yaml").read_text()
    files = [path for path in chart.rglob("*") if path.is_file()]
    assert [path for path in files if b"docker.io/recmesh" in path.read_bytes()] == []
    environment = {**os.environ, "RECMESH_IMAGE_BUILD": "true {tag}", "RECMESH_IMAGE_LOAD": ""}
    command = [sys.executable, str(tmp_path / "docker/images.py"), "build", "um"]
    built = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert built.stdout == f"true {name}\n"


def test_nothing_else_names_the_images() -> None:
    pattern = r"docker\.io/recmesh|(repository|default): recmesh$"
    command = ["git", "grep", "--extended-regexp", "--files-with-matches", pattern, "--", ":!tests"]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    schema = "charts/recmesh/values.schema.yaml"
    written_from_it = [f"charts/recmesh/{name}" for name in ("Chart.yaml", "files/defaults.yaml", "values.yaml")]
    assert sorted(found) == sorted([schema, *written_from_it])


def examples() -> dict[str, Resource]:
    """The manifests for Argo CD and Flux in docs/kubernetes.md, by kind."""
    blocks = re.findall(r"(?ms)^```yaml\n(.*?)^```", (ROOT / "docs/kubernetes.md").read_text())
    return {document["kind"]: document for block in blocks for document in yaml.safe_load_all(block)}


def test_the_values_of_the_examples_for_gitops_render(tmp_path: Path) -> None:
    argo, flux = examples()["Application"]["spec"]["source"], examples()["HelmRelease"]["spec"]
    for values in (argo["helm"]["valuesObject"], flux["values"]):
        (tmp_path / "values.yaml").write_text(yaml.safe_dump(values))
        rendered = run_helm("template", "recmesh", str(CHART), f"--values={tmp_path / 'values.yaml'}")
        assert rendered.returncode == 0, rendered.stderr
        assert "image: registry.example/recmesh/um:" in rendered.stdout


def test_the_examples_for_gitops_install_this_version() -> None:
    assert examples()["Application"]["spec"]["source"]["targetRevision"] == CHARTED["version"]
    major, minor, _ = CHARTED["version"].split(".")
    assert examples()["OCIRepository"]["spec"]["ref"] == {"semver": f"{major}.{minor}.x"}
