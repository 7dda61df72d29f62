"""The rules that `as` applies: it follows those in the model store."""

import asyncio
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone

import structlog

from recmesh.conditions import field_values
from recmesh.errors import DataError, ReleaseError, Unavailable
from recmesh.pb.user_info_pb2 import UserInfo
from recmesh.releases import ModelStore
from recmesh.rules import NO_RULES, Ordered, RankedItems, RequestRules, RuleSet
from recmesh.serving import logs, metrics
from recmesh.stores.wire import user_fields
from recmesh.throttle import LogThrottle

# The longest wait for a store that fails or hangs at the start. Then `as` answers without rules.
_MAX_WAIT_SECONDS = 10.0
# A poll reads the version after the newest one. A listing, which costs more, also finds those of a restored store.
_POLLS_PER_LISTING = 60

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _State:
    """What was read from the store.

    Attributes:
        rules: The active rules.
        version: Their number; 0 for none.
        newest: The largest number that was seen. It is larger than `version` if that version is damaged.
    """

    rules: RuleSet = field(default_factory=RuleSet)
    version: int = 0
    newest: int = 0


class ActiveRules:
    """The active rules of a model store."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        """Have no rules; `follow` reads them.

        Args:
            clock: Seconds since 1970, for the time spans of rules and the age of items.
        """
        self._clock = clock
        self._state = _State()
        self._tried = False
        self._wait_until = time.monotonic() + _MAX_WAIT_SECONDS

    @property
    def version(self) -> int:
        """The number of the active version; 0 without rules."""
        return self._state.version

    def of(self, scenario: str, profile: UserInfo, missing: Collection[str] = ("",)) -> RequestRules:
        """The rules that apply to a request.

        Args:
            scenario: Of the request.
            profile: Of the user.
            missing: Values that mean "missing".
        """
        state = self._state
        if not state.rules.rules:
            return NO_RULES
        fields = {name: field_values(text, None, missing) for name, text in user_fields(profile).items()}
        now = datetime.fromtimestamp(self._clock(), timezone.utc)
        return RequestRules(state.rules.applying(scenario, now, fields))

    def order(self, rules: RequestRules, items: RankedItems, size: int) -> Ordered:
        """Apply rules to ranked items; see `RequestRules.order`."""
        return rules.order(items, size, self._clock())

    async def check(self) -> None:
        """Pass once the store was read, or could not be: a `recmesh.serving.health.Check`."""
        if not self._tried and time.monotonic() < self._wait_until:
            raise Unavailable("as: the rules have not been read yet")

    async def follow(self, store: ModelStore, interval: float) -> None:
        """Use the latest rules of a store, read every `interval` seconds, until cancelled.

        If they are damaged or the store fails, the last good rules stay.
        """
        faults = LogThrottle()
        polls, failed = 0, False
        while True:
            before = self._state.version
            try:
                self._state, fault = await asyncio.to_thread(
                    _read, store, self._state, listed=failed or polls % _POLLS_PER_LISTING == 0
                )
            except Exception as error:  # noqa: BLE001 - nobody would restart the polling
                fault = error
            self._tried, failed, polls = True, fault is not None, polls + 1
            if fault is not None:
                metrics.RULES_FAILURES.inc()
                why = logs.reason(fault)
                if line := faults.due(reason=why):
                    log.error(
                        "rules not read",
                        version=self.version,
                        reason=why,
                        attempts=line.events,
                        seconds=line.seconds,
                    )
            elif line := faults.over():
                log.info("rules read again", version=self.version, attempts=line.events, seconds=line.seconds)
            if self.version != before:
                log.info("rules active", version=self.version)
            metrics.RULES_VERSION.set(self.version)
            await asyncio.sleep(interval)


def _read(store: ModelStore, state: _State, *, listed: bool) -> tuple[_State, Exception | None]:
    """The newest readable rules, and why newer ones are not readable."""
    fault: Exception | None = None
    for number in sorted(store.rule_numbers() if listed else (state.newest + 1,), reverse=True):
        if number == state.version:
            state = replace(state, newest=number)
            break
        try:
            found = store.rules(number)
            if found is None:
                continue
            rules = RuleSet.parse(found.text.encode(), f"model store {store.url}: version {number} of the rules")
        except (ReleaseError, DataError) as error:
            fault = fault or error
            continue
        state = replace(state, rules=rules, version=number, newest=number)
        break
    return state, fault
