"""Many requests with bounded concurrency, which end when the mesh stops answering."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from recmesh.errors import DeadlineExceeded, Overloaded, RecmeshError, Unavailable
from recmesh.progress import Meter

Job = TypeVar("Job")

PRINTED_FAILURES = 10
"""Failures that a report prints; a file lists all of them."""

# After so many requests in a row without an answer the mesh counts as gone. Going on would wait for the deadline of
# every remaining request.
_MAX_MISSES = 20
_NO_ANSWER = (Unavailable, DeadlineExceeded, Overloaded)


@dataclass(frozen=True, slots=True)
class Failure(Generic[Job]):
    """A job whose request failed.

    Attributes:
        job: The job.
        error: Why it failed.
    """

    job: Job
    error: RecmeshError


async def ask_all(
    jobs: Sequence[Job],
    ask: Callable[[Job], Awaitable[None]],
    *,
    concurrency: int,
    meter: Meter,
    size: Callable[[Job], int] = lambda job: 1,
) -> list[Failure[Job]]:
    """Await `ask` for every job.

    Args:
        jobs: The jobs.
        ask: Makes the request of a job, and raises RecmeshError if it fails.
        concurrency: Requests in flight.
        meter: Shows the progress.
        size: Returns the parts that a job adds to the progress.

    Returns:
        The jobs that failed.

    Raises:
        Unavailable, DeadlineExceeded, Overloaded: 20 requests in a row were not answered.
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
                if misses >= _MAX_MISSES:
                    raise
                failures.append(Failure(job, error))
            meter.advance(size(job))

    with meter:
        await _together(work() for _ in range(min(concurrency, len(jobs))))
    return failures


def name_releases(releases: Sequence[str]) -> str:
    """The end of a report's line that names the releases that answered."""
    if len(releases) > 1:
        return f", answered by {len(releases)} releases: {', '.join(releases)}"
    return f", release {releases[0]}" if releases and releases[0] else ""


async def _together(workers: Iterable[Coroutine[None, None, None]]) -> None:
    tasks: list[asyncio.Task[None]] = [asyncio.create_task(worker) for worker in workers]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
