"""What identifies the code that trained a release, and the code that a running process was started from."""

import ast
import hashlib
import re
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

TRAINING_VERSION = 4
"""Version of the training results.

Raise it when a change of the code is meant to change what training produces from the same data and seed. Every shop
then trains again. `tests/unit/releases/test_training_version.py` fails when the training code changed and this number
did not.
"""

EQUIVALENT_VERSIONS: tuple[str, ...] = ()
"""Values of `Manifest.code_version` in releases whose training gave the same results as `TRAINING_VERSION`.

Release 0.1.0 recorded a hash of its source text. Empty this tuple when `TRAINING_VERSION` is raised.
"""

TRAINING_CODE = (
    "jobs/train/data",
    "jobs/train/models",
    "jobs/train/selection",
    "jobs/train/export",
    "jobs/train/pipeline.py",
    "recmesh/dataset",
    "recmesh/evaluation",
    "recmesh/features",
    "recmesh/kernels",
    "recmesh/numbers.py",
    "recmesh/retrieval",
)
"""The code that decides what a release contains, as paths in the repository. Report pages are not part of it."""

MAKING_DATA_SETS = (
    "recmesh/dataset/calibrated.py",
    "recmesh/dataset/importers",
    "recmesh/dataset/oracle.py",
    "recmesh/dataset/synthetic.py",
)
"""Code among the above that makes data sets. It does not change what training makes of a folder that exists."""

_ROOT = Path(__file__).resolve().parents[2]
# Syntax that does not affect what code does, or that not every supported version of Python records.
_IGNORED_FIELDS = {"ctx", "kind", "type_comment", "type_params"}
_C_COMMENT = re.compile(r"/\*.*?\*/|//[^\n]*", re.DOTALL)


def training_versions() -> tuple[str, ...]:
    """Return the values of `Manifest.code_version` that stand for today's training results, the current one first."""
    return (str(TRAINING_VERSION), *EQUIVALENT_VERSIONS)


def release_ids(fingerprint: str, seed: int, budget: float | None = None) -> list[str]:
    """Return the ids of releases that hold the results of a training; a new release gets the first.

    The same data, training version, seed and budget make the same release.

    Args:
        fingerprint: Fingerprint of the data set.
        seed: The random seed.
        budget: Seconds to try other settings, if any.
    """
    options = f"{seed}" + (f" {budget:g}" if budget else "")
    origins = (f"{fingerprint} {version} {options}" for version in training_versions())
    return [f"{fingerprint[:8]}-{hashlib.sha256(origin.encode()).hexdigest()[:8]}" for origin in origins]


def training_digest() -> str:
    """Hash what the training code does."""
    return code_digest(*TRAINING_CODE, without=MAKING_DATA_SETS)


def code_digest(*paths: str, without: tuple[str, ...] = ()) -> str:
    """Hash what the code in some files and folders does.

    The digest covers the abstract syntax trees of Python files without docstrings, and C files without comments. A
    changed comment, docstring or line break does not change it, nor does the version of Python.

    Args:
        paths: Files or folders, relative to the repository.
        without: Files or folders among them to leave out.

    Returns:
        16 hexadecimal digits.
    """
    digest = hashlib.sha256()
    left_out = {file for path in without for file in _sources(_ROOT / path)}
    for path in paths:
        for file in sorted(set(_sources(_ROOT / path)) - left_out):
            digest.update(f"{file.relative_to(_ROOT).as_posix()}\0{_file_digest(file)}\0".encode())
    return digest.hexdigest()[:16]


def _sources(path: Path) -> Iterator[Path]:
    files = [path] if path.is_file() else path.rglob("*")
    return (file for file in files if file.suffix in (".py", ".c"))


@cache
def _file_digest(file: Path) -> str:
    text = file.read_text()
    if file.suffix == ".c":
        content = " ".join(_C_COMMENT.sub(" ", text).split())
    else:
        parts: list[str] = []
        _collect(ast.parse(text), parts.append)
        content = "\0".join(parts)
    return hashlib.sha256(content.encode()).hexdigest()


def _collect(node: object, add: Callable[[str], None]) -> None:
    """Add a text form of a syntax tree: names of node types, and values in the order of their fields."""
    if isinstance(node, list):
        add("[")
        for element in node:
            if not _is_docstring(element):
                _collect(element, add)
        add("]")
    elif isinstance(node, ast.AST):
        add(type(node).__name__)
        for name in node._fields:
            if name not in _IGNORED_FIELDS:
                _collect(getattr(node, name, None), add)
    else:
        add(repr(node))


def _is_docstring(node: object) -> bool:
    """Return whether a statement is a bare string: the docstring of a module, class, function or attribute."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
