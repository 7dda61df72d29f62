"""read(): a data set folder, checked row by row, as one DataSet."""

from pathlib import Path

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from recmesh.dataset.actions import read_actions
from recmesh.dataset.data import DataSet
from recmesh.dataset.files import ACTION_SUFFIXES, TABLE_SUFFIXES, VECTORS_FILE, sources
from recmesh.dataset.fingerprint import fingerprint
from recmesh.dataset.rejects import Rejects
from recmesh.dataset.rows import Progress, RowSource
from recmesh.dataset.schema import SCHEMA_FILE, Schema
from recmesh.dataset.sides import ITEMS, USERS, read_side
from recmesh.dataset.vectors import read_vectors
from recmesh.errors import SettingsError


class DatasetSettings(BaseSettings):
    """RECMESH_MAX_REJECTED: the share of the rows of one kind that may be unusable before reading fails."""

    model_config = SettingsConfigDict(env_prefix="RECMESH_")

    max_rejected: float = Field(default=0.2, ge=0, le=1)


def read(
    folder: Path | str,
    rejects: Path | str | None = None,
    progress: Progress | None = None,
    max_rejected: float | None = None,
) -> DataSet:
    """Read and check the data set in `folder`.

    Every row that cannot be used is counted in the report and written to the CSV file `rejects` (file, line, reason,
    row). Memory: 21 bytes an action (twice while they are sorted), users and items as text, a few blocks of 16 MiB.

    Raises DataError that names file and reason: when the schema or a file is not usable, when more than `max_rejected`
    (default: RECMESH_MAX_REJECTED, .2) of the rows of one kind were rejected, and when all of them were.
    """
    folder = Path(folder)
    limit = _max_rejected() if max_rejected is None else max_rejected
    schema = Schema.load(folder)
    user_files = sources(folder, "users", TABLE_SUFFIXES)
    item_files = sources(folder, "products", TABLE_SUFFIXES)
    action_files = sources(folder, "actions", ACTION_SUFFIXES)
    with Rejects.open(Path(rejects) if rejects else None) as log:
        source = RowSource(folder, schema, log, progress, limit)
        users = read_side(source, USERS, user_files)
        items = read_side(source, ITEMS, item_files)
        actions = read_actions(source, action_files, users["user_id"], items["sku_id"])
        vectors = read_vectors(source, items["sku_id"])
    report = source.report
    report.summarise(schema, users, items, actions)
    report.notices += _not_read(folder, {*user_files, *item_files, *action_files})
    digest = fingerprint(schema, users, items, actions, vectors)
    return DataSet(folder, schema, digest, users, items, actions, vectors, report)


def _max_rejected() -> float:
    try:
        return DatasetSettings().max_rejected
    except ValidationError as error:
        raise SettingsError(f"RECMESH_MAX_REJECTED must be a share from 0 to 1: {error.errors()[0]['msg']}") from error


def _not_read(folder: Path, used: set[Path]) -> list[str]:
    """A notice of the files that nothing was read from, so that a misspelt name shows."""
    known = {*used, folder / SCHEMA_FILE, folder / VECTORS_FILE}
    found = (p for p in sorted(folder.rglob("*")) if p.is_file() and not p.name.startswith((".", "_")))
    names = [p.relative_to(folder).as_posix() for p in found if p not in known]
    more = f" and {len(names) - 10} more" if len(names) > 10 else ""
    return [f"files that were not read: {', '.join(names[:10])}{more}"] if names else []
