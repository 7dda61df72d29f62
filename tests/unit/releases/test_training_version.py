"""A release is identified by its data, its seed and TRAINING_VERSION, which is raised when training results change."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from local.datasets import Checked
from local.settings import LocalSettings
from local.up import _current_release
from recmesh.releases import ModelStore, versions
from recmesh.releases.versions import EQUIVALENT_VERSIONS, TRAINING_VERSION, code_digest, release_ids
from tests.servers import ROOT
from tests.training_digest import RECORD, current
from tests.unit.releases.conftest import MakeRelease

CHANGED = """
The training code changed, and TRAINING_VERSION (recmesh/releases/versions.py) did not.
- If the change is meant to change training results: raise TRAINING_VERSION and empty EQUIVALENT_VERSIONS.
- If it is not: train before and after it with one seed, and show that the metrics are equal.
Then run `.venv/bin/python -m tests.training_digest` and commit the record.
"""

PYTHON = '''"""A module."""
LIMIT = 3
"""An attribute."""


def double(value: int) -> int:
    """Double it."""
    return 2 * value  # twice
'''
C = "/* Twice.\n */\nint twice(int value) { return 2 * value; } // done\n"


@pytest.fixture
def code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Make a repository with two files, for `code_digest("code")`."""
    monkeypatch.setattr(versions, "_ROOT", tmp_path)
    versions._file_digest.cache_clear()
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "module.py").write_text(PYTHON)
    (tmp_path / "code" / "kernel.c").write_text(C)
    yield tmp_path / "code"
    versions._file_digest.cache_clear()


def digest_with(code: Path, name: str, content: str) -> str:
    """Return the digest of the repository after a change of a file."""
    (code / name).write_text(content)
    versions._file_digest.cache_clear()
    return code_digest("code")


def test_the_version_is_raised_when_the_training_code_changes() -> None:
    assert RECORD.read_text() == current(), CHANGED


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("module.py", PYTHON.replace("A module", "A better sentence")),
        ("module.py", PYTHON.replace('"""An attribute."""\n', "")),
        ("module.py", PYTHON.replace('    """Double it."""\n', "")),
        ("module.py", PYTHON.replace("  # twice", "")),
        ("module.py", PYTHON.replace("2 * value", "(\n        2 * value\n    )")),
        ("kernel.c", C.replace("Twice", "Two times").replace(" // done", "")),
        ("kernel.c", C.replace("{ return", "{\n    return")),
        ("page.html", "<p>Not code</p>"),
    ],
)
def test_words_and_layout_do_not_change_the_digest(code: Path, name: str, content: str) -> None:
    before = code_digest("code")
    assert digest_with(code, name, content) == before


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("module.py", PYTHON.replace("LIMIT = 3", "LIMIT = 4")),
        ("module.py", PYTHON.replace("2 * value", "2 + value")),
        ("module.py", PYTHON.replace("value: int", "value: float")),
        ("module.py", PYTHON.replace("return 2", 'print("doubling")\n    return 2')),
        ("kernel.c", C.replace("2 * value", "3 * value")),
        ("another.py", ""),
    ],
)
def test_a_change_of_the_code_changes_the_digest(code: Path, name: str, content: str) -> None:
    before = code_digest("code")
    assert digest_with(code, name, content) != before


def test_files_that_are_left_out_do_not_change_the_digest(code: Path) -> None:
    before = code_digest("code", without=("code/maker.py",))
    assert before == code_digest("code")
    (code / "maker.py").write_text("made = 1\n")
    assert code_digest("code", without=("code/maker.py",)) == before
    assert code_digest("code") != before


def test_the_code_that_makes_data_sets_exists() -> None:
    assert [path for path in versions.MAKING_DATA_SETS if not (ROOT / path).exists()] == []


def test_the_ids_of_a_release_follow_from_data_version_seed_and_budget() -> None:
    data = "ab" * 32
    assert TRAINING_VERSION == 4
    # sha256("<fingerprint> 4 7")
    assert release_ids(data, 7) == ["abababab-ba769c6e"]
    assert len({*release_ids(data, 7), *release_ids(data, 8), *release_ids(data, 7, 60.0)}) == 3


@pytest.mark.parametrize("version", [str(TRAINING_VERSION), *EQUIVALENT_VERSIONS])
def test_an_upgraded_installation_finds_its_release(tmp_path: Path, make_release: MakeRelease, version: str) -> None:
    store = ModelStore(str(tmp_path / "store"))
    store.put(make_release("trained", code_version=version))
    store.put(make_release("other", code_version="of other results"))
    settings = LocalSettings(home=tmp_path / "home", model_store=store.url)
    release = _current_release(settings, Checked(tmp_path, "f" * 64, "", "", {}))
    assert release is not None
    assert release.id == "trained"
