"""Follows the counts of the latest actions, and ranks the items by them."""

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import structlog

from recmesh.contract import COUNT_BUCKETS, MAX_CANDIDATES
from recmesh.errors import RecmeshError, Unavailable
from recmesh.features import Encoder
from recmesh.features.spec import Array, Floats, Ints
from recmesh.features.trending import action_rates
from recmesh.serving.logs import reason
from recmesh.serving.warm import Releases
from recmesh.stores.counts import CountedAction
from recmesh.throttle import LogThrottle
from services.recall.new_items import LatestNewItems

INTERVAL_SECONDS = 2.0

# Twice the longest list: some items are excluded.
_RANKED_ITEMS = 2 * MAX_CANDIDATES
_NO_ITEMS = np.empty(0, np.int32)

log = structlog.get_logger(__name__)


class CountReader(Protocol):
    """Reads action counts: see `recmesh.stores.redis.RedisReader`."""

    async def changed_counts(self, after: int, count: int) -> list[tuple[int, int]]:
        """Numbers of changed buckets, each with the number of its latest change."""
        ...

    async def counts(self, bucket: int) -> dict[str, int]:
        """The counts of a bucket."""
        ...


@dataclass(frozen=True)
class Counts:
    """The counts at some time.

    Attributes:
        actions: What is counted. Entries may follow while this is in use.
        buckets: For each bucket the positions int32 in `actions`, and the count float32 of each.
    """

    actions: list[CountedAction] = field(default_factory=list)
    buckets: dict[int, tuple[Ints, Floats]] = field(default_factory=dict)


class LiveCounts:
    """Keeps the counts of a day, which all releases of a process share.

    Attributes:
        latest: As they were read last. It is replaced as a whole, since releases are loaded in threads.
    """

    def __init__(self) -> None:
        """Know no counts yet."""
        self.latest = Counts()
        self._changes = 0
        self._positions: dict[str, int] = {}

    async def refresh(self, reader: CountReader) -> None:
        """Read the buckets that have changed.

        Raises:
            RecmeshError: Redis does not answer.
        """
        while changed := await reader.changed_counts(self._changes, COUNT_BUCKETS):
            buckets = {bucket: self._encoded(await reader.counts(bucket)) for bucket, _ in changed}
            every = {**self.latest.buckets, **buckets}
            kept = {bucket: every[bucket] for bucket in sorted(every) if bucket > max(every) - COUNT_BUCKETS}
            counts = Counts(self.latest.actions, kept)
            self.latest = counts if len(kept) == len(every) else self._compacted(counts)
            _, self._changes = changed[-1]

    def _encoded(self, counts: Mapping[str, int]) -> tuple[Ints, Floats]:
        """The positions and the counts of actions. Damaged ones are left out."""
        positions, numbers = list[int](), list[int]()
        for name, number in counts.items():
            if (position := self._positions.get(name)) is None:
                if (action := CountedAction.parse(name)) is None:
                    continue
                position = self._positions[name] = len(self.latest.actions)
                self.latest.actions.append(action)
            positions.append(position)
            numbers.append(number)
        return np.array(positions, np.int32), np.array(numbers, np.float32)

    def _compacted(self, counts: Counts) -> Counts:
        """The counts without actions that are in no bucket any more, once these are the greater part."""
        used = np.zeros(len(counts.actions), np.bool_)
        for positions, _ in counts.buckets.values():
            used[positions] = True
        if 2 * used.sum() >= len(used):
            return counts
        actions = [action for action, kept in zip(counts.actions, used.tolist(), strict=True) if kept]
        self._positions = {action.field: position for position, action in enumerate(actions)}
        moved = np.cumsum(used, dtype=np.int32) - np.int32(1)
        buckets = {bucket: (moved[positions], numbers) for bucket, (positions, numbers) in counts.buckets.items()}
        return Counts(actions, buckets)


@dataclass(frozen=True)
class RankedItems:
    """Items by their rates of actions, best first.

    Attributes:
        sku_ids: Their ids.
        items: int32, their numbers in the catalogue; -1 for the others.
        rates: float32, see `action_rates`.
    """

    sku_ids: Sequence[str]
    items: Ints
    rates: Floats


NOTHING = RankedItems((), _NO_ITEMS, np.empty(0, np.float32))


class Trending:
    """Ranks the items of one release, and the offered items that it does not have.

    Attributes:
        latest: The ranking by the latest counts.
    """

    def __init__(self, encoder: Encoder, new_items: LatestNewItems, counts: LiveCounts | None = None) -> None:
        """Rank by the counts so far.

        Args:
            encoder: Of the release.
            new_items: The offered items outside its catalogue.
            counts: The counts.
        """
        self._encoder = encoder
        self._new_items = new_items
        self._counts = counts or LiveCounts()
        self._known = Counts()
        self._unlisted = self._new_items.unlisted
        # For each counted action its item, and its weight by the rules of the release.
        self._sku_ids = list[str]()
        self._numbers = dict[str, int]()
        self._items = _NO_ITEMS
        self._weights = np.empty(0, np.float32)
        self._older: dict[int, tuple[Ints, Floats]] = {}
        self._older_rates: Array = np.zeros(0)
        self.latest = NOTHING
        self.update()

    @property
    def stale(self) -> bool:
        """Whether counts or items have changed since the ranking was made."""
        return self._counts.latest is not self._known or self._new_items.unlisted is not self._unlisted

    def update(self) -> None:
        """Rank by the latest counts."""
        counts, unlisted = self._counts.latest, self._new_items.unlisted
        if counts.actions is not self._known.actions:
            self._sku_ids, self._numbers = [], {}
            self._items, self._weights = _NO_ITEMS, np.empty(0, np.float32)
        self._known, self._unlisted = counts, unlisted
        if counts.buckets:
            self._encode(counts.actions[len(self._items) :])
            self.latest = self._ranked(counts)

    def _encode(self, actions: Sequence[CountedAction]) -> None:
        for action in actions:
            if action.sku_id not in self._numbers:
                self._numbers[action.sku_id] = len(self._sku_ids)
                self._sku_ids.append(action.sku_id)
        items = np.array([self._numbers[action.sku_id] for action in actions], np.int32)
        weights = self._encoder.weights_of([action.type for action in actions], [action.value for action in actions])
        self._items, self._weights = np.append(self._items, items), np.append(self._weights, weights)

    def _rates(self, counts: Counts) -> Array:
        """The rates float64 of all items. Those of the older buckets are kept, as usually only the newest changes."""
        now, size = max(counts.buckets), len(self._sku_ids)
        older = {bucket: of_bucket for bucket, of_bucket in counts.buckets.items() if bucket != now}
        if older.keys() != self._older.keys() or any(self._older[bucket] is not older[bucket] for bucket in older):
            self._older, self._older_rates = older, np.zeros(size)
            for bucket, of_bucket in older.items():
                self._older_rates += self._rates_of(of_bucket, bucket, now, size)
        rates = self._rates_of(counts.buckets[now], now, now, size)
        rates[: len(self._older_rates)] += self._older_rates
        return rates

    def _rates_of(self, of_bucket: tuple[Ints, Floats], bucket: int, now: int, size: int) -> Array:
        positions, numbers = of_bucket
        return action_rates(self._items[positions], bucket, self._weights[positions] * numbers, size, now)

    def _ranked(self, counts: Counts) -> RankedItems:
        rates = self._rates(counts).astype(np.float32)
        found = np.flatnonzero(rates > 0)
        items = self._encoder.catalogue.encode([self._sku_ids[number] for number in found.tolist()])
        offered = [
            item >= 0 or self._sku_ids[number] in self._unlisted
            for number, item in zip(found.tolist(), items.tolist(), strict=True)
        ]
        found, items = found[offered], items[offered]
        best = np.lexsort((items, -rates[found]))[:_RANKED_ITEMS]
        found = found[best]
        return RankedItems([self._sku_ids[number] for number in found.tolist()], items[best], rates[found])


class HasTrending(Protocol):
    """A loaded release that ranks items by their rates of actions."""

    @property
    def trending(self) -> Trending:
        """The ranking."""
        ...


async def follow(
    reader: CountReader, counts: LiveCounts, releases: Releases[HasTrending], interval: float = INTERVAL_SECONDS
) -> None:
    """Read the counts every `interval` seconds, and tell the active release, until cancelled.

    While Redis does not answer, recall goes on with what it knows.
    """
    faults = LogThrottle()
    while True:
        try:
            await counts.refresh(reader)
            if line := faults.over():
                log.info("action counts are read again", attempts=line.events, seconds=line.seconds)
        except RecmeshError as error:
            why = reason(error)
            if line := faults.due(reason=why):
                log.warning("action counts are not read", reason=why, attempts=line.events, seconds=line.seconds)
        with contextlib.suppress(Unavailable):  # `WarmReleases` logs when no release is ready.
            _, release = releases.get()
            if release.trending.stale:
                await asyncio.to_thread(release.trending.update)
        await asyncio.sleep(interval)
