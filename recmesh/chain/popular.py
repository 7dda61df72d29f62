"""What is popular, kept here: the candidates of every request while recall is away."""

import asyncio

import structlog

from recmesh.errors import RecmeshError, Unavailable
from recmesh.serving.stages import ANONYMOUS, CandidateList, CandidateQuery, CandidateStage, ChannelScores

_RETRY_AFTER = 0.5
_TIMEOUT = 2.0
_SIZE = 1_000

log = structlog.get_logger(__name__)


class PopularList:
    """Asked of recall at the start and again and again; the last answer is kept while recall is away."""

    def __init__(self, candidates: CandidateStage) -> None:
        self._candidates = candidates
        self._latest: CandidateList | None = None

    async def follow(self, interval: float) -> None:
        """Ask for ever, each `interval` seconds."""
        while True:
            refreshed = await self._refresh()
            await asyncio.sleep(interval if refreshed else _RETRY_AFTER)

    async def check(self) -> None:
        """Pass once there is a list; see `Health`."""
        self._held()

    def candidates(self, query: CandidateQuery) -> CandidateList:
        """The part of the list that a query allows.

        Raises:
            Unavailable: recall was never there.
        """
        popular = self._held()
        new_only = query.new_only or popular.new_only
        unwanted = set(query.exclude)
        if new_only:
            history = query.user.history
            unwanted.update(history.sku_ids, history.older_sku_ids)
        kept = [k for k, sku_id in enumerate(popular.ids) if sku_id not in unwanted][: query.size]
        scores = [popular.scores[k] for k in kept]
        return CandidateList(
            ids=[popular.ids[k] for k in kept],
            scores=scores,
            release=popular.release,
            new_only=new_only,
            channels={"popular": ChannelScores(range(len(kept)), scores)},
        )

    def _held(self) -> CandidateList:
        if self._latest is None:
            raise Unavailable("as: recall has not answered yet")
        return self._latest

    async def _refresh(self) -> bool:
        query = CandidateQuery(ANONYMOUS, size=_SIZE, channel="popular")
        try:
            self._latest = await self._candidates.recall(query, _TIMEOUT)
        except RecmeshError as error:
            log.warning("popular list not refreshed", reason=str(error))
            return False
        return True
