"""A copy of the popular list, which provides candidates while recall is unavailable."""

import asyncio
from collections.abc import Sequence, Set

import structlog

from recmesh.contract import MAX_CANDIDATES, POPULAR, REPEAT
from recmesh.errors import RecmeshError, Unavailable
from recmesh.serving.stages import ANONYMOUS, CandidateList, CandidateQuery, CandidateStage, ChannelScores
from recmesh.throttle import LogThrottle

_RETRY_INTERVAL_SECONDS = 0.5
_TIMEOUT_SECONDS = 2.0
_BEST = 100

log = structlog.get_logger(__name__)


class PopularList:
    """Refreshes the list from recall at intervals, and keeps the latest one.

    Attributes:
        best: The 100 most popular items.
    """

    def __init__(self, candidates: CandidateStage) -> None:
        """Hold no list yet; `follow` fetches it."""
        self._candidates = candidates
        self._faults = LogThrottle()
        self._latest: CandidateList | None = None
        self.best: Set[str] = frozenset()

    async def follow(self, interval: float) -> None:
        """Refresh the list every `interval` seconds until cancelled."""
        while True:
            refreshed = await self._refresh()
            await asyncio.sleep(interval if refreshed else _RETRY_INTERVAL_SECONDS)

    async def check(self) -> None:
        """Pass once there is a list: a `recmesh.serving.health.Check`."""
        self._list()

    @property
    def missing(self) -> Sequence[str]:
        """Values that mean "missing" in the data set of the active release."""
        return self._latest.missing if self._latest else ("",)

    def candidates(self, query: CandidateQuery, among: Set[str] | None = None) -> CandidateList:
        """The popular items that a query allows; for `repeat` those of the history.

        The list does not know the fields of the items, so the caller has to apply the conditions.

        Args:
            query: The query.
            among: The ids of the items that meet the conditions: no others are returned. Without it, a query with
                conditions gets the whole list, whatever its size.

        Raises:
            Unavailable: recall has never answered.
        """
        popular = self._list()
        new_only = query.new_only or popular.new_only
        size = MAX_CANDIDATES if query.conditions and among is None else query.size
        excluded, history = {*query.exclude, *query.context}, query.user.history
        if new_only:
            excluded.update(history.sku_ids, history.older_sku_ids)
        kept = [
            position
            for position, sku_id in enumerate(popular.ids)
            if sku_id not in excluded and (among is None or sku_id in among)
        ]
        if query.scenario == REPEAT:
            own = set(history.sku_ids)
            kept = [position for position in kept if popular.ids[position] in own]
        kept = kept[:size]
        scores = [popular.scores[position] for position in kept]
        return CandidateList(
            ids=[popular.ids[position] for position in kept],
            scores=scores,
            release=popular.release,
            new_only=new_only,
            channels={POPULAR: ChannelScores(range(len(kept)), scores)},
            missing=popular.missing,
            separators=popular.separators,
            now=max([popular.now, *(time + 1 for time in query.user.history.times[:1])]),
        )

    def _list(self) -> CandidateList:
        if self._latest is None:
            raise Unavailable("as: recall has not answered yet")
        return self._latest

    async def _refresh(self) -> bool:
        query = CandidateQuery(ANONYMOUS, size=MAX_CANDIDATES, channel=POPULAR)
        try:
            self._latest = await self._candidates.recall(query, _TIMEOUT_SECONDS)
            self.best = frozenset(self._latest.ids[:_BEST])
        except RecmeshError as error:
            if line := self._faults.due(reason=str(error)):
                log.warning("popular list not refreshed", reason=str(error), attempts=line.events, seconds=line.seconds)
            return False
        if line := self._faults.over():
            log.info("popular list refreshed again", attempts=line.events, seconds=line.seconds)
        return True
