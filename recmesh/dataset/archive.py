"""The archive of feed's log: Parquet files under an fsspec URL, which trainings and ingestions read after a data set.

Each file has entries of one stream, in order, and is named `<stream>-<first position>-<last position>.parquet`. A file
is written completely or not at all. Two files may contain the same entry; its position tells.
"""

import io
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import fsspec
import polars as pl
from fsspec import AbstractFileSystem

from recmesh.contract import user_hash
from recmesh.errors import DataError, SettingsError, Unavailable
from recmesh.urls import open_url

SCHEMA: Mapping[str, Any] = {
    "position": pl.String,
    "change": pl.String,
    "id": pl.String,
    "sku_id": pl.String,
    "time": pl.Int64,
    "type": pl.String,
    "value": pl.Float32,
    "event_id": pl.String,
    "fields": pl.List(pl.Struct({"name": pl.String, "value": pl.String})),
}
"""The columns. `id` is that of the user or item; the columns from `sku_id` to `event_id` are those of actions."""

OF_USERS = ("action", "put_user")
"""The changes that are about a user and go when the user is deleted."""

_NAME = re.compile(r"(?P<stream>[a-z0-9]+)-(?P<first>\d+-\d+)-(?P<last>\d+-\d+)\.parquet")
_UNFINISHED = ".unfinished"


def position_key(position: str) -> tuple[int, int]:
    """Return what orders positions of one stream."""
    milliseconds, number = position.split("-")
    return int(milliseconds), int(number)


@dataclass(frozen=True)
class Part:
    """A file of the archive."""

    path: str
    stream: str
    first: str
    last: str


class Archive:
    """The files under a URL. Methods raise Unavailable if the store behind it does not answer."""

    def __init__(self, url: str) -> None:
        """Open an archive, which may be empty.

        Raises:
            SettingsError: The URL is malformed.
        """
        self.url = url
        try:
            self._files, self._root = _opened(url)
        except (ValueError, ImportError) as error:
            raise SettingsError(f"archive {url}: {error}") from None

    def parts(self) -> list[Part]:
        """Return the files, by stream and position."""
        names = self._call(self._files.find, self._root) if self._call(self._files.exists, self._root) else []
        found = [(name, _NAME.fullmatch(PurePosixPath(name).name)) for name in names]
        parts = [Part(name, match["stream"], match["first"], match["last"]) for name, match in found if match]
        return sorted(parts, key=lambda part: (part.stream, position_key(part.first), position_key(part.last)))

    def positions(self) -> dict[str, str]:
        """Return the last position of each stream."""
        return {part.stream: part.last for part in sorted(self.parts(), key=lambda part: position_key(part.last))}

    def write(self, stream: str, first: str, last: str, rows: pl.DataFrame) -> None:
        """Write the next entries of a stream, between two positions, in order: rows of `SCHEMA`."""
        self._put(f"{self._root}/{stream}-{first}-{last}.parquet", rows)

    def read(self, until: Mapping[str, str] | None = None) -> pl.DataFrame:
        """Return all entries once: `SCHEMA` and `stream`, by stream and position.

        Args:
            until: The last position of each stream to read, and no other streams; None for everything.
        """
        parts = self.parts()
        frames = [self._part(part).with_columns(stream=pl.lit(part.stream)) for part in parts]
        rows = pl.concat([pl.DataFrame(schema={**SCHEMA, "stream": pl.String}), *frames])
        moment, number = (
            pl.col("position").str.split("-").list.get(at).cast(pl.Int64).alias(name)
            for at, name in enumerate(("moment", "number"))
        )
        rows = rows.with_columns(moment, number).unique(["stream", "position"], keep="first")
        if until is not None:
            last = pl.DataFrame(
                [(stream, *position_key(position)) for stream, position in until.items()],
                {"stream": pl.String, "last_moment": pl.Int64, "last_number": pl.Int64},
                orient="row",
            )
            earlier = pl.col("moment") < pl.col("last_moment")
            same = (pl.col("moment") == pl.col("last_moment")) & (pl.col("number") <= pl.col("last_number"))
            rows = rows.join(last, on="stream").filter(earlier | same).drop("last_moment", "last_number")
        return rows.sort("stream", "moment", "number").drop("moment", "number")

    def forget(self, stream: str, deleted: Mapping[str, str]) -> int:
        """Remove what users did before they were deleted.

        Args:
            stream: The stream of the users.
            deleted: The position of the latest deletion by the `user_hash` of the user.

        Returns:
            The number of removed entries.
        """
        removed = 0
        for part in self.parts():
            if part.stream == stream:
                rows = self._part(part)
                kept = without_deleted(rows, deleted)
                if kept.height < rows.height:
                    removed += rows.height - kept.height
                    self._put(part.path, kept)
        return removed

    def _part(self, part: Part) -> pl.DataFrame:
        content = self._call(self._files.cat_file, part.path)
        try:
            return pl.read_parquet(io.BytesIO(content)).select(pl.col(name).cast(kind) for name, kind in SCHEMA.items())
        except pl.exceptions.PolarsError as error:
            said = str(error).splitlines()[0]
            raise DataError(f"archive {self.url}: {PurePosixPath(part.path).name} is damaged: {said}") from error

    def _put(self, path: str, rows: pl.DataFrame) -> None:
        buffer = io.BytesIO()
        rows.write_parquet(buffer)
        self._call(self._files.makedirs, self._root, exist_ok=True)
        # A reader sees the file under its name only when it is complete.
        self._call(self._files.pipe_file, f"{path}{_UNFINISHED}", buffer.getvalue())
        self._call(self._files.mv, f"{path}{_UNFINISHED}", path)

    def _call(self, function: Any, *arguments: Any, **options: Any) -> Any:
        try:
            return function(*arguments, **options)
        except Exception as error:  # each fsspec backend raises classes of its own
            raise Unavailable(f"archive {self.url}: {type(error).__name__}: {error}") from error


def without_deleted(rows: pl.DataFrame, deleted: Mapping[str, str]) -> pl.DataFrame:
    """Return the entries without what users did before they were deleted; see `Archive.forget`."""
    if not deleted:
        return rows
    latest = {identity: position_key(position) for identity, position in deleted.items()}
    gone = [
        change in OF_USERS and position_key(position) < latest.get(user_hash(identity), (0, 0))
        for position, change, identity in rows.select("position", "change", "id").iter_rows()
    ]
    return rows.filter(~pl.Series(gone, dtype=pl.Boolean))


def _opened(url: str) -> tuple[AbstractFileSystem, str]:
    if "://" not in url:
        return fsspec.filesystem("file"), url.rstrip("/")
    try:
        files, path = open_url(url)
    except ValueError as error:
        raise SettingsError(f"archive (RECMESH_ARCHIVE) {url}: {error}") from None
    return files, path.rstrip("/")
