"""Token buckets, by a clock that the tests move."""

import random

import pytest

from recmesh.callers import Bucket, Rate


class Clock:
    """Seconds that a test moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def taken(bucket: Bucket, attempts: int) -> int:
    return sum(bucket.take() for _ in range(attempts))


def test_a_bucket_starts_full_and_fills_at_its_rate_up_to_the_burst() -> None:
    clock = Clock()
    bucket = Bucket(Rate(per_second=4, burst=10), clock)
    assert taken(bucket, 20) == 10
    clock.now += 0.25
    assert taken(bucket, 20) == 1
    clock.now += 1.5
    assert taken(bucket, 20) == 6
    clock.now += 1_000
    assert taken(bucket, 20) == 10


def test_refused_calls_cost_nothing() -> None:
    clock = Clock()
    bucket = Bucket(Rate(per_second=1, burst=1), clock)
    assert taken(bucket, 1_000) == 1
    clock.now += 1
    assert taken(bucket, 1_000) == 1


def test_less_than_a_call_a_second() -> None:
    clock = Clock()
    bucket = Bucket(Rate(per_second=0.5), clock)
    assert taken(bucket, 2) == 1
    clock.now += 1
    assert taken(bucket, 2) == 0
    clock.now += 1
    assert taken(bucket, 2) == 1


@pytest.mark.parametrize("seed", range(20))
def test_in_any_time_there_are_no_more_calls_than_burst_and_rate_allow(seed: int) -> None:
    chance, clock = random.Random(seed), Clock()
    rate = Rate(per_second=chance.uniform(0.5, 50), burst=chance.randint(1, 20))
    bucket, times = Bucket(rate, clock), list[float]()
    for _ in range(2_000):
        clock.now += chance.expovariate(rate.per_second * 1.5)
        if bucket.take():
            times.append(clock.now)
    for first in range(0, len(times), 7):
        for last in range(first, len(times), 13):
            allowed = rate.most + rate.per_second * (times[last] - times[first])
            assert last - first + 1 <= allowed + 1e-6


@pytest.mark.parametrize("per_second", [0.3, 7, 10, 49, 333])
def test_calls_at_the_rate_are_never_refused(per_second: float) -> None:
    clock = Clock()
    bucket = Bucket(Rate(per_second=per_second, burst=1), clock)
    for number in range(5_000):
        clock.now = 100 + number / per_second
        assert bucket.take()
