"""recmesh/__init__.py has the version; the wheel, the images and the charts agree with it."""

import importlib.util
from types import ModuleType

import pytest
import yaml

import recmesh
from tests.servers import ROOT


def images() -> ModuleType:
    """docker/images.py, which is a script outside of any package."""
    spec = importlib.util.spec_from_file_location("images", ROOT / "docker" / "images.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_images_are_labelled_with_the_version() -> None:
    assert images().version() == recmesh.__version__


@pytest.mark.parametrize("chart", ["recmesh", "common", "redis", "milvus"])
def test_the_charts_have_the_version(chart: str) -> None:
    described = yaml.safe_load((ROOT / "charts" / chart / "Chart.yaml").read_text())
    assert described["version"] == recmesh.__version__
    assert {needed["version"] for needed in described.get("dependencies", [])} <= {recmesh.__version__}


def test_the_chart_installs_the_images_of_the_version() -> None:
    assert yaml.safe_load((ROOT / "charts/recmesh/Chart.yaml").read_text())["appVersion"] == recmesh.__version__
