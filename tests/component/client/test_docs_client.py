"""The Python examples of docs/client.md run, against a mesh on loopback and a real feed."""

import ast
import asyncio
import inspect
import re
from pathlib import Path

import pytest

from recmesh.client import Recorded
from tests.component.client.conftest import LoopbackMesh
from tests.component.client.live import LiveMesh

PAGE = Path(__file__).parents[3] / "docs" / "client.md"
EXAMPLES = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("example", EXAMPLES, ids=range(len(EXAMPLES)))
def test_an_example_runs(
    environment: LoopbackMesh, live: LiveMesh, monkeypatch: pytest.MonkeyPatch, example: str
) -> None:
    monkeypatch.setenv("RECMESH_FEED_TARGET", live.targets["feed"])
    environment.users.add("8888")
    environment.items += ["99654", "12048"]
    patient = example.replace("timeout=0.5", "timeout=60.0")
    names: dict[str, object] = {}
    result = eval(compile(patient, str(PAGE), "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT), names)
    if inspect.iscoroutine(result):
        asyncio.run(result)
    if recorded := names.get("recorded"):
        assert recorded == Recorded(2, 0, ())
    if recommended := names.get("recommended"):
        assert callable(recommended)
        assert recommended("8888")


def test_there_are_examples_of_every_kind() -> None:
    for module in (
        "recmesh.client import Action, Item, Mesh",
        "recmesh.client import Condition, Item, Mesh",
        "sync",
        "recmesh.client.testing import FakeMesh",
        "SyncFakeMesh",
    ):
        assert any(module in example for example in EXAMPLES)
