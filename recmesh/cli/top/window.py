"""What processes have counted between two readings, added together."""

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from recmesh.cli.top.scrape import PROCESS_START, Labels, Page, Samples, Scrape

_COUNTED = ("_total", "_bucket", "_count", "_sum")


@dataclass(frozen=True)
class Reading:
    """The latest page of a process, and the one before.

    Attributes:
        after: The latest samples.
        before: Those of the reading before; empty if the process has started since; None if there was none.
        seconds: Between the two.
    """

    after: Samples
    before: Samples | None
    seconds: float = 0.0

    def increase(self, name: str) -> Iterator[tuple[Labels, float]]:
        """By how much each series of a counter has risen. A series that is new has risen from 0."""
        earlier = (self.before or {}).get(name, {})
        for labels, value in self.after.get(name, {}).items():
            yield labels, value - earlier.get(labels, 0.0)


class Window:
    """The readings of several processes. Quantities are None if no process has been read twice."""

    def __init__(self, readings: Iterable[Reading]) -> None:
        """Add these up."""
        self._readings = list(readings)
        self._twice = [reading for reading in self._readings if reading.before is not None]

    @classmethod
    def between(cls, before: Sequence[Scrape], after: Sequence[Scrape]) -> "Window":
        """Compare two scrapes of the same targets, of which the first may be empty."""
        earlier = {scrape.target: scrape.page for scrape in before}
        return cls(_reading(earlier.get(scrape.target), scrape.page) for scrape in after if scrape.page)

    def having(self, name: str, **labels: str) -> "Window":
        """The processes that export such a series."""
        wanted = set(labels.items())
        return Window(reading for reading in self._readings if any(wanted <= of for of in reading.after.get(name, {})))

    @property
    def seconds(self) -> float | None:
        """The longest time between two readings."""
        return max((reading.seconds for reading in self._twice), default=None)

    def values(self, name: str, *labels: str) -> list[tuple[str, ...]]:
        """The values that labels have in the series of a metric, sorted."""
        series = (dict(of) for reading in self._readings for of in reading.after.get(name, {}))
        return sorted({tuple(of.get(label, "") for label in labels) for of in series})

    def gauge(self, name: str, **labels: str) -> float | None:
        """The sum of a gauge; None if no process exports it."""
        found = self._latest(name, labels)
        return sum(found) if found else None

    def highest(self, name: str, **labels: str) -> float | None:
        """The largest value of a gauge; None if no process exports it."""
        return max(self._latest(name, labels), default=None)

    def count(self, name: str, **labels: str) -> float | None:
        """By how much a counter has risen."""
        return sum(of for _, of, _ in self._increases(name, labels)) if self._twice else None

    def per_second(self, name: str, **labels: str) -> float | None:
        """How fast a counter has risen."""
        return sum(of / seconds for _, of, seconds in self._increases(name, labels)) if self._twice else None

    def by(self, label: str, name: str, **labels: str) -> dict[str, float]:
        """How fast a counter has risen, by the values of a label with which it has."""
        found: dict[str, float] = defaultdict(float)
        for of, increase, seconds in self._increases(name, labels):
            if increase:
                found[of[label]] += increase / seconds
        return dict(sorted(found.items()))

    def quantile(self, share: float, name: str, **labels: str) -> float | None:
        """A quantile of a histogram; None also if nothing was observed."""
        return quantile(share, self._buckets(name, labels))

    def _latest(self, name: str, labels: Mapping[str, str]) -> list[float]:
        wanted = set(labels.items())
        series = (of for reading in self._readings for of in reading.after.get(name, {}).items())
        return [value for of, value in series if wanted <= of]

    def _increases(self, name: str, labels: Mapping[str, str]) -> Iterator[tuple[dict[str, str], float, float]]:
        """Labels, increase and seconds of each series."""
        wanted = set(labels.items())
        for reading in self._twice:
            for of, increase in reading.increase(name):
                if wanted <= of:
                    yield dict(of), increase, reading.seconds

    def _buckets(self, name: str, labels: Mapping[str, str]) -> dict[float, float]:
        """Observations up to each upper bound; during an upgrade, the bounds that all processes have."""
        wanted = set(labels.items())
        histograms = []
        for reading in self._twice:
            buckets: dict[float, float] = defaultdict(float)
            for of, increase in reading.increase(f"{name}_bucket"):
                if wanted <= of:
                    buckets[float(dict(of)["le"])] += increase
            histograms += [buckets] if buckets else []
        bounds = set.intersection(*map(set, histograms)) if histograms else set()
        return {bound: sum(buckets[bound] for buckets in histograms) for bound in bounds}


def quantile(share: float, buckets: Mapping[float, float]) -> float | None:
    """Estimate a quantile as Prometheus' `histogram_quantile` does: linearly within a bucket.

    Args:
        share: From 0 to 1.
        buckets: Number of observations up to each upper bound. Values are positive, and a bound is infinite.

    Returns:
        In the unit of the bounds. The largest finite bound stands for all values above it. None without observations.
    """
    bounds = sorted(buckets)
    if not bounds or not buckets[bounds[-1]]:
        return None
    rank = share * buckets[bounds[-1]]
    lower, below = 0.0, 0.0
    for bound in bounds:
        if buckets[bound] >= rank and buckets[bound] > below:
            break
        lower, below = bound, buckets[bound]
    return lower if math.isinf(bound) else lower + (bound - lower) * (rank - below) / (buckets[bound] - below)


def _reading(before: Page | None, after: Page) -> Reading:
    if before is None:
        return Reading(after.samples, None)
    base = {} if _restarted(before.samples, after.samples) else before.samples
    return Reading(after.samples, base, after.seconds - before.seconds)


def _restarted(before: Samples, after: Samples) -> bool:
    """Whether the counters have begun again: another process answers, or one of them has fallen or gone."""
    if before.get(PROCESS_START) != after.get(PROCESS_START):
        return True
    return any(
        after.get(name, {}).get(labels, -math.inf) < value
        for name, series in before.items()
        if name.endswith(_COUNTED)
        for labels, value in series.items()
    )
