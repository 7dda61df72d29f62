"""Many requests at bounded concurrency, stopping when the mesh is gone."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from recmesh.errors import DeadlineExceeded, Overloaded, RecmeshError, Unavailable
from recmesh.progress import Meter

Job = TypeVar("Job")

# A mesh that misses this many answers in a row is gone: going on would wait out a deadline for every request left.
_MISSES_IN_A_ROW = 20
_NO_ANSWER = (Unavailable, DeadlineExceeded, Overloaded)


@dataclass(frozen=True, slots=True)
class Failure(Generic[Job]):
    """A request that got no usable answer, and why."""

    job: Job
    error: RecmeshError


async def ask_all(
    jobs: Sequence[Job], ask: Callable[[Job], Awaitable[None]], *, concurrency: int, meter: Meter
) -> list[Failure[Job]]:
    """Await `ask` on every job, `concurrency` at a time. -> the jobs that failed.

    Raises the last error when 20 answers in a row did not come.
    """
    failures: list[Failure[Job]] = []
    misses = 0
    queue = iter(jobs)

    async def work() -> None:
        nonlocal misses
        for job in queue:
            try:
                await ask(job)
                misses = 0
            except RecmeshError as error:
                misses = misses + 1 if isinstance(error, _NO_ANSWER) else 0
                if misses >= _MISSES_IN_A_ROW:
                    raise
                failures.append(Failure(job, error))
            meter.advance()

    with meter:
        await _together(work() for _ in range(min(concurrency, len(jobs))))
    return failures


async def _together(workers: Iterable[Coroutine[Any, Any, None]]) -> None:
    tasks: list[asyncio.Task[None]] = [asyncio.create_task(worker) for worker in workers]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
