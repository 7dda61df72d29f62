"""The list of all settings: complete, and with the types and ranges of the code."""

import re

import pytest

from tests.known_settings import PREFIX, known
from tests.servers import ROOT

_NAME = re.compile(r"RECMESH_[A-Z0-9_]*[A-Z0-9]\b(?![{<*])")
_FOLDERS = ("services", "jobs", *(f"recmesh/{name}" for name in ("serving", "chain", "stores", "releases", "dataset")))
# Beginnings of names, as in "RECMESH_TLS_CERTIFICATE, _KEY".
_SHORTENED = {"RECMESH_RANK"}


def test_every_name_in_the_code_of_services_and_jobs_is_listed() -> None:
    texts = [path.read_text() for folder in _FOLDERS for path in (ROOT / folder).rglob("*.py")]
    named = {name for text in texts for name in _NAME.findall(text)}
    assert len(named) > 30
    assert named - known().keys() - _SHORTENED == set()


@pytest.mark.parametrize(
    ("name", "expected", "components"),
    [
        ("LOG_LEVEL", {"type": "string", "enum": ["debug", "info", "warning", "error"], "default": "info"}, 14),
        ("TRACE_RATIO", {"type": "number", "minimum": 0, "maximum": 1, "default": 0.01}, 8),
        ("DRAIN_TIMEOUT", {"type": "number", "exclusiveMinimum": 0, "default": 10}, 8),
        ("REDIS_POOL", {"type": "integer", "exclusiveMinimum": 0, "default": 16}, 5),
        ("AUDIT", {"type": "boolean", "default": False}, 8),
        ("METRICS_PORT", {"type": "integer", "minimum": 0, "maximum": 65535}, 8),
        ("MAX_REJECTED", {"type": "number", "minimum": 0, "maximum": 1, "default": 0.2}, 3),
        ("ARCHIVE", {"type": "string"}, 3),
    ],
)
def test_a_setting_has_the_type_and_the_range_of_the_code(
    name: str, expected: dict[str, object], components: int
) -> None:
    found = known()[f"{PREFIX}{name}"]
    readers = found.pop("components")
    assert (found, len(readers)) == (expected, components), readers


def test_an_unknown_name_is_not_listed() -> None:
    assert f"{PREFIX}NONSENSE" not in known()
