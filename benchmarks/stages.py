"""Times of the stages and runs of the ranker, from the metrics of the services."""

import os
import urllib.error
from collections.abc import Iterator, Mapping
from typing import TypeAlias

from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from recmesh.client import Targets
from recmesh.contract import ServiceName, metrics_address
from recmesh.tls import TlsFiles, url_opener

Totals: TypeAlias = Mapping[str, tuple[float, float]]
"""Total seconds and number of calls, by stage."""

_STAGES = "recmesh_stage_seconds"
_RANKER_RUNS = "recmesh_rank_backend_seconds_count"


def scrape(targets: Targets) -> dict[str, tuple[float, float]]:
    """The totals of `as` so far; empty if its metrics port does not answer."""
    sums: dict[str, float] = {}
    counts: dict[str, float] = {}
    for sample in _samples(targets, "as"):
        if sample.name == f"{_STAGES}_sum":
            sums[sample.labels["stage"]] = sample.value
        elif sample.name == f"{_STAGES}_count":
            counts[sample.labels["stage"]] = sample.value
    return {stage: (seconds, counts[stage]) for stage, seconds in sums.items()}


def ranker_runs(targets: Targets, service: ServiceName) -> float:
    """How often the ranker has run in the process of a service."""
    return sum(sample.value for sample in _samples(targets, service) if sample.name == _RANKER_RUNS)


def means(before: Totals, after: Totals) -> dict[str, float]:
    """Mean milliseconds of each stage between two scrapes."""
    found = {}
    for stage, (seconds, count) in after.items():
        earlier_seconds, earlier_count = before.get(stage, (0.0, 0.0))
        if count > earlier_count:
            found[stage] = (seconds - earlier_seconds) / (count - earlier_count) * 1e3
    return found


def _samples(targets: Targets, service: ServiceName) -> Iterator[Sample]:
    """The metrics of a service; none if its metrics port does not answer."""
    place = metrics_address(targets[service])
    if port := os.environ.get("RECMESH_METRICS_PORT"):
        place = f"{place.rpartition(':')[0]}:{port}"
    tls = TlsFiles.from_environment()
    try:
        with url_opener(tls).open(f"{'https' if tls else 'http'}://{place}/metrics", timeout=5) as answer:
            text = answer.read().decode()
    except (urllib.error.URLError, TimeoutError):
        return
    for family in text_string_to_metric_families(text):
        yield from family.samples
