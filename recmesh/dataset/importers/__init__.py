"""Data sets by name, written as ordinary data set folders."""

import os
import re
from collections.abc import Callable
from pathlib import Path

import polars as pl

from recmesh.contract import DEFAULT_HOME
from recmesh.dataset import calibrated, synthetic
from recmesh.dataset.importers import (
    book_crossing,
    ga4,
    hm,
    instacart,
    instacart_sample,
    jdata,
    ml_100k,
    ml_latest_small,
    movielens,
    retailrocket,
    ta_feng,
)
from recmesh.dataset.importers.exports import one_line
from recmesh.dataset.schema import SCHEMA_FILE, Schema
from recmesh.dataset.writing import new_folder
from recmesh.errors import DataError
from recmesh.spelling import did_you_mean

__all__ = ["NAMES", "check_source", "fetch", "folder_of"]

_DOWNLOADS: dict[str, Callable[[Path, Path], str]] = {
    "ta_feng": ta_feng.write,
    "ml_100k": ml_100k.write,
    "ml_latest_small": ml_latest_small.write,
    "book_crossing": book_crossing.write,
    "book_crossing_5k": book_crossing.write_5k,
    "instacart_sample": instacart_sample.write,
}
"""Data sets in public wheels: functions of the folder of downloads and the folder to fill, which return schema.yaml."""

_EXPORTS: dict[str, Callable[[Path, Path], str]] = {
    "jdata": jdata.import_folder,
    "retailrocket": retailrocket.import_folder,
    "instacart": instacart.import_folder,
    "hm": hm.import_folder,
    "movielens": movielens.import_folder,
    "ga4": ga4.import_folder,
}
"""Public layouts: functions of the folder with the published files and the folder to fill, which return schema.yaml."""

NAMES = (*_DOWNLOADS, *(f"{name}:FOLDER" for name in _EXPORTS), "synthetic", "synthetic:users=..")
"""The sources that `fetch` accepts."""


def check_source(source: str) -> None:
    """Check that a source is known, without making its data set.

    Raises:
        DataError: It is unknown, or what follows its colon is not right.
    """
    _maker(source, Path())


def folder_of(source: str) -> Path | None:
    """Return the folder that a source names, as in `movielens:FOLDER`, or None."""
    name, _, folder = source.partition(":")
    return Path(folder).expanduser() if folder and name in _EXPORTS else None


def fetch(source: str, into: Path, cache: Path | None = None) -> Path:
    """Create the folder of a data set by its name. The folder is either complete or not there.

    Args:
        source: One of NAMES.
        into: The folder to create. It may replace a folder that was made the same way.
        cache: Where downloads are kept; by default the folder `cache` in RECMESH_HOME.

    Returns:
        `into`.

    Raises:
        DataError: The source is unknown, lacks a file or a column, or cannot be read; the download is not the pinned
            file; or `into` contains something else.
        Unavailable: The package index of a download does not answer.
    """
    write = _maker(source, cache or Path(os.environ.get("RECMESH_HOME", DEFAULT_HOME)) / "cache")
    with new_folder(into) as folder:
        try:
            schema = write(folder)
        except pl.exceptions.PolarsError as error:
            raise DataError(f"{source}: {one_line(error)}") from error
        Schema.parse(schema, f"{source}: {SCHEMA_FILE}")
        (folder / SCHEMA_FILE).write_text(schema, encoding="utf-8")
    return into


def _maker(source: str, cache: Path) -> Callable[[Path], str]:
    """Return the function that fills a folder from a source, and returns schema.yaml."""
    name, colon, argument = source.partition(":")
    if not colon and name in _DOWNLOADS:
        return lambda into: _DOWNLOADS[name](cache, into)
    if name == "synthetic":
        return _generator(argument)
    if folder := folder_of(source):
        if not folder.is_dir():
            raise DataError(f"{source}: no such folder; it must hold the files of {name} as they are published")
        return lambda into: _EXPORTS[name](folder, into)
    if name in _EXPORTS:
        raise DataError(f"{source}: say where the published files are, as in {name}:FOLDER")
    if "/" in name:
        raise DataError(f"{source}: no such folder")
    raise DataError(f'unknown data set "{source}": one of {", ".join(NAMES)}, or a folder{did_you_mean(source, NAMES)}')


def _generator(argument: str) -> Callable[[Path], str]:
    """Return the function that generates a shop: small with clear preferences, or of any size with real statistics."""
    small = re.fullmatch(r"(\d{1,9})x(\d{1,9})", argument or "5000x2000", re.ASCII)
    if small:
        return lambda into: synthetic.write(into, int(small[1]), int(small[2]))
    size = calibrated.Size.parse(argument)
    return lambda into: calibrated.write(size, into)
