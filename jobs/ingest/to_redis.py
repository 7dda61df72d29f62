"""A data set into Redis: items, users and histories.

Nothing is emptied first: new values take the place of old ones, and only then the keys that the data set does not have
are removed. The last of several shards to finish removes and verifies.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256

import polars as pl
from rich.console import Console

from jobs.ingest.histories import Histories
from jobs.ingest.marks import Marks
from jobs.ingest.shard import Shard
from recmesh.dataset import DataSet
from recmesh.errors import RecmeshError
from recmesh.progress import Meter, Reporter
from recmesh.stores.redis import HISTORY, ITEM, KEYS_PER_COMMAND, USER, RedisWriter
from recmesh.stores.wire import Row, item_encoder, user_encoder

_FORMAT = 1
"""Raise it when the same data set gives other bytes than before."""

_SAMPLE = 200


@dataclass(frozen=True)
class Part:
    """One kind of values: those of the keys `prefix + ids[k]`, for a range of k at a time."""

    name: str
    prefix: str
    ids: Sequence[str]
    values: Callable[[range], list[bytes]]

    def pairs(self, rows: range) -> dict[str, bytes]:
        keys = [self.prefix + identity for identity in self.ids[rows.start : rows.stop]]
        return dict(zip(keys, self.values(rows), strict=True))


def to_redis(data: DataSet, redis: RedisWriter, shard: Shard, console: Console) -> bool:
    """Write this shard's part of the data set; the last shard removes what is stale and verifies all.

    Returns whether anything had to be written. Raises RecmeshError when Redis does not hold what was written.
    """
    parts = _parts(data)
    marks = Marks(redis, "redis", _content(data), shard)
    if marks.current:
        if not any(_faults(part, redis) for part in parts):
            console.print(f"Redis: current ({_summary(parts)})")
            return False
        console.print("Redis: no longer holds what was written; writing it again")
        marks.restart()
    for part in parts:
        _write(part, redis, marks, console)
    if not marks.finish():
        console.print(f"Redis: part {marks.shard} written; the last part to finish verifies all")
        return True
    stale = sum(_remove_stale(part, redis) for part in parts)
    faults = [fault for part in parts for fault in _faults(part, redis)]
    if faults:
        marks.restart()
        raise RecmeshError(f"Redis does not hold what was written: {'; '.join(faults)}; run the ingestion again")
    marks.set_current()
    console.print(f"Redis: verified, {_summary(parts)}, {stale:,} stale keys removed")
    return True


def _parts(data: DataSet) -> tuple[Part, ...]:
    histories = Histories(data)
    items, users = data.items.cast(pl.String), data.users.cast(pl.String)
    return (
        Part("items", ITEM, items["sku_id"].to_list(), _rows(items, item_encoder(items.columns[1:]))),
        Part("users", USER, users["user_id"].to_list(), _rows(users, user_encoder(users.columns[1:]))),
        Part("histories", HISTORY, histories.user_ids, histories.encode),
    )


def _rows(frame: pl.DataFrame, encode: Callable[[Row], bytes]) -> Callable[[range], list[bytes]]:
    return lambda rows: [encode(row) for row in frame.slice(rows.start, len(rows)).iter_rows()]


def _content(data: DataSet) -> str:
    schema = sha256(data.schema.dump().encode()).hexdigest()[:16]
    return f"{data.fingerprint}:{schema}:{_FORMAT}"


def _write(part: Part, redis: RedisWriter, marks: Marks, console: Console) -> None:
    rows = marks.shard.rows(len(part.ids))
    written = marks.rows(part.name)
    with Meter(Reporter(console), f"Redis {part.name}", len(rows), done=written, outcome="written") as meter:
        while written < len(rows):
            chunk = rows[written : written + KEYS_PER_COMMAND]
            redis.write(part.pairs(chunk))
            written += len(chunk)
            marks.set_rows(part.name, written)
            meter.advance(len(chunk))


def _remove_stale(part: Part, redis: RedisWriter) -> int:
    known = set(part.ids)
    start = len(part.prefix)
    return redis.delete([key for key in redis.scan(part.prefix) if key[start:] not in known])


def _faults(part: Part, redis: RedisWriter) -> list[str]:
    """What differs between Redis and the data set: the number of keys, and the values of a sample."""
    total = len(part.ids)
    faults = []
    found = redis.count([part.prefix + identity for identity in part.ids])
    if found != total:
        faults.append(f"{found:,} {part.name} of {total:,}")
    sample: dict[str, bytes] = {}
    for position in range(0, total, max(1, total // _SAMPLE)):
        sample |= part.pairs(range(position, position + 1))
    stored = redis.read(list(sample))
    different = [key for key, value in zip(sample, stored, strict=True) if value != sample[key]]
    if different:
        faults.append(f"{len(different)} of {len(sample)} sampled {part.name} differ, {different[0]} is one")
    return faults


def _summary(parts: Sequence[Part]) -> str:
    return ", ".join(f"{len(part.ids):,} {part.name}" for part in parts)
