"""Applies the log to the values that the other services read, each stream in order.

One process at a time applies a stream. If it dies, another one takes the stream once its lease has ended, begins at the
recorded position, and may apply some entries again, which changes nothing.
"""

import asyncio
import contextlib
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import structlog

from recmesh.errors import RecmeshError, Unavailable
from recmesh.pb.log_entry_pb2 import LogEntry
from recmesh.serving import metrics
from recmesh.serving.logs import reason
from recmesh.stores.changes import Pair, item_after, user_after
from recmesh.stores.counts import ActionCounts
from recmesh.stores.editor import Change, Editor
from recmesh.stores.keys import KeyKind, Keys
from recmesh.stores.log import STREAMS, Log, Logged, item_of, user_of
from recmesh.throttle import LogThrottle

BATCH = 100
"""Entries of one stream that are applied together."""

LEASE_SECONDS = 3.0
RENEWAL_SECONDS = 1.0

# Redis is asked a few times for each batch, however small it is: entries that come in quick succession share it.
_GATHER_SECONDS = 0.02
_WAIT_SECONDS = 0.5
_MAX_ATTEMPTS = 10

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class _Side:
    """Users or items: the keys of their two values, and what entries change."""

    first: KeyKind
    second: KeyKind
    after: Callable[[str, Pair, Iterable[LogEntry]], Pair]


class Applier:
    """Applies streams."""

    def __init__(
        self,
        entries: Log,
        editor: Editor,
        counts: ActionCounts,
        keys: Keys,
        owner: str,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Apply a log.

        Args:
            entries: The log.
            editor: Changes the stores.
            counts: Counts the actions.
            keys: The names of the keys.
            owner: Identifies this process.
            clock: Seconds since 1970.
        """
        self._log = entries
        self._editor = editor
        self._counts = counts
        self._keys = keys
        self._users = _Side(keys.user, keys.history, user_after)
        self._items = _Side(keys.item, keys.hidden, item_after)
        self._owner = owner
        self._clock = clock
        self._faults = LogThrottle()
        self._positions: dict[str, str] = {}
        self._renewal = 0.0

    async def follow(self) -> None:
        """Apply the streams that no other process applies, until cancelled."""
        while True:
            try:
                busy = await self._turn()
                if line := self._faults.over():
                    log.info("the log is applied again", attempts=line.events, seconds=line.seconds)
                if not busy:
                    await asyncio.sleep(_WAIT_SECONDS)
            except RecmeshError as error:
                metrics.FEED_APPLY_FAILURES.inc()
                why = reason(error)
                if line := self._faults.due(reason=why):
                    log.warning("the log is not applied", reason=why, attempts=line.events, seconds=line.seconds)
                self._renewal = 0.0
                await asyncio.sleep(_WAIT_SECONDS)

    async def leave(self) -> None:
        """Let other processes go on at once. Nothing may follow the streams any more."""
        with contextlib.suppress(RecmeshError):
            await self._log.leave(STREAMS, self._owner)

    async def _turn(self) -> bool:
        """Apply the next entries, or wait for some. Returns whether this process has any stream."""
        if self._clock() >= self._renewal:
            # The positions as well: an ingestion sets them back, so that the log is applied to what it has written.
            self._positions = await self._log.take(STREAMS, self._owner, LEASE_SECONDS)
            await self._counts.refresh()
            self._renewal = self._clock() + RENEWAL_SECONDS
        if not self._positions:
            return False
        logged = await self._log.read(self._positions, BATCH, _WAIT_SECONDS)
        if logged:
            await self.apply([entry.entry for entries in logged.values() for entry in entries])
            if await self._counts.add(logged):
                await self._advance(logged)
            else:
                self._renewal = 0.0
            await asyncio.sleep(_GATHER_SECONDS)
        return True

    async def _advance(self, logged: Mapping[str, Sequence[Logged]]) -> None:
        steps = {stream: (self._positions[stream], entries[-1].position) for stream, entries in logged.items()}
        recorded = await self._log.advance(self._owner, steps)
        now = self._clock() * 1000
        for stream, entries in logged.items():
            if stream in recorded:
                self._positions[stream] = entries[-1].position
                for entry in entries:
                    metrics.FEED_APPLY_SECONDS.observe(max(0.0, now - entry.time) / 1000)
            else:
                self._renewal = 0.0

    async def apply(self, entries: Sequence[LogEntry]) -> None:
        """Apply entries of users and items. Those of one id are applied in order.

        Raises:
            Unavailable: Redis does not answer, or others keep changing the same values.
        """
        users, items = _by_id(entries, user_of), _by_id(entries, item_of)
        metrics.DAMAGED_VALUES.labels("log_entry").inc(sum(entry.WhichOneof("change") is None for entry in entries))
        if deleted := [entry.delete_user for entry in entries if entry.delete_user]:
            await self._editor.note_deleted(deleted)
        await self._count_unknown(entries)
        await self._change(self._users, users)
        await self._change(self._items, items)
        if items:
            await self._editor.note_items(list(items))

    async def _change(self, side: _Side, entries: Mapping[str, Sequence[LogEntry]]) -> None:
        """Change values, again and again for those that others have changed meanwhile: an ingestion, for example."""
        waiting = entries
        for _ in range(_MAX_ATTEMPTS):
            waiting = await self._attempt(side, waiting)
            if not waiting:
                return
        raise Unavailable(f"{len(waiting)} values were changed by others {_MAX_ATTEMPTS} times")

    async def _attempt(
        self, side: _Side, entries: Mapping[str, Sequence[LogEntry]]
    ) -> Mapping[str, Sequence[LogEntry]]:
        """Change the values of ids. Returns the ids whose values were changed by others, with their entries."""
        values = await self._editor.read([key for identity in entries for key in _keys(side, identity)])
        changes, identities = list[Change](), list[str]()
        for number, (identity, of_identity) in enumerate(entries.items()):
            before = Pair(*values[2 * number : 2 * number + 2])
            made = _changes(_keys(side, identity), before, side.after(identity, before, of_identity))
            changes += made
            identities += [identity] * len(made)
        made_all = await self._editor.replace(changes)
        again = {identity for identity, made in zip(identities, made_all, strict=True) if not made}
        return {identity: entries[identity] for identity in entries if identity in again}

    async def _count_unknown(self, entries: Sequence[LogEntry]) -> None:
        """Count the actions on items that are not stored."""
        sku_ids = [entry.action.sku_id for entry in entries if entry.HasField("action")]
        if sku_ids:
            keys = [key for sku_id in sku_ids for key in _keys(self._items, sku_id)]
            found = await self._editor.exist(keys)
            metrics.FEED_UNKNOWN_ITEMS.inc(sum(not any(found[at : at + 2]) for at in range(0, len(found), 2)))


def _keys(side: _Side, identity: str) -> tuple[str, str]:
    return side.first(identity), side.second(identity)


def _changes(keys: tuple[str, str], before: Pair, after: Pair) -> list[Change]:
    """The changes of a pair. A new value is written before the other one is deleted, so that an item is never lost."""
    changed = [Change(*parts) for parts in zip(keys, before, after, strict=True) if parts[1] != parts[2]]
    return sorted(changed, key=lambda change: change.after is None)


def _by_id(entries: Iterable[LogEntry], id_of: Callable[[LogEntry], str]) -> Mapping[str, Sequence[LogEntry]]:
    """The entries by the id that they change, without those that change none."""
    found = defaultdict[str, list[LogEntry]](list)
    for entry in entries:
        if identity := id_of(entry):
            found[identity].append(entry)
    return found
