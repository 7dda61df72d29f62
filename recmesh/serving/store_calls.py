"""Measures calls to Redis and Milvus."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from recmesh.errors import RecmeshError
from recmesh.serving import metrics


class StoreCalls:
    """The calls of one operation of a store."""

    def __init__(self, store: str, operation: str) -> None:
        """Measure calls.

        Args:
            store: `redis` or `milvus`.
            operation: What the calls are for.
        """
        self._labels = store, operation
        self._seconds = metrics.STORE_SECONDS.labels(store, operation)

    @contextmanager
    def measured(self) -> Iterator[None]:
        """Measure one call, and count it if it fails."""
        started = time.perf_counter()
        try:
            yield
        except RecmeshError as error:
            metrics.STORE_FAILURES.labels(*self._labels, error.grpc_status).inc()
            raise
        self._seconds.observe(time.perf_counter() - started)
