"""What tests of the serving code share."""

import logging
from collections.abc import Iterator

import pytest
import structlog


@pytest.fixture
def own_configuration() -> Iterator[None]:
    """A test may configure logging: the configuration of the others is back afterwards."""
    root, before = logging.getLogger(), structlog.get_config()
    handlers, level = root.handlers[:], root.level
    yield
    structlog.configure(**before)
    root.handlers[:] = handlers
    root.setLevel(level)
