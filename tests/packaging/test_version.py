"""recmesh/__init__.py has the version; the wheel, the images and the charts agree with it."""

import sys

import pytest
import yaml

import recmesh
from tests.servers import ROOT

sys.path.insert(0, str(ROOT / "docker"))

import images


def test_the_images_are_labelled_with_the_version() -> None:
    assert images.version() == recmesh.__version__


@pytest.mark.parametrize("chart", ["recmesh", "common", "redis", "milvus"])
def test_the_charts_have_the_version(chart: str) -> None:
    described = yaml.safe_load((ROOT / "charts" / chart / "Chart.yaml").read_text())
    assert described["version"] == recmesh.__version__
    assert {needed["version"] for needed in described.get("dependencies", [])} <= {recmesh.__version__}


def test_the_chart_installs_the_images_of_the_version() -> None:
    assert yaml.safe_load((ROOT / "charts/recmesh/Chart.yaml").read_text())["appVersion"] == recmesh.__version__
