"""Read a data set folder and check every row."""

from pathlib import Path

import polars as pl
from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from recmesh.dataset.actions import read_actions
from recmesh.dataset.data import DataSet
from recmesh.dataset.fingerprint import fingerprint
from recmesh.dataset.forms.files import VECTORS_FILE, sources
from recmesh.dataset.ids import table_of
from recmesh.dataset.near_misses import near_duplicates
from recmesh.dataset.order import ordered
from recmesh.dataset.rejects import Limits, Rejects
from recmesh.dataset.rows import Progress, RowSource
from recmesh.dataset.schema import SCHEMA_FILE, Schema
from recmesh.dataset.sides import ITEMS, USERS, read_side, side_files
from recmesh.dataset.vectors import read_vectors
from recmesh.errors import SettingsError


class DatasetSettings(BaseSettings):
    """The shares of the rows of one kind beyond which reading fails (docs/adr/024-rows-that-are-not-used.md).

    Attributes:
        max_damaged: RECMESH_MAX_DAMAGED, of rows whose text is damaged.
        max_rejected: RECMESH_MAX_REJECTED, of other rows that cannot be used.
        max_unlisted: RECMESH_MAX_UNLISTED, of actions whose user or item is not in the tables.
    """

    model_config = SettingsConfigDict(env_prefix="RECMESH_")

    max_damaged: float = Field(default=0.001, ge=0, le=1)
    max_rejected: float = Field(default=0.2, ge=0, le=1)
    max_unlisted: float = Field(default=0.95, ge=0, le=1)


def read(
    folder: Path | str,
    rejects: Path | str | None = None,
    progress: Progress | None = None,
    max_rejected: float | None = None,
    max_damaged: float | None = None,
    max_unlisted: float | None = None,
) -> DataSet:
    """Read and check a data set.

    Memory: 21 bytes for each action (twice that during sorting), users and items as text, and a few blocks of 16 MiB.

    Args:
        folder: The data set.
        rejects: A CSV file for the rows that are not used, with the columns file, line, reason and row. The report
            counts them in any case.
        progress: Called after each block of a file.
        max_rejected: The share of the rows of one kind that may be invalid; by default RECMESH_MAX_REJECTED, or 0.2.
        max_damaged: The share whose text may be damaged; by default RECMESH_MAX_DAMAGED, or 0.001.
        max_unlisted: The share of unknown users or items; by default RECMESH_MAX_UNLISTED, or 0.95.

    Returns:
        The data set with its report.

    Raises:
        DataError: The schema or a file is unusable, or too many rows of one kind, or all of them, cannot be used. The
            message names the file and the reason.
        SettingsError: A setting is not a share.
    """
    folder = Path(folder)
    limits = limits_of(max_damaged, max_rejected, max_unlisted)
    schema = Schema.load(folder)
    user_files, item_files = side_files(folder, schema, USERS), side_files(folder, schema, ITEMS)
    action_files = sources(folder, "actions")
    with Rejects.open(Path(rejects) if rejects else None) as log:
        source = RowSource(folder, schema, log, progress, limits)
        users = read_side(source, USERS, user_files) if user_files else None
        items = read_side(source, ITEMS, item_files) if item_files else None
        actions = read_actions(source, action_files, users, items)
        found = [name for name, table in (("user_id", users), ("sku_id", items)) if table is None]
        users = table_of(actions["user_id"]) if users is None else users
        items = table_of(actions["sku_id"]) if items is None else items
        source.report.warnings += [said for name in found if (said := _alike(name, actions))]
        vectors = read_vectors(source, items["sku_id"])
    report = source.report
    report.summarise(schema, users, items, actions)
    report.notices += _not_read(folder, {*user_files, *item_files, *action_files})
    digest = fingerprint(schema, users, items, actions, vectors)
    return DataSet(folder, schema, digest, users, items, ordered(actions), vectors, report)


def _alike(key: str, actions: pl.DataFrame) -> str:
    alike = near_duplicates(table_of(actions[key]).to_series())
    return f"actions: of the values of {key}, {alike}; they count as different" if alike else ""


def limits_of(damaged: float | None = None, rejected: float | None = None, unlisted: float | None = None) -> Limits:
    """Return the given shares of rows that may be lost, and those of the settings for the others.

    Raises:
        SettingsError: A setting is not a share.
    """
    try:
        settings = DatasetSettings()
    except ValidationError as error:
        name, said = error.errors()[0]["loc"][0], error.errors()[0]["msg"]
        raise SettingsError(f"RECMESH_{str(name).upper()} must be between 0 and 1: {said}") from error
    given = {"max_damaged": damaged, "max_rejected": rejected, "max_unlisted": unlisted}
    settings = settings.model_copy(update={name: limit for name, limit in given.items() if limit is not None})
    return Limits(settings.max_damaged, settings.max_rejected, settings.max_unlisted)


def _not_read(folder: Path, used: set[Path]) -> list[str]:
    """Return a notice that lists the files that were not read, so that a misspelt name is noticed."""
    known = {*used, folder / SCHEMA_FILE, folder / VECTORS_FILE}
    found = (path for path in sorted(folder.rglob("*")) if path.is_file() and not path.name.startswith((".", "_")))
    names = [path.relative_to(folder).as_posix() for path in found if path not in known]
    more = f" and {len(names) - 10} more" if len(names) > 10 else ""
    return [f"files that were not read: {', '.join(names[:10])}{more}"] if names else []
