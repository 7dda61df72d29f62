"""What answers show, as metrics: popular items, different items, the channels that proposed them."""

import time
from collections.abc import Callable, Sequence

from recmesh.chain.popular import PopularList
from recmesh.serving import metrics

HALF_WINDOW_SECONDS = 1800.0
EXPLAINED_EVERY = 16
"""The channels of the items are counted in one of so many answers, since recall has to name them for that."""

_MAX_DISTINCT = 500_000


class Shown:
    """Counts the items of answers."""

    def __init__(self, popular: PopularList, clock: Callable[[], float] = time.monotonic) -> None:
        """Count from now on.

        Args:
            popular: Knows the most popular items.
            clock: Monotonic time in seconds.
        """
        self._popular = popular
        self._clock = clock
        self._answers = 0
        self._rotate_at = clock() + HALF_WINDOW_SECONDS
        # Hashes of ids: of the current half of the window, and of the one before.
        self._current: set[int] = set()
        self._previous: set[int] = set()
        metrics.DISTINCT_ITEMS.set_function(self._distinct)

    def explains_next(self) -> bool:
        """Whether the channels of the next answer are counted."""
        self._answers += 1
        return self._answers % EXPLAINED_EVERY == 1

    def count(self, sku_ids: Sequence[str], channels: Sequence[Sequence[str]]) -> None:
        """Count an answer.

        Args:
            sku_ids: Its items.
            channels: For each item the channels that proposed it; empty if unknown.
        """
        if not sku_ids:
            metrics.EMPTY_ANSWERS.inc()
            return
        metrics.RECOMMENDED_ITEMS.inc(len(sku_ids))
        if popular := sum(sku_id in self._popular.best for sku_id in sku_ids):
            metrics.RECOMMENDED_POPULAR_ITEMS.inc(popular)
        if channels:
            metrics.EXPLAINED_ITEMS.inc(len(sku_ids))
        for proposed in channels:
            for channel in proposed:
                metrics.EXPLAINED_CHANNEL_ITEMS.labels(channel).inc()
        self._rotate()
        if len(self._current) < _MAX_DISTINCT:
            self._current.update(map(hash, sku_ids))

    def _rotate(self) -> None:
        now = self._clock()
        if now >= self._rotate_at:
            idle = now >= self._rotate_at + HALF_WINDOW_SECONDS
            self._previous, self._current = set() if idle else self._current, set()
            self._rotate_at = now + HALF_WINDOW_SECONDS

    def _distinct(self) -> float:
        self._rotate()
        return float(len(self._current | self._previous))
