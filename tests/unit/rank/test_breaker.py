"""The circuit breaker, by a clock of its own."""

import asyncio

import pytest

from recmesh.errors import Unavailable
from services.rank.breaker import Breaker
from tests.unit.clock import Clock
from tests.unit.metric import value

ERROR = Unavailable("down")


class _Backend:
    """Counts its probes; they fail while it is down."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.clock = Clock(monkeypatch, "services.rank.breaker")
        self.breaker = Breaker("probed", self._probe)
        self.down = True
        self.probes = 0

    async def _probe(self) -> None:
        self.probes += 1
        if self.down:
            raise ERROR

    async def allows(self) -> bool:
        """Whether a request may go to the backend now; a probe that it triggers ends first."""
        allowed = self.breaker.allows()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return allowed

    @property
    def open(self) -> float:
        return value("recmesh_rank_backend_open", backend="probed")


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch) -> _Backend:
    return _Backend(monkeypatch)


async def test_it_opens_at_the_third_failure_in_a_row(backend: _Backend) -> None:
    for _ in range(3):
        backend.breaker.failed(ERROR)
        backend.breaker.failed(ERROR)
        assert backend.breaker.allows()
        assert backend.open == 0
        backend.breaker.succeeded()
    for allowed in (True, True, False, False):
        backend.breaker.failed(ERROR)
        assert backend.breaker.allows() is allowed
    assert backend.open == 1
    assert backend.probes == 0


async def test_a_probe_every_half_second_closes_it_once_one_succeeds(backend: _Backend) -> None:
    backend.breaker.open("down")
    assert (backend.breaker.allows(), backend.open) == (False, 1)
    for probes, seconds in enumerate((0.49, 0.49, 0.49)):
        backend.clock.now += seconds
        assert not await backend.allows()
        assert backend.probes == probes
        backend.clock.now += 0.5 - seconds
        assert not await backend.allows()
        assert backend.probes == probes + 1
    backend.down = False
    backend.clock.now += 0.5
    assert not await backend.allows()
    assert (backend.probes, backend.open) == (4, 0)
    assert await backend.allows()
    backend.clock.now += 10
    assert await backend.allows()
    assert backend.probes == 4


async def test_failures_of_earlier_calls_put_the_next_probe_off(backend: _Backend) -> None:
    backend.breaker.open("down")
    backend.clock.now += 0.4
    backend.breaker.open("still down")
    backend.clock.now += 0.4
    assert not await backend.allows()
    assert backend.probes == 0
    backend.clock.now += 0.1
    assert not await backend.allows()
    assert backend.probes == 1


async def test_one_probe_runs_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, answer, probes = Clock(monkeypatch, "services.rank.breaker"), asyncio.Event(), 0

    async def probe() -> None:
        nonlocal probes
        probes += 1
        await answer.wait()

    breaker = Breaker("slow", probe)
    breaker.open("down")
    for _ in range(5):
        clock.now += 0.5
        assert not breaker.allows()
        await asyncio.sleep(0)
    assert probes == 1
    answer.set()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert breaker.allows()


async def test_it_opens_and_closes_again(backend: _Backend) -> None:
    """After it has closed, three more failures are needed."""
    backend.down = False
    for _ in range(2):
        for _ in range(3):
            assert await backend.allows()
            backend.breaker.failed(ERROR)
        assert backend.open == 1
        backend.clock.now += 0.5
        assert not await backend.allows()
        assert backend.open == 0
