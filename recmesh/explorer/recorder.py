"""The stages of one request, recorded: what the chain asked, what it got, and how long that took."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from recmesh.contract import ServiceName
from recmesh.errors import RecmeshError
from recmesh.serving.stages import (
    CandidateList,
    CandidateQuery,
    CandidateStage,
    ItemStage,
    RankStage,
    RequestUser,
    ScoreList,
    ScoreQuery,
    UserStage,
)


@dataclass(frozen=True)
class Stages:
    """The four stages of a chain."""

    users: UserStage
    candidates: CandidateStage
    ranker: RankStage
    items: ItemStage


@dataclass(frozen=True, slots=True)
class StageCall:
    """A call to a stage.

    Attributes:
        stage: Its name.
        start: Milliseconds from the start of the request.
        duration: Milliseconds.
        error: Why it failed; empty if it answered.
    """

    stage: ServiceName
    start: float
    duration: float
    error: str = ""


@dataclass
class Recorder:
    """Takes the place of all four stages in the chain that answers one request.

    Attributes:
        stages: Answer the calls.
        calls: The calls so far.
        user: The answer of um; None if the user is unknown.
        asked: The latest question to recall.
        found: The latest answer of recall.
        ranked: The latest answer of rank, to all candidates.
        missing: The items that cm did not know.
    """

    stages: Stages
    calls: list[StageCall] = field(default_factory=list)
    user: RequestUser | None = None
    asked: CandidateQuery | None = None
    found: CandidateList | None = None
    ranked: ScoreList | None = None
    missing: list[str] = field(default_factory=list)
    _began: float = field(default_factory=time.perf_counter)

    async def find(self, user_id: str, timeout: float) -> RequestUser | None:
        """See `UserStage.find`."""
        with self._timed("um"):
            self.user = await self.stages.users.find(user_id, timeout)
        return self.user

    async def recall(self, query: CandidateQuery, timeout: float) -> CandidateList:
        """See `CandidateStage.recall`."""
        self.asked = query
        with self._timed("recall"):
            self.found = await self.stages.candidates.recall(query, timeout)
        return self.found

    async def rank(self, query: ScoreQuery, timeout: float) -> ScoreList:
        """See `RankStage.rank`; all scores are kept, and the chain takes the best ones."""
        with self._timed("rank"):
            self.ranked = await self.stages.ranker.rank(replace(query, size=0), timeout)
        return self.ranked

    async def get(self, sku_ids: Sequence[str], timeout: float) -> Sequence[bytes | None]:
        """See `ItemStage.get`."""
        with self._timed("cm"):
            infos = await self.stages.items.get(sku_ids, timeout)
        self.missing += [sku_id for sku_id, info in zip(sku_ids, infos, strict=True) if info is None]
        return infos

    @contextmanager
    def _timed(self, stage: ServiceName) -> Iterator[None]:
        start, error = time.perf_counter(), ""
        try:
            yield
        except RecmeshError as failure:
            error = str(failure)
            raise
        finally:
            end = time.perf_counter()
            self.calls.append(StageCall(stage, (start - self._began) * 1e3, (end - start) * 1e3, error))
