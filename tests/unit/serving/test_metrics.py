"""The metrics by name: dashboards and alerts read these."""

import pytest

from recmesh.serving import metrics

SECONDS = (
    *(0.0005, 0.001, 0.0015, 0.002, 0.003, 0.004, 0.005, 0.0065, 0.008, 0.01, 0.0125, 0.015, 0.02, 0.025, 0.03, 0.04),
    *(0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1, 2.5),
)
BUCKETS = {
    "REQUEST_SECONDS": SECONDS,
    "STAGE_SECONDS": SECONDS,
    "BACKEND_SECONDS": SECONDS,
    "SEARCH_QUERIES": (1, 2, 4, 8, 12, 16),
    "RANKED_ITEMS": (1, 10, 50, 100, 200, 400, 800, 1200, 2000),
}


@pytest.mark.parametrize("name", BUCKETS)
def test_the_buckets_of_a_histogram(name: str) -> None:
    assert tuple(getattr(metrics, name)._kwargs["buckets"]) == BUCKETS[name]
