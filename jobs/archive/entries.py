"""Entries of the log as rows of the archive."""

from collections.abc import Mapping
from typing import Any

from recmesh.contract import user_hash
from recmesh.dataset.archive import SCHEMA
from recmesh.pb.log_entry_pb2 import LogEntry

_EMPTY: Mapping[str, Any] = dict.fromkeys(SCHEMA)


def row_of(position: str, entry: LogEntry) -> dict[str, Any] | None:
    """Return the row of an entry; None if the entry is damaged."""
    change = entry.WhichOneof("change")
    if change is None:
        return None
    row = {**_EMPTY, "position": position, "change": change}
    if change == "action":
        action = entry.action
        return row | {
            "id": action.user_id,
            "sku_id": action.sku_id,
            "time": action.time,
            "type": action.type,
            "value": action.value,
            "event_id": action.event_id,
        }
    if change in ("put_user", "put_item"):
        update = getattr(entry, change)
        fields = [{"name": name, "value": value} for name, value in sorted(update.fields.items())]
        return row | {"id": update.user_id if change == "put_user" else update.sku_id, "fields": fields}
    return row | {"id": user_hash(entry.delete_user) if change == "delete_user" else getattr(entry, change)}
