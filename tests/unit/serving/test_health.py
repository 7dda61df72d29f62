"""The health service: its status, its metric, and how often it checks."""

import asyncio
from collections.abc import Callable, Iterator

import pytest
from grpc_health.v1 import health_pb2
from structlog.testing import capture_logs

from recmesh.errors import Unavailable
from recmesh.serving import health
from recmesh.serving.health import LIVE, Health, every, once
from tests.unit.clock import Clock
from tests.unit.metric import value

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


class _Ended(Exception):
    """Ends the endless run."""


class _Scene:
    """A health service whose check passes or fails as listed, and what it says after each check.

    Attributes:
        serving: After each check, whether the status is SERVING, and the metric.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.clock = Clock(monkeypatch, "recmesh.serving.health")
        self.serving: list[tuple[bool, float]] = []
        self._results: Iterator[Exception | None] = iter(())
        self.health = Health("checked", ("", "checked.Service"), self._check)

    async def _check(self) -> None:
        if (error := next(self._results)) is not None:
            raise error

    def status(self, name: str) -> int:
        statuses: dict[str, int] = self.health.servicer._server_status
        return statuses[name]

    async def run(self, *results: Exception | None) -> None:
        """Check so many times."""
        self._results = iter(results)
        left = len(results)

        def after() -> None:
            nonlocal left
            left -= 1
            assert self.status("") == self.status("checked.Service")
            assert self.status(LIVE) == SERVING
            self.serving.append((self.status("") == SERVING, value("recmesh_serving", service="checked")))
            if not left:
                raise _Ended

        self.clock.at_pause = after
        with pytest.raises(_Ended):
            await self.health.run()


DOWN = Unavailable("Redis is down")
YES, NO = (True, 1.0), (False, 0.0)


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch) -> _Scene:
    return _Scene(monkeypatch)


async def test_it_serves_from_the_first_success_until_the_second_failure_in_a_row(scene: _Scene) -> None:
    await scene.run(DOWN, None, DOWN, None, DOWN, DOWN, DOWN, None)
    assert scene.serving == [NO, YES, YES, YES, YES, NO, NO, YES]


async def test_it_checks_every_second_while_it_serves_and_ten_times_a_second_otherwise(scene: _Scene) -> None:
    await scene.run(DOWN, DOWN, None, DOWN, None, DOWN, DOWN, DOWN)
    assert scene.clock.pauses == [0.1, 0.1, 1, 1, 1, 1, 0.1, 0.1]


async def test_a_single_failure_at_the_start_is_announced_with_its_reason(scene: _Scene) -> None:
    with capture_logs() as logs:
        await scene.run(DOWN, DOWN, ValueError("odd"), None, None)
    assert [(entry["event"], entry["service"], entry.get("reason")) for entry in logs] == [
        ("not serving", "checked", "starting"),
        ("not serving", "checked", "Redis is down"),
        ("not serving", "checked", "ValueError: odd"),
        ("serving", "checked", None),
    ]


async def test_the_end_is_announced_for_good(scene: _Scene) -> None:
    await scene.run(None)
    await scene.health.leave()
    assert [scene.status(name) for name in ("", "checked.Service", LIVE)] == [NOT_SERVING] * 3
    assert value("recmesh_serving", service="checked") == 0


async def test_a_check_has_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[float, str]] = []
    begun = asyncio.Event()

    async def within(seconds: float, what: str, check: object) -> None:
        asked.append((seconds, what))
        begun.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(health, "within", within)

    def check() -> "asyncio.Future[None]":
        return asyncio.get_running_loop().create_future()

    running = asyncio.create_task(Health("slow", ("",), check).run())
    await begun.wait()
    running.cancel()
    assert asked == [(1.0, "check")]


def _failing(*errors: Exception | None) -> tuple[Callable[[], "asyncio.Future[None]"], list[int]]:
    """A check with these results, and how often it was made."""
    results, calls = iter(errors), [0]

    async def check() -> None:
        calls[0] += 1
        if (error := next(results)) is not None:
            raise error

    return lambda: asyncio.ensure_future(check()), calls


async def test_every_check_must_pass() -> None:
    first, calls = _failing(None, None)
    second, _ = _failing(DOWN, None)
    both = every(first, second)
    with pytest.raises(Unavailable, match="Redis is down"):
        await both()
    await both()
    assert calls == [2]


async def test_a_check_of_the_start_is_made_until_it_passes_once() -> None:
    check, calls = _failing(DOWN, None)
    at_start = once(check)
    with pytest.raises(Unavailable, match="Redis is down"):
        await at_start()
    for _ in range(3):
        await at_start()
    assert calls == [2]
