"""Load the items, users and histories of a data set into Redis.

Redis is never emptied: new values replace old ones, then keys that the data set no longer has are removed. The last
shard to finish removes them and verifies Redis. Keys of other applications are neither replaced nor removed.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256

import polars as pl

from jobs.ingest import ownership
from jobs.ingest.histories import Histories
from jobs.ingest.marks import Marks
from jobs.ingest.shard import Shard
from recmesh.dataset import DataSet
from recmesh.errors import RecmeshError
from recmesh.progress import Meter, Reporter
from recmesh.stores.keys import KeyKind, Keys
from recmesh.stores.redis import KEYS_PER_COMMAND, RedisWriter
from recmesh.stores.wire import Row, item_encoder, user_encoder

_FORMAT = 1
"""Increase this when the same data set is stored as different bytes than before."""

_SAMPLE = 200


@dataclass(frozen=True)
class Part:
    """One kind of value.

    Attributes:
        name: What the values describe.
        kind: Names the keys.
        ids: The key of row k is `kind(ids[k])`.
        values: Serializes a range of rows.
    """

    name: str
    kind: KeyKind
    ids: Sequence[str]
    values: Callable[[range], list[bytes]]

    def pairs(self, rows: range) -> dict[str, bytes]:
        """Keys and values of a range of rows."""
        keys = [self.kind(identity) for identity in self.ids[rows.start : rows.stop]]
        return dict(zip(keys, self.values(rows), strict=True))


def to_redis(data: DataSet, redis: RedisWriter, shard: Shard, reporter: Reporter) -> bool:
    """Write this shard's share of the data set; the last shard removes stale keys and verifies Redis.

    Returns:
        Whether anything had to be written.

    Raises:
        SettingsError: Another application has keys with our prefix.
        RecmeshError: Redis does not hold what was written.
    """
    began = time.monotonic()
    parts = _parts(data, redis.keys)
    ownership.check(redis)
    marks = Marks(redis, "redis", _content(data), shard)
    if marks.current:
        if not any(_faults(part, redis) for part in parts):
            reporter.say(f"Redis: current ({_summary(parts)})")
            ownership.remove_unprefixed(redis, reporter)
            return False
        reporter.say("Redis: contents are missing or changed; writing everything again")
        marks.restart()
    for part in parts:
        _write(part, redis, marks, reporter)
    if not marks.finish():
        reporter.say(f"Redis: shard {marks.shard} written; the last shard to finish verifies Redis")
        return True
    stale = sum(ownership.remove(redis, part.kind, set(part.ids), reporter) for part in parts)
    faults = [fault for part in parts for fault in _faults(part, redis)]
    if faults:
        marks.restart()
        raise RecmeshError(f"Redis does not hold what was written: {'; '.join(faults)}; run the ingestion again")
    marks.set_current()
    _record(data, redis, time.monotonic() - began)
    reporter.say(f"Redis: verified, {_summary(parts)}, {stale:,} stale keys removed")
    ownership.remove_unprefixed(redis, reporter)
    return True


def _record(data: DataSet, redis: RedisWriter, seconds: float) -> None:
    """Record what this ingestion did, for the metrics of um."""
    rows = {f"rows.{outcome}": rows for outcome, rows in data.report.tally("actions").outcomes.items()}
    redis.set_fields(redis.keys.latest_ingestion, {"time": int(time.time()), "seconds": f"{seconds:.3f}", **rows})


def _parts(data: DataSet, keys: Keys) -> tuple[Part, ...]:
    histories = Histories(data)
    items, users = data.items.cast(pl.String), data.users.cast(pl.String)
    return (
        Part("items", keys.item, items["sku_id"].to_list(), _rows(items, item_encoder(items.columns[1:]))),
        Part("users", keys.user, users["user_id"].to_list(), _rows(users, user_encoder(users.columns[1:]))),
        Part("histories", keys.history, histories.user_ids, histories.encode),
    )


def _rows(frame: pl.DataFrame, encode: Callable[[Row], bytes]) -> Callable[[range], list[bytes]]:
    return lambda rows: [encode(row) for row in frame.slice(rows.start, len(rows)).iter_rows()]


def _content(data: DataSet) -> str:
    schema = sha256(data.schema.dump().encode()).hexdigest()[:16]
    return f"{data.fingerprint}:{schema}:{_FORMAT}"


def _write(part: Part, redis: RedisWriter, marks: Marks, reporter: Reporter) -> None:
    rows = marks.shard.rows(len(part.ids))
    written = marks.rows(part.name)
    with Meter(reporter, f"Redis {part.name}", len(rows), done=written, outcome="written") as meter:
        while written < len(rows):
            chunk = rows[written : written + KEYS_PER_COMMAND]
            redis.write(part.pairs(chunk))
            written += len(chunk)
            marks.set_rows(part.name, written)
            meter.advance(len(chunk))


def _faults(part: Part, redis: RedisWriter) -> list[str]:
    """Differences between Redis and the data set, by the number of keys and a sample of values."""
    total = len(part.ids)
    faults = []
    found = redis.count([part.kind(identity) for identity in part.ids])
    if found != total:
        faults.append(f"{found:,} of {total:,} {part.name}")
    sample: dict[str, bytes] = {}
    for position in range(0, total, max(1, total // _SAMPLE)):
        sample |= part.pairs(range(position, position + 1))
    stored = redis.read(list(sample))
    different = [key for key, value in zip(sample, stored, strict=True) if value != sample[key]]
    if different:
        faults.append(f"{len(different)} of {len(sample)} sampled {part.name} differ, for example {different[0]}")
    return faults


def _summary(parts: Sequence[Part]) -> str:
    return ", ".join(f"{len(part.ids):,} {part.name}" for part in parts)
