"""The run of `recmesh verify`: health first, then every check, one after the other."""

import asyncio
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass

from recmesh.cli.verify import as_, cm, feed, rank, recall, um
from recmesh.cli.verify.faults import Unmet, Violation
from recmesh.cli.verify.health import wait_until_serving
from recmesh.cli.verify.http import HTTP_CHECKS
from recmesh.cli.verify.model import Check
from recmesh.cli.verify.session import Place, Session
from recmesh.contract import ServiceName
from recmesh.errors import (
    DeadlineExceeded,
    Overloaded,
    PermissionDenied,
    RecmeshError,
    SettingsError,
    Unauthenticated,
    Unavailable,
)

CHECKS: Mapping[ServiceName, Sequence[Check]] = {
    "um": um.CHECKS,
    "cm": cm.CHECKS,
    "recall": recall.CHECKS,
    "rank": rank.CHECKS,
    "as": as_.CHECKS,
    "feed": feed.CHECKS,
}
"""The checks of each service over gRPC, in the order in which they are made."""

OK, FAILED, NOT_RUN = "ok", "FAILED", "not run"
"""The states of a result."""

HEALTH = "health: SERVING"

# After these, every other check of the service would fail for the same reason, and take its time.
_ENDS = (Unavailable, DeadlineExceeded, Overloaded, Unauthenticated, PermissionDenied, SettingsError)


@dataclass(frozen=True, slots=True)
class Options:
    """What to check.

    Attributes:
        services: The services, in the order in which they are checked.
        users: Ids of users who are stored; the first one is used where one will do.
        wait: Seconds to wait for the services.
        timeout: Seconds for each call.
    """

    services: Sequence[ServiceName]
    users: Sequence[str]
    wait: float
    timeout: float


@dataclass(frozen=True, slots=True)
class Result:
    """What became of a check.

    Attributes:
        state: `ok`, `FAILED` or `not run`.
        service: The service.
        what: The promise.
        ms: Milliseconds that the check took.
        reason: Why it failed or was not run; else empty.
    """

    state: str
    service: ServiceName
    what: str
    ms: float
    reason: str = ""

    def __str__(self) -> str:
        return f"{self.state:<7}  {self.service:<6}  {self.what:<72}  {self.ms:>5.0f} ms  {self.reason}".rstrip()


async def verify(options: Options, place: Place, say: Callable[[str], None]) -> AsyncIterator[Result]:
    """Check services.

    Args:
        options: What to check.
        place: Where the mesh is.
        say: Prints a line about the wait.

    Yields:
        A result for each check as soon as it is made. After a failure that the rest of a service would share, one
        result stands for the rest.
    """
    end = time.monotonic() + options.wait
    waits = {service: asyncio.create_task(_health(service, place, end, say)) for service in options.services}
    async with Session.mesh_of(place, options.timeout) as mesh:
        session = Session(place, mesh, options.users, options.timeout)
        for service in options.services:
            health = await waits[service]
            yield health
            checks = [*CHECKS[service], *(HTTP_CHECKS[service] if service in place.http_targets else ())]
            if health.state == OK:
                async for result in _all(checks, session):
                    yield result
            else:
                yield _rest(service, len(checks), "its health status is not SERVING")


async def _health(service: ServiceName, place: Place, end: float, say: Callable[[str], None]) -> Result:
    began = time.monotonic()
    try:
        await wait_until_serving(service, place, end, say)
    except RecmeshError as error:
        return Result(FAILED, service, HEALTH, _ms_since(began), str(error))
    return Result(OK, service, HEALTH, _ms_since(began))


async def _all(checks: Sequence[Check], session: Session) -> AsyncIterator[Result]:
    for position, check in enumerate(checks):
        began = time.monotonic()
        try:
            await check.run(session)
        except Unmet as error:
            yield Result(NOT_RUN, check.service, check.what, _ms_since(began), str(error))
        except RecmeshError as error:
            yield Result(FAILED, check.service, check.what, _ms_since(began), str(error))
            if isinstance(error, _ENDS) and (left := len(checks) - position - 1):
                yield _rest(check.service, left, "it would fail for the same reason")
                return
        else:
            yield Result(OK, check.service, check.what, _ms_since(began))


def _rest(service: ServiceName, count: int, reason: str) -> Result:
    return Result(NOT_RUN, service, f"{count} other checks", 0.0, reason)


def _ms_since(began: float) -> float:
    return round((time.monotonic() - began) * 1000, 1)


async def run_verify(options: Options, place: Place, *, as_json: bool, say: Callable[[str], None]) -> int:
    """Check services, and print the results: a line for each, or one JSON object.

    Returns:
        The exit code: 0 if every check is ok, else 1.
    """
    results = []
    async for result in verify(options, place, say):
        results.append(result)
        if not as_json:
            print(result, flush=True)
    states = Counter(result.state for result in results)
    if as_json:
        counts = {state.lower().replace(" ", "_"): states[state] for state in (OK, FAILED, NOT_RUN)}
        print(json.dumps({**counts, "checks": [asdict(result) for result in results]}, indent=2, ensure_ascii=False))
    else:
        print(_summary(states, options.services))
    return 0 if states[OK] == len(results) else Violation.exit_code


def _summary(states: Mapping[str, int], services: Sequence[ServiceName]) -> str:
    others = "".join(f", {states[state]} {state}" for state in (FAILED, NOT_RUN) if states[state])
    return f"{', '.join(services)}: {states[OK]} checks ok{others}"
