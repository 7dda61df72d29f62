"""What two readings say about the time between them, with values that were worked out by hand."""

import math

import pytest

from recmesh.cli.top.window import Window, quantile
from tests.unit.top.pages import histogram, page, scraped

INFINITE = math.inf
REQUESTS = "recmesh_requests_total"
SECONDS = "recmesh_request_seconds"


def requests(ok: int, failed: int = 0, start: int = 1) -> str:
    return (
        f"process_start_time_seconds {start}\n"
        f'{REQUESTS}{{service="as",status="OK"}} {ok}\n{REQUESTS}{{service="as",status="UNAVAILABLE"}} {failed}\n'
    )


@pytest.mark.parametrize(
    ("share", "buckets", "expected"),
    [
        # The 50th of 100 is the last one up to 10 ms; the 99th is the 9th of 10 between 20 and 30 ms.
        (0.5, {0.01: 50, 0.02: 90, 0.03: 100, INFINITE: 100}, 0.01),
        (0.99, {0.01: 50, 0.02: 90, 0.03: 100, INFINITE: 100}, 0.029),
        # Half way between 0 and the first bound.
        (0.5, {0.004: 8, INFINITE: 8}, 0.002),
        # Above the largest finite bound nothing is known.
        (0.99, {0.5: 10, 2.5: 10, INFINITE: 20}, 2.5),
        # Empty buckets below and between do not count.
        (0.5, {0.001: 0, 0.002: 0, 0.004: 2, 0.005: 2, INFINITE: 2}, 0.003),
        (0.0, {0.001: 0, 0.002: 4, INFINITE: 4}, 0.001),
        (0.5, {0.001: 0, INFINITE: 0}, None),
        (0.5, {}, None),
    ],
)
def test_a_quantile_is_interpolated_in_its_bucket(
    share: float, buckets: dict[float, float], expected: float | None
) -> None:
    found = quantile(share, buckets)
    assert found == (expected if expected is None else pytest.approx(expected))


def test_a_rate_is_the_increase_in_a_second() -> None:
    before = [scraped("a:1", page(100.0, requests(100, 5)))]
    window = Window.between(before, [scraped("a:1", page(110.0, requests(160, 8)))])
    assert window.count(REQUESTS) == 63
    assert window.per_second(REQUESTS, status="OK") == 6
    assert window.by("status", REQUESTS) == {"OK": 6, "UNAVAILABLE": 0.3}
    assert window.seconds == 10


def test_what_has_not_risen_is_not_listed() -> None:
    window = Window.between([scraped("a:1", page(0, requests(1, 5)))], [scraped("a:1", page(2, requests(2, 5)))])
    assert window.by("status", REQUESTS) == {"OK": 0.5}


def test_a_series_that_is_new_has_risen_from_zero() -> None:
    before = "process_start_time_seconds 1\nrecmesh_requests_in_flight 0\n"
    window = Window.between([scraped("a:1", page(0, before))], [scraped("a:1", page(2, requests(7)))])
    assert window.count(REQUESTS) == 7


@pytest.mark.parametrize(
    ("ok", "failed", "start"),
    [
        (30, 9, 1),  # one counter has fallen
        (130, 9, 2),  # all have risen, but another process counts
    ],
)
def test_counters_that_began_again_count_from_zero(ok: int, failed: int, start: int) -> None:
    before = [scraped("a:1", page(0.0, requests(100, 5)))]
    window = Window.between(before, [scraped("a:1", page(10.0, requests(ok, failed, start)))])
    assert window.count(REQUESTS, status="OK") == ok
    assert window.per_second(REQUESTS, status="UNAVAILABLE") == 0.9


def test_a_counter_that_has_gone_means_a_restart() -> None:
    both, one = requests(100, 5), f'{REQUESTS}{{service="as",status="OK"}} 120\nprocess_start_time_seconds 1\n'
    window = Window.between([scraped("a:1", page(0, both))], [scraped("a:1", page(10, one))])
    assert window.count(REQUESTS) == 120


def test_processes_are_added_each_with_its_own_interval() -> None:
    before = [scraped("a:1", page(0, requests(10))), scraped("b:1", page(1, requests(1000)))]
    after = [scraped("a:1", page(10, requests(70))), scraped("b:1", page(6, requests(1020)))]
    window = Window.between(before, after)
    assert window.count(REQUESTS) == 80
    assert window.per_second(REQUESTS) == 6 + 4


def test_a_quantile_of_two_processes_is_that_of_all_their_observations() -> None:
    quick = histogram(SECONDS, 'service="as"', {"0.01": 90, "0.1": 90, "+Inf": 90})
    slow = histogram(SECONDS, 'service="as"', {"0.01": 0, "0.1": 10, "+Inf": 10})
    none = histogram(SECONDS, 'service="as"', {"0.01": 0, "0.1": 0, "+Inf": 0})
    before = [scraped("a:1", page(0, none)), scraped("b:1", page(0, none))]
    window = Window.between(before, [scraped("a:1", page(1, quick)), scraped("b:1", page(1, slow))])
    assert window.quantile(0.45, SECONDS, service="as") == pytest.approx(0.005)
    assert window.quantile(0.95, SECONDS, service="as") == pytest.approx(0.01 + 0.09 * 5 / 10)
    assert window.quantile(0.5, SECONDS, service="um") is None


def test_processes_with_different_bounds_share_some() -> None:
    old, new = {"0.01": 0, "0.1": 8, "+Inf": 8}, {"0.05": 4, "0.1": 8, "+Inf": 8}
    empty = histogram(SECONDS, "", {"+Inf": 0})
    before = [scraped("a:1", page(0, empty)), scraped("b:1", page(0, empty))]
    after = [scraped("a:1", page(1, histogram(SECONDS, "", old))), scraped("b:1", page(1, histogram(SECONDS, "", new)))]
    assert Window.between(before, after).quantile(0.5, SECONDS) == pytest.approx(0.05)


@pytest.mark.parametrize("before", [[], [scraped("a:1", "connection refused")]])
def test_without_an_earlier_page_only_gauges_are_known(before: list[object]) -> None:
    after = [scraped("a:1", page(10, requests(70) + 'recmesh_requests_in_flight{service="as"} 3\n'))]
    window = Window.between(before, after)  # type: ignore[arg-type]
    assert window.gauge("recmesh_requests_in_flight") == 3
    assert (window.count(REQUESTS), window.per_second(REQUESTS), window.seconds) == (None, None, None)
    assert window.quantile(0.5, SECONDS) is None


def test_a_process_that_has_come_back_leaves_the_others_as_they_are() -> None:
    before = [scraped("a:1", page(0, requests(10))), scraped("b:1", "timed out")]
    after = [scraped("a:1", page(10, requests(20))), scraped("b:1", page(10, requests(1_000_000)))]
    window = Window.between(before, after)
    assert window.count(REQUESTS) == 10
    assert Window.between(after, after).count(REQUESTS) == 0
