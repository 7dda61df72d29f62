"""Checks entries and appends them to the log, independently of the transport."""

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol, TypeVar

from recmesh.errors import InvalidRequest
from recmesh.pb.feed_pb2 import Action, ItemUpdate, UserUpdate
from recmesh.pb.log_entry_pb2 import LogEntry
from recmesh.serving import metrics
from recmesh.serving.deadline import within
from recmesh.serving.store_calls import StoreCalls
from recmesh.stores.log import ITEMS, Draft, stream_of
from recmesh.stores.rules import Rules, check_sku_id, check_user_id

T = TypeVar("T")

_CALLS = StoreCalls("redis", "append")


class EntryLog(Protocol):
    """The log, as feed writes it: see `recmesh.stores.log.Log`."""

    async def append(self, stream: str, drafts: Sequence[Draft]) -> list[bool]:
        """Append entries to a stream. Returns for each entry whether it is new."""
        ...


class CurrentRules(Protocol):
    """The rules of the ingested data set."""

    def get(self) -> Rules:
        """The rules. Raises Unavailable if nothing was ingested yet."""
        ...


class Rejected(NamedTuple):
    """An entry that was not accepted, by its position in the request."""

    position: int
    reason: str


@dataclass
class Outcome:
    """What became of the entries of a request.

    Attributes:
        accepted: Number of entries that are in the log.
        repeated: Number of those that were there before.
        rejected: The others.
    """

    accepted: int = 0
    repeated: int = 0
    rejected: list[Rejected] = field(default_factory=list)


class FeedCore:
    """Accepts entries. An entry is accepted once it is in the log.

    All methods raise DeadlineExceeded or Unavailable if Redis does not answer in time. Some entries may be in the log
    then.
    """

    def __init__(self, log: EntryLog, rules: CurrentRules, clock: Callable[[], float] = time.time) -> None:
        """Append to a log.

        Args:
            log: The log.
            rules: What entries have to obey.
            clock: Seconds since 1970.
        """
        self._log = log
        self._rules = rules
        self._clock = clock

    async def record_actions(self, actions: Sequence[Action], timeout: float) -> Outcome:
        """Record actions."""
        rules, now = self._rules.get(), int(self._clock() * 1000)

        def draft(given: Action) -> Draft:
            action = rules.action(given, now)
            event = Draft.event_of(action.user_id, action.event_id) if action.event_id else b""
            return Draft(stream_of(action.user_id), LogEntry(action=action), event)

        return await self._accept("action", actions, draft, timeout)

    async def put_users(self, users: Sequence[UserUpdate], timeout: float) -> Outcome:
        """Create users, or change their fields."""
        rules = self._rules.get()

        def draft(user: UserUpdate) -> Draft:
            rules.check_user(user.user_id, user.fields)
            return Draft(stream_of(user.user_id), LogEntry(put_user=user))

        return await self._accept("put_user", users, draft, timeout)

    async def delete_user(self, user_id: str, timeout: float) -> Outcome:
        """Delete a user."""

        def draft(user_id: str) -> Draft:
            check_user_id(user_id)
            return Draft(stream_of(user_id), LogEntry(delete_user=user_id))

        return await self._accept("delete_user", [user_id], draft, timeout)

    async def put_items(self, items: Sequence[ItemUpdate], timeout: float) -> Outcome:
        """Create items, or change their fields."""
        rules = self._rules.get()

        def draft(item: ItemUpdate) -> Draft:
            rules.check_item(item.sku_id, item.fields)
            return Draft(ITEMS, LogEntry(put_item=item))

        return await self._accept("put_item", items, draft, timeout)

    async def remove_items(self, sku_ids: Sequence[str], timeout: float) -> Outcome:
        """Remove items."""
        return await self._accept_items("remove_item", sku_ids, lambda sku_id: LogEntry(remove_item=sku_id), timeout)

    async def set_availability(self, sku_ids: Sequence[str], available: bool, timeout: float) -> Outcome:
        """Take items out of all answers, or bring them back."""
        if available:
            return await self._accept_items("show_item", sku_ids, lambda sku_id: LogEntry(show_item=sku_id), timeout)
        return await self._accept_items("hide_item", sku_ids, lambda sku_id: LogEntry(hide_item=sku_id), timeout)

    async def _accept_items(
        self, change: str, sku_ids: Sequence[str], entry: Callable[[str], LogEntry], timeout: float
    ) -> Outcome:
        def draft(sku_id: str) -> Draft:
            check_sku_id(sku_id)
            return Draft(ITEMS, entry(sku_id))

        return await self._accept(change, sku_ids, draft, timeout)

    async def _accept(self, change: str, given: Iterable[T], draft: Callable[[T], Draft], timeout: float) -> Outcome:
        outcome, drafts = Outcome(), defaultdict[str, list[Draft]](list)
        for position, value in enumerate(given):
            try:
                accepted = draft(value)
            except InvalidRequest as error:
                outcome.rejected.append(Rejected(position, str(error)))
            else:
                drafts[accepted.stream].append(accepted)
        if drafts:
            with _CALLS.measured():
                appended = asyncio.gather(*(self._log.append(stream, entries) for stream, entries in drafts.items()))
                new = [flag for flags in await within(timeout, "Redis", appended) for flag in flags]
            outcome.accepted, outcome.repeated = len(new), new.count(False)
        metrics.FEED_ENTRIES.labels(change, "accepted").inc(outcome.accepted - outcome.repeated)
        metrics.FEED_ENTRIES.labels(change, "repeated").inc(outcome.repeated)
        metrics.FEED_ENTRIES.labels(change, "rejected").inc(len(outcome.rejected))
        return outcome
