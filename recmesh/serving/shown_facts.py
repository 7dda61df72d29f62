"""How often users acted on shown items, as metrics: the command that found it out has ended when they are scraped."""

import asyncio

import structlog

from recmesh.errors import RecmeshError
from recmesh.evaluation.report import CHAIN
from recmesh.evaluation.shown import ShownRates
from recmesh.features import CHANNELS
from recmesh.releases import ModelStore
from recmesh.serving import metrics
from recmesh.throttle import LogThrottle

INTERVAL_SECONDS = 30.0
MAX_RELEASES = 10
"""The releases with the latest answers are exported: each has a few dozen series."""

_SYSTEMS = frozenset((CHAIN, *CHANNELS))

log = structlog.get_logger(__name__)


async def follow(store: ModelStore, interval: float = INTERVAL_SECONDS) -> None:
    """Export the published rates every `interval` seconds until cancelled. An unavailable store changes nothing."""
    faults = LogThrottle()
    while True:
        try:
            rates = await asyncio.to_thread(store.shown_rates)
        except RecmeshError as error:
            if line := faults.due(reason=str(error)):
                log.warning(
                    "rates of shown items not read", reason=str(error), attempts=line.events, seconds=line.seconds
                )
        else:
            if line := faults.over():
                log.info("rates of shown items read again", attempts=line.events, seconds=line.seconds)
            if rates is not None:
                export(rates)
        await asyncio.sleep(interval)


def export(rates: ShownRates) -> None:
    """Replace the rates that were exported before, by those of the chain and of its channels."""
    metrics.SHOWN_TIME.set(rates.evaluated)
    for gauge in (metrics.SHOWN_ANSWERS, metrics.SHOWN_RATE):
        gauge.clear()
    for found in rates.releases[:MAX_RELEASES]:
        metrics.SHOWN_ANSWERS.labels(found.release).set(found.answers)
        for system in _SYSTEMS & found.systems.keys():
            for metric, rate in found.systems[system].items():
                metrics.SHOWN_RATE.labels(found.release, system, metric).set(rate.value)
