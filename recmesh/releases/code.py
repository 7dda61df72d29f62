"""Which state of the code made or started something: what another state did is not current."""

import hashlib
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[2]
_SUFFIXES = (".py", ".c", ".html")
_TRAINING = (
    "jobs/train",
    "recmesh/kernels",
    "recmesh/features",
    "recmesh/retrieval",
    "recmesh/evaluation",
    "recmesh/dataset",
)


def code_hash(*folders: str) -> str:
    """A hash of the sources in folders of the repository."""
    digest = hashlib.sha256()
    for folder in folders:
        for path in sorted(path for path in (_ROOT / folder).rglob("*") if path.suffix in _SUFFIXES):
            digest.update(path.relative_to(_ROOT).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def training_code() -> str:
    """A hash of the code that decides what a release is."""
    return code_hash(*_TRAINING)
