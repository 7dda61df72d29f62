"""Values of metrics, for tests."""

from collections.abc import Callable

from prometheus_client import REGISTRY


def value(name: str, **labels: str) -> float:
    """The present value of a series; 0 if it does not exist yet."""
    return REGISTRY.get_sample_value(name, labels) or 0.0


def added(name: str, **labels: str) -> Callable[[], float]:
    """A function that returns by how much a series has grown since now."""
    before = value(name, **labels)
    return lambda: value(name, **labels) - before
