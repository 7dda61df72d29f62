"""The blocking client and the asyncio one have the same methods, arguments, types and descriptions."""

import inspect
import re

import pytest

from recmesh.client import Mesh, sync

METHODS = sorted(name for name, value in vars(Mesh).items() if inspect.isfunction(value) and not name.startswith("_"))


def description(method: object) -> str:
    return re.sub(r"\bawait ", "", inspect.getdoc(method) or "")


def test_both_forms_have_the_same_methods() -> None:
    own = {name for name, value in vars(sync.Mesh).items() if inspect.isfunction(value) and not name.startswith("_")}
    assert own == set(METHODS) >= {"um", "cm", "recall", "rank", "score", "recommend", "call", "close"}


@pytest.mark.parametrize("name", METHODS)
def test_a_method_is_the_same_in_both_forms(name: str) -> None:
    asynchronous, blocking = getattr(Mesh, name), getattr(sync.Mesh, name)
    assert inspect.signature(blocking) == inspect.signature(asynchronous)
    assert description(blocking) == description(asynchronous)
    assert inspect.iscoroutinefunction(asynchronous)
    assert not inspect.iscoroutinefunction(blocking)


def test_both_forms_are_made_with_the_same_arguments() -> None:
    """gRPC has classes of its own for the interceptors and channels of each form; all else has the same type."""
    asynchronous, blocking = (inspect.signature(kind).parameters for kind in (Mesh, sync.Mesh))
    assert list(asynchronous) == list(blocking)
    different = {name for name in asynchronous if asynchronous[name] != blocking[name]}
    assert different == {"interceptors", "channel_factory"}
