"""Well-known data sets by name, written as ordinary data set folders."""

import os
from collections.abc import Callable
from pathlib import Path

from recmesh.contract import DEFAULT_HOME
from recmesh.dataset.importers import ml_100k, ta_feng
from recmesh.dataset.schema import SCHEMA_FILE, Schema, did_you_mean
from recmesh.dataset.synthetic import synthetic
from recmesh.dataset.writing import new_folder
from recmesh.errors import DataError

__all__ = ["NAMES", "fetch"]

_WRITERS: dict[str, tuple[Schema, Callable[[Path, Path], None]]] = {
    "ta_feng": (ta_feng.SCHEMA, ta_feng.write),
    "ml_100k": (ml_100k.SCHEMA, ml_100k.write),
}
NAMES = (*_WRITERS, "synthetic")
"""The names that `fetch` accepts."""


def fetch(name: str, into: Path, cache: Path | None = None) -> Path:
    """Create the folder of a well-known data set. The folder is either complete or not there.

    Args:
        name: One of NAMES.
        into: The folder to create. It may replace a folder that was made the same way.
        cache: Where downloads are kept; by default the folder `cache` in RECMESH_HOME.

    Returns:
        `into`.

    Raises:
        DataError: The name is unknown, the download fails or is not the pinned file, or `into` contains something else.
    """
    if name == "synthetic":
        return synthetic(into)
    if name not in _WRITERS:
        raise DataError(f'unknown data set "{name}": one of {", ".join(NAMES)}, or a folder{did_you_mean(name, NAMES)}')
    schema, write = _WRITERS[name]
    with new_folder(into) as folder:
        write(cache or Path(os.environ.get("RECMESH_HOME", DEFAULT_HOME)) / "cache", folder)
        (folder / SCHEMA_FILE).write_text(schema.dump(), encoding="utf-8")
    return into
