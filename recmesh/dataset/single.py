"""Single files of actions, users or items, which feed gets row by row."""

from pathlib import Path
from typing import Literal

from recmesh.dataset.actions import read_action_rows
from recmesh.dataset.forms.files import form_of
from recmesh.dataset.forms.tables import columns_of
from recmesh.dataset.reading import limits_of
from recmesh.dataset.rejects import Rejects, Tally
from recmesh.dataset.rows import FileRows, Progress, RowSource
from recmesh.dataset.schema import SCHEMA_FILE, Action, Field, Schema, Side, Value
from recmesh.dataset.sides import ITEMS, USERS, read_side_rows
from recmesh.errors import DataError

RowKind = Literal["actions", "users", "items"]
"""What the rows of a single file are."""

EVENT_ID = "event_id"
"""The column of a file of actions whose cells identify them."""


def read_rows(
    path: Path, kind: RowKind, schema: Schema, rejects: Rejects, progress: Progress | None = None
) -> tuple[FileRows, Tally]:
    """Read and check a single file of actions, users or items, by the rules of data sets.

    Args:
        path: The file.
        kind: What its rows are.
        schema: What its columns mean.
        rejects: Where rejected rows go.
        progress: Called after each block.

    Returns:
        The rows as `read_action_rows` and `read_side_rows` return them, and the counts of what became of all rows.

    Raises:
        DataError: The file is unusable, or too many of its rows, or all of them, cannot be used.
        SettingsError: A setting is not a share.
    """
    source = RowSource(path.parent, schema, rejects, progress, limits_of())
    if kind == "actions":
        event_ids = EVENT_ID if EVENT_ID in columns_of(path, schema) else None
        rows = read_action_rows(source, path, event_ids)
    else:
        rows = read_side_rows(source, USERS if kind == "users" else ITEMS, path)
    return rows, source.report.tallies[0]


def schema_of(path: Path, kind: RowKind, given: Path | None = None) -> Schema:
    """Return the schema of a single file.

    Args:
        path: The file.
        kind: What its rows are.
        given: The file of the schema.

    Returns:
        The given schema, or the one in the folder of the file. Without either, the columns have the names that feed
        uses: user_id, sku_id, time, type and value, of which the last three may be missing; all other columns of users
        and items are fields.

    Raises:
        DataError: A file is unusable, or its form is not one of .csv, .tsv, .parquet, .jsonl, .ndjson and .xlsx.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    if form_of(path) in ("", ".dat"):
        raise DataError(f"{path}: the form is not known; name it .csv, .tsv, .parquet, .jsonl, .ndjson or .xlsx")
    found = given or path.with_name(SCHEMA_FILE)
    if given or found.is_file():
        try:
            return Schema.parse(found.read_bytes(), str(found))
        except OSError as error:
            raise DataError(f"{found}: cannot be read ({error.strerror})") from error
    plain = Schema(action=Action(user="user_id", item="sku_id"))
    columns = columns_of(path, plain)
    if kind == "actions":
        action = Action(
            user="user_id",
            item="sku_id",
            time="time" if "time" in columns else None,
            type="type" if "type" in columns else None,
            value=Value(column="value") if "value" in columns else None,
        )
        return Schema(action=action)
    key = "user_id" if kind == "users" else "sku_id"
    side = Side(id=key, fields={name: Field(kind="display") for name in columns if name != key})
    return plain.model_copy(update={"user" if kind == "users" else "item": side})
