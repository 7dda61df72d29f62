"""Data sets by name, made as folders in the ordinary form."""

import os
from collections.abc import Callable
from pathlib import Path

from recmesh.dataset.importers import ml_100k, ta_feng
from recmesh.dataset.schema import SCHEMA_FILE, Schema, did_you_mean
from recmesh.dataset.synthetic import synthetic
from recmesh.dataset.writing import new_folder
from recmesh.errors import DataError

_WRITERS: dict[str, tuple[Schema, Callable[[Path, Path], None]]] = {
    "ta_feng": (ta_feng.SCHEMA, ta_feng.write),
    "ml_100k": (ml_100k.SCHEMA, ml_100k.write),
}
NAMES = (*_WRITERS, "synthetic")


def fetch(name: str, into: Path, cache: Path | None = None) -> Path:
    """Make the data set `name` (one of NAMES) as the folder `into`, whole or not at all, and return `into`.

    Downloads are kept in `cache` (default: `cache/` of RECMESH_HOME). Raises DataError for an unknown name, without a
    network, when a download is not what was pinned, and when `into` holds something else.
    """
    if name == "synthetic":
        return synthetic(into)
    if name not in _WRITERS:
        raise DataError(f'unknown data set "{name}": one of {", ".join(NAMES)}, or a folder{did_you_mean(name, NAMES)}')
    schema, write = _WRITERS[name]
    with new_folder(into) as folder:
        write(cache or Path(os.environ.get("RECMESH_HOME", ".recmesh")) / "cache", folder)
        (folder / SCHEMA_FILE).write_text(schema.dump(), encoding="utf-8")
    return into
