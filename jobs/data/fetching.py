"""Fetching a data set from a URL."""

import shutil
import tempfile
from pathlib import Path, PurePosixPath
from typing import Any

from recmesh.errors import DataError, Unavailable
from recmesh.urls import REACH, open_url

_ARCHIVES = (".tar.gz", ".tgz", ".tar", ".zip")


def is_url(source: str) -> bool:
    """Whether a source is a URL rather than a name."""
    return "://" in source


def fetch_url(url: str, into: Path) -> None:
    """Copy a folder or unpack an archive to the folder `into`, completely or not at all.

    An archive holds the files of the data set, or a single folder with them.

    Raises:
        DataError: The URL is malformed, names nothing, or names a broken archive.
        Unavailable: The store behind the URL does not answer.
    """
    with tempfile.TemporaryDirectory(dir=into.parent, prefix=f".{into.name}-") as scratch:
        made = _fetched(url, Path(scratch))
        made.rename(into)


def _fetched(url: str, scratch: Path) -> Path:
    try:
        files, path = open_url(url)
    except ValueError as error:
        raise DataError(f"{url}: {error}") from None
    # What follows "?" may be a signature.
    by_http = url.startswith(("http://", "https://"))
    place = url.partition("?")[0] if by_http else url
    if by_http and not place.endswith(_ARCHIVES):
        raise DataError(f"{place}: HTTP cannot list folders; name an archive ({', '.join(_ARCHIVES)})")
    try:
        if not place.endswith(_ARCHIVES):
            return _folder(files, path, scratch / "data")
        archive = scratch / PurePosixPath(place).name
        files.get_file(path, str(archive))
    except FileNotFoundError:
        raise DataError(f"{place}: no such file or folder; check the URL") from None
    except Exception as error:  # each fsspec backend raises classes of its own
        raise Unavailable(f"{place}: {type(error).__name__}: {' '.join(str(error).split())}; {REACH}") from error
    return _unpacked(archive, scratch / "data")


def _folder(files: Any, path: str, into: Path) -> Path:
    # One by one, since `get` would take * ? [ in the path for a pattern.
    root = path.rstrip("/")
    names = files.find(root)
    if not names:
        raise FileNotFoundError(root)
    for name in names:
        target = into / PurePosixPath(name).relative_to(root)
        target.parent.mkdir(parents=True, exist_ok=True)
        files.get_file(name, str(target))
    return into


def _unpacked(archive: Path, into: Path) -> Path:
    try:
        # The filter refuses members of a tar file that would leave the folder, and devices.
        options: dict[str, Any] = {} if archive.name.endswith(".zip") else {"filter": "data"}
        shutil.unpack_archive(archive, into, **options)
    except (shutil.ReadError, ValueError) as error:
        raise DataError(f"{archive.name}: {error}") from error
    content = list(into.iterdir())
    return content[0] if len(content) == 1 and content[0].is_dir() else into
