"""Load the items, users and histories of a data set into Redis.

Redis is never emptied: new values replace old ones, then keys that the data set no longer has are removed. The last
shard to finish removes them and verifies Redis. Keys of other applications are neither replaced nor removed.

What feed has recorded stays: its users and items are not removed, and it applies its log again to what was written.
"""

import time
from collections.abc import Callable, Collection, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from hashlib import sha256
from operator import attrgetter
from typing import cast

import polars as pl

from jobs.ingest import ownership
from jobs.ingest.histories import Histories
from jobs.ingest.live import Live, apply_again
from jobs.ingest.marks import Marks
from jobs.ingest.shard import Shard
from recmesh.dataset import DataSet
from recmesh.dataset.times import DAY_MS
from recmesh.errors import RecmeshError
from recmesh.progress import Meter, Reporter
from recmesh.stores.keys import KeyKind
from recmesh.stores.redis import KEYS_PER_COMMAND, RedisWriter
from recmesh.stores.rules import Rules
from recmesh.stores.wire import Row, item_encoder, user_encoder

_FORMAT = 1
"""Increase this when the same data set is stored as different bytes than before."""

_SAMPLE = 200
_MAX_CHECKS = 10


@dataclass(frozen=True)
class Part:
    """One kind of value.

    Attributes:
        name: What the values describe.
        kind: Names the keys.
        ids: The key of row k is `kind(ids[k])`.
        values: Serializes a range of rows.
        live: The ids whose values feed may change at any time.
    """

    name: str
    kind: KeyKind
    ids: Sequence[str]
    values: Callable[[range], list[bytes]]
    live: Callable[[Live], Collection[str]]

    def pairs(self, rows: range) -> dict[str, bytes]:
        """Keys and values of a range of rows."""
        keys = [self.kind(identity) for identity in self.ids[rows.start : rows.stop]]
        return dict(zip(keys, self.values(rows), strict=True))

    def without(self, excluded: Callable[[str], bool]) -> "Part":
        """This part without the rows of some ids."""
        kept = [row for row, identity in enumerate(self.ids) if not excluded(identity)]
        if len(kept) == len(self.ids):
            return self
        ids = [self.ids[row] for row in kept]

        def values(rows: range) -> list[bytes]:
            return [value for row in kept[rows.start : rows.stop] for value in self.values(range(row, row + 1))]

        return replace(self, ids=ids, values=values)


def to_redis(
    data: DataSet, redis: RedisWriter, shard: Shard, reporter: Reporter, in_log: AbstractSet[str] = frozenset()
) -> bool:
    """Write this shard's share of the data set; the last shard removes stale keys and verifies Redis.

    Args:
        data: The data set, without what deleted users did before.
        redis: Redis.
        shard: The share of this run.
        reporter: Shows the progress.
        in_log: The users whom the data set has from the log of feed: if they were deleted, they have come again.

    Returns:
        Whether anything had to be written.

    Raises:
        SettingsError: Another application has keys with our prefix.
        RecmeshError: Redis does not hold what was written.
    """
    began = time.monotonic()
    ownership.check(redis)
    live = Live.read(redis)
    parts = _parts(data, redis, live, in_log)
    marks = Marks(redis, "redis", _content(data), shard)
    _write_rules(data, redis)
    if marks.current:
        if not _faults(parts, redis):
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
    stale = sum(ownership.remove(redis, part.kind, {*part.ids, *part.live(live)}, reporter) for part in parts)
    apply_again(redis)
    faults = _faults(parts, redis)
    if faults:
        marks.restart()
        raise RecmeshError(f"Redis does not hold what was written: {'; '.join(faults)}; run the ingestion again")
    marks.set_current()
    _record(data, redis, time.monotonic() - began)
    reporter.say(f"Redis: verified, {_summary(parts)}, {stale:,} stale keys removed")
    ownership.remove_unprefixed(redis, reporter)
    return True


def is_complete(redis: RedisWriter) -> bool:
    """Whether all shards of an ingestion have written to Redis, and the last one has verified it."""
    return "current" in redis.hash(redis.keys.ingest("redis"))


def _record(data: DataSet, redis: RedisWriter, seconds: float) -> None:
    """Record what this ingestion did, for the metrics of um."""
    rows = {f"rows.{outcome}": rows for outcome, rows in data.report.tally("actions").outcomes.items()}
    redis.set_fields(redis.keys.latest_ingestion, {"time": int(time.time()), "seconds": f"{seconds:.3f}", **rows})


def _write_rules(data: DataSet, redis: RedisWriter) -> None:
    key, value = redis.keys.schema, rules(data).model_dump_json().encode()
    if redis.read([key]) != [value]:
        redis.write({key: value})


def rules(data: DataSet) -> Rules:
    """What the data set allows in entries of the log of feed."""
    schema, times = data.schema, data.actions["time"]
    types = sorted({*schema.action.weights, *cast(pl.Enum, data.actions["type"].dtype).categories})
    return Rules(
        user_fields={name: field.kind for name, field in schema.user.fields.items()},
        item_fields={name: field.kind for name, field in schema.item.fields.items()},
        action_types=tuple(sorted(types or ["action"], key=lambda name: -schema.weight(name))),
        missing=schema.missing,
        resolution=1 if (times % DAY_MS != 0).any() else DAY_MS,
    )


def _parts(data: DataSet, redis: RedisWriter, live: Live, in_log: AbstractSet[str]) -> tuple[Part, ...]:
    """The parts of the data set, without deleted users. Items that are not offered stay hidden, with new fields."""
    keys, histories = redis.keys, Histories(data)
    items, users = data.items.cast(pl.String), data.users.cast(pl.String)
    of_items, of_users = attrgetter("items"), attrgetter("users")
    offered = Part(
        "items", keys.item, items["sku_id"].to_list(), _rows(items, item_encoder(items.columns[1:])), of_items
    )
    profiles = Part(
        "users", keys.user, users["user_id"].to_list(), _rows(users, user_encoder(users.columns[1:])), of_users
    )
    actions = Part("histories", keys.history, histories.user_ids, histories.encode, of_users)
    parts = [offered.without(live.hidden.__contains__)]
    hidden = replace(offered, name="hidden items", kind=keys.hidden).without(lambda sku: live.hidden.get(sku, True))
    if hidden.ids:
        parts.append(hidden)
    is_deleted = live.is_deleted
    gone = (part.without(lambda user_id: user_id not in in_log and is_deleted(user_id)) for part in (profiles, actions))
    return (*parts, *gone)


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


def _faults(parts: Sequence[Part], redis: RedisWriter) -> list[str]:
    """Differences between Redis and the data set, by the number of keys and a sample of values, without live ids."""
    faults: list[str] = []
    for _ in range(_MAX_CHECKS):
        live = Live.read(redis)
        checked = (part.without(set(part.live(live)).__contains__) for part in parts)
        faults = [fault for part in checked for fault in _differences(part, redis)]
        # feed may have changed a value after the log was read.
        if not faults or Live.read(redis) == live:
            break
    return faults


def _differences(part: Part, redis: RedisWriter) -> list[str]:
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
