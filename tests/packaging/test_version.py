"""recmesh/__init__.py has the version; the wheel, the images and the charts agree with it."""

import sys

import yaml

import recmesh
from tests.servers import ROOT

sys.path.insert(0, str(ROOT / "docker"))

import images


def test_the_images_are_labelled_with_the_version() -> None:
    assert images.version() == recmesh.__version__


def test_the_chart_has_the_version_and_installs_its_images() -> None:
    described = yaml.safe_load((ROOT / "charts/recmesh/Chart.yaml").read_text())
    assert (described["version"], described["appVersion"]) == (recmesh.__version__, recmesh.__version__)
