"""Starts an ingestion if stores have lost what an earlier one left there."""

import asyncio
import time
from collections.abc import Callable, Collection, Sequence
from typing import Any, Protocol

import structlog

from jobs.controller.stores import STORES, Found, Stores
from recmesh.cli.jobs_api import COMPONENT, REASON, outcome, reason
from recmesh.errors import RecmeshError
from recmesh.serving import metrics
from recmesh.serving.backoff import Backoff

FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 60.0, 900.0
"""The pause from one repair to the next. It is short again once nothing was missing for the longest pause."""

JOB = "ingest"
_WRITERS = frozenset({JOB, "train", "retrain", "import"})
_KEPT_SECONDS = 86_400

log = structlog.get_logger(__name__)


class InstallationJobs(Protocol):
    """See `recmesh.cli.jobs_api.Jobs`."""

    def manifest(self, kind: str) -> dict[str, Any]:
        """The Job that the installation defines for a kind."""
        ...

    def all(self) -> Sequence[Any]:
        """The Jobs of the installation."""
        ...

    def start(self, manifest: dict[str, Any]) -> str:
        """Create a Job, and return its name."""
        ...


class Repairs:
    """Looks at the stores again and again, and starts a Job if two looks in a row find that something is missing.

    No Job is started while another one of the installation writes to the stores.

    Attributes:
        ready: Whether there was a first look.
    """

    def __init__(self, stores: Stores, jobs: InstallationJobs, clock: Callable[[], float] = time.monotonic) -> None:
        """Know nothing yet.

        Args:
            stores: The stores.
            jobs: The Jobs of the installation. They are used in threads.
            clock: Monotonic time in seconds.
        """
        self.ready = False
        self._stores, self._jobs, self._clock = stores, jobs, clock
        self._backoff = Backoff(FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS, clock)
        self._found, self._complete_since = Found(), clock()
        # None: there may be repairs that an earlier process has started.
        self._running: frozenset[str] | None = None
        self._obstacle = ""

    async def follow(self, interval: float) -> None:
        """Look every `interval` seconds until cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(interval)

    async def look(self) -> None:
        """Look at the stores and at the Jobs once, and start a repair if one is due."""
        before, self._found = self._found, await self._stores.look()
        self._report(before)
        self.ready = True
        lasting = [why for store, why in self._found.missing.items() if store in before.missing]
        if self._found.missing:
            self._complete_since = self._clock()
        elif self._clock() - self._complete_since >= LONGEST_PAUSE_SECONDS:
            self._backoff.reset()
        if lasting or self._running != frozenset():
            await self._look_at_jobs(lasting)

    async def _look_at_jobs(self, lasting: Collection[str]) -> None:
        try:
            jobs = await asyncio.to_thread(self._jobs.all)
            self._count(jobs)
            if lasting and not self._blocks(jobs) and self._backoff.over:
                await self._start("; ".join(lasting))
        except RecmeshError as error:
            self._say("jobs not listed", str(error))

    async def _start(self, why: str) -> None:
        pause = self._backoff.failed()
        try:
            manifest = await asyncio.to_thread(self._jobs.manifest, JOB)
            job = await asyncio.to_thread(self._jobs.start, repair(manifest, why))
        except RecmeshError as error:
            metrics.REPAIRS.labels("refused").inc()
            log.error("repair not started", reason=str(error), retry_seconds=pause)
            return
        self._running = (self._running or frozenset()) | {job}
        log.warning("repair started", job=job, reason=why)

    def _count(self, jobs: Sequence[Any]) -> None:
        """Count repairs that have ended since the last look."""
        outcomes = {job.metadata.name: outcome(job) for job in jobs if reason(job)}
        for name in sorted(self._running or ()):
            if (ended := outcomes.get(name, "failed")) != "running":
                metrics.REPAIRS.labels(ended).inc()
                log.info("repair ended", job=name, outcome=ended)
        self._running = frozenset(name for name, ended in outcomes.items() if ended == "running")

    def _blocks(self, jobs: Sequence[Any]) -> bool:
        """Whether a Job of the installation writes to the stores, or is about to."""
        active = [job for job in jobs if job.metadata.labels.get(COMPONENT) in _WRITERS and outcome(job) == "running"]
        names = sorted(job.metadata.name for job in active if not job.spec.suspend)
        self._say("repair waits", f"{', '.join(names)} still runs" if names else "")
        return bool(names)

    def _say(self, event: str, why: str) -> None:
        """Log what is in the way, if anything, once for each reason."""
        if why and why != self._obstacle:
            log.warning(event, reason=why)
        self._obstacle = why

    def _report(self, before: Found) -> None:
        """Say what has changed since the last look."""
        now = self._found
        for store in STORES:
            metrics.STORE_MISSING.labels(store).set(int(store in now.missing))
            if why := now.missing.get(store):
                if store not in before.missing:
                    log.warning("store has lost data", store=store, reason=why)
            elif silence := now.silent.get(store):
                if store not in before.silent:
                    log.warning("store does not answer", store=store, reason=silence)
            elif store in before.missing or store in before.silent:
                log.info("store is in order", store=store)


def repair(manifest: dict[str, Any], why: str) -> dict[str, Any]:
    """Make a Job a repair.

    Args:
        manifest: The Job `ingest` of the installation; it is changed.
        why: The reason.

    Returns:
        The Job, without a name: Kubernetes completes `generateName`.
    """
    metadata, spec = manifest["metadata"], manifest["spec"]
    metadata["generateName"] = f"{metadata.pop('name').rpartition('-')[0]}-repair-"
    metadata["annotations"] = {**metadata.get("annotations", {}), REASON: why}
    spec["ttlSecondsAfterFinished"] = _KEPT_SECONDS
    for container in spec["template"]["spec"]["containers"]:
        container["args"].append("--restore")
    return manifest
