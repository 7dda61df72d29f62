"""The schema describes every value, and docs/values.md is generated from it."""

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from tests.chart.conftest import CHARTS
from tests.servers import ROOT


def undescribed(name: str, default: Any, part: dict[str, Any], definitions: dict[str, Any]) -> Iterator[str]:
    """Names of values without a description."""
    target = definitions[part["$ref"].rpartition("/")[2]] if "$ref" in part else {}
    merged = {**target, **part}
    if not merged.get("description", "").endswith("."):
        yield name
    if "properties" in merged and isinstance(default, dict):
        for key, value in default.items():
            yield from undescribed(f"{name}.{key}", value, merged["properties"].get(key, {}), definitions)


@pytest.mark.parametrize("chart", ["recmesh", "redis", "milvus"])
def test_every_value_is_described(chart: str) -> None:
    schema = json.loads((CHARTS / chart / "values.schema.json").read_text())
    defaults = yaml.safe_load((CHARTS / chart / "values.yaml").read_text())
    missing = [
        name
        for key, value in defaults.items()
        for name in undescribed(key, value, schema["properties"].get(key, {}), schema["$defs"])
    ]
    assert missing == []


def test_the_page_of_values_is_current() -> None:
    page = subprocess.run(
        [sys.executable, "charts/values_page.py"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert (ROOT / "docs" / "values.md").read_text() == page.stdout, "run `make values`"
