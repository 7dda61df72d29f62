"""A data set together with what feed has recorded since: the archive of its log."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import replace
from typing import NamedTuple, cast

import polars as pl

from recmesh.contract import user_hash
from recmesh.dataset.actions import distinct
from recmesh.dataset.archive import OF_USERS, Archive
from recmesh.dataset.data import DataSet
from recmesh.dataset.fingerprint import fingerprint
from recmesh.dataset.order import ordered
from recmesh.dataset.schema import Schema

_Fields = Mapping[str, str | None]


class Merged(NamedTuple):
    """A data set with the log of feed.

    Attributes:
        data: The data set.
        positions: Up to which position of each stream it has the log.
        users: The users in the log.
    """

    data: DataSet
    positions: Mapping[str, str]
    users: AbstractSet[str]


def merged(data: DataSet, archive: str, until: Mapping[str, str] | None = None) -> Merged:
    """Add the log of feed to a data set.

    Args:
        data: The data set.
        archive: URL of the archive of the log; empty for none.
        until: The last position of each stream to read; None for everything that is archived.

    Raises:
        DataError: A file of the archive is damaged.
        SettingsError: The URL is malformed.
        Unavailable: The store behind it does not answer.
    """
    if not archive:
        return Merged(data, {}, frozenset())
    files = Archive(archive)
    # Files that come meanwhile may be read, but do not count as known.
    positions, log = files.positions() if until is None else until, files.read(until)
    users = frozenset(log.filter(pl.col("change").is_in(OF_USERS))["id"])
    return Merged(with_log(data, log), positions, users)


def with_log(data: DataSet, log: pl.DataFrame) -> DataSet:
    """Add the entries of a log to a data set.

    Actions that both have count once, as do those with the same event id. Actions on items that neither knows are left
    out, if the data set has a table of items. Items that were removed or hidden stay: they still teach.

    Args:
        data: The data set.
        log: The entries, as `Archive.read` returns them.
    """
    if log.is_empty():
        return data
    deletions = log.filter(pl.col("change") == "delete_user")
    # The archive has nothing that a user did before the deletion.
    gone = frozenset(deletions["id"])
    actions = _once(log.filter(pl.col("change") == "action"))
    kept = _without(data, gone)
    users = _updated(kept.users, "user_id", _fields(log, "put_user", data.schema), actions["id"].to_list())
    listed = [] if data.schema.item.id else actions["sku_id"].to_list()
    items = _updated(kept.items, "sku_id", _fields(log, "put_item", data.schema), listed)
    rows = _with_actions(kept, actions.filter(pl.col("sku_id").is_in(items["sku_id"].implode())), users, items)
    return _assembled(data, users, items, rows)


def _once(actions: pl.DataFrame) -> pl.DataFrame:
    """The actions without repeated events."""
    named = pl.col("event_id") != ""
    return pl.concat(
        [actions.filter(~named), actions.filter(named).unique(["id", "event_id"], keep="first", maintain_order=True)]
    )


def _without(data: DataSet, deleted: Collection[str]) -> DataSet:
    """The data set without users who were deleted, given as `user_hash`, and without their actions."""
    gone = (
        [user_id for user_id in data.users["user_id"].cast(pl.String) if user_hash(user_id) in deleted]
        if deleted
        else []
    )
    if not gone:
        return data
    kept = ~pl.col("user_id").cast(pl.String).is_in(gone)
    return replace(data, users=data.users.filter(kept), actions=data.actions.filter(kept))


def _fields(log: pl.DataFrame, change: str, schema: Schema) -> Mapping[str, _Fields]:
    """The latest values of fields by id; None for a value that means missing."""
    found = defaultdict[str, dict[str, str | None]](dict)
    for identity, fields in log.filter(pl.col("change") == change).select("id", "fields").iter_rows():
        values = {field["name"]: field["value"] for field in fields}
        found[identity].update({name: None if value in schema.missing else value for name, value in values.items()})
    return found


def _updated(table: pl.DataFrame, key: str, fields: Mapping[str, _Fields], further: Iterable[str]) -> pl.DataFrame:
    """A table of users or items with new values, and with rows for further ids."""
    table = table.with_columns(pl.col(key).cast(pl.String))
    changed = sorted(fields.keys() | set(further))
    known = table.filter(pl.col(key).is_in(pl.Series(changed, dtype=pl.String).implode()))
    rows = {identity: dict.fromkeys(table.columns) | {key: identity} for identity in changed}
    for row in known.iter_rows(named=True):
        rows[row[key]] |= row
    for identity, values in fields.items():
        rows[identity] |= {name: value for name, value in values.items() if name in table.columns}
    new = pl.DataFrame(list(rows.values()), table.schema, orient="row")
    return pl.concat([table.join(new, on=key, how="anti"), new]).sort(key)


def _with_actions(data: DataSet, added: pl.DataFrame, users: pl.DataFrame, items: pl.DataFrame) -> pl.DataFrame:
    """All actions, over all users and items: the frame `actions` of a DataSet."""
    types = {*cast(pl.Enum, data.actions["type"].dtype).categories, *added["type"]}
    casts = [
        pl.col("user_id").cast(pl.Enum(users["user_id"])),
        pl.col("sku_id").cast(pl.Enum(items["sku_id"])),
        pl.col("type").cast(pl.Enum(sorted(types))),
    ]
    new = added.select(pl.col("id").alias("user_id"), "sku_id", "time", "type", "value")
    if not data.schema.action.time:
        new = new.with_columns(time=pl.lit(0, pl.Int64))
    return distinct(pl.concat([data.actions.with_columns(casts), new.with_columns(casts)]))


def _assembled(data: DataSet, users: pl.DataFrame, items: pl.DataFrame, actions: pl.DataFrame) -> DataSet:
    if not data.schema.user.id:
        users = users.filter(pl.col("user_id").is_in(actions["user_id"].cast(pl.String).unique().implode()))
    counts = actions["type"].value_counts()
    times = actions["time"].to_list()[-1:] if data.schema.action.time else []
    report = replace(
        data.report,
        last_time=next(iter(times), data.report.last_time),
        types=dict(sorted(zip(counts["type"].cast(pl.String), counts["count"], strict=True))),
        notices=[*data.report.notices, f"log of feed: {actions.height - data.actions.height:+,} actions"],
    )
    digest = fingerprint(data.schema, users, items, actions, data.product_vectors)
    return DataSet(data.folder, data.schema, digest, users, items, ordered(actions), data.product_vectors, report)
