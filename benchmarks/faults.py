"""Kill each process of the local mesh in turn under a light load on `as`, and measure what callers notice.

The gateway of Paddle Serving and each of its pipelines count as processes.

    python -m benchmarks.faults [--rate 20] [--seconds 8] [--only paddle-serving]

Start the mesh with `make up` first; MODE=services has the most processes. The exit code is 1 if an answer failed.
"""

import argparse
import asyncio
import os
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

import psutil
from rich.console import Console
from rich.table import Table

from benchmarks import traffic
from local import settings
from local.settings import PADDLE_SERVING, LocalSettings
from local.supervisor import Supervisor
from recmesh.client import Mesh, Targets
from recmesh.errors import RecmeshError, Unavailable
from recmesh.stores.keys import Keys

_TIMEOUT = 15.0


@dataclass(frozen=True)
class _Answer:
    """An answer.

    Attributes:
        at: When it came, in seconds of the monotonic clock.
        seconds: How long it took.
        degraded: Parts that were missing.
        error: The error, if the request failed.
    """

    at: float
    seconds: float
    degraded: Sequence[str]
    error: str = ""


async def _ask(mesh: Mesh, user_id: str) -> _Answer:
    began = time.monotonic()
    try:
        degraded, error = (await mesh.recommend(user_id, timeout=_TIMEOUT)).degraded, ""
    except RecmeshError as failure:
        degraded, error = (), str(failure)
    now = time.monotonic()
    return _Answer(now, now - began, degraded, error)


async def _load(mesh: Mesh, users: Sequence[str], rate: float, seconds: float) -> list[_Answer]:
    """Open loop: a request every 1/rate seconds, whether or not earlier requests have been answered."""
    began = time.monotonic()
    calls: list[asyncio.Task[_Answer]] = []
    while (number := len(calls)) < rate * seconds:
        await asyncio.sleep(max(0.0, began + number / rate - time.monotonic()))
        calls.append(asyncio.create_task(_ask(mesh, users[number % len(users)])))
    return list(await asyncio.gather(*calls))


def _victims(current: LocalSettings, only: str) -> dict[str, int]:
    """Processes to kill, by name: those of the process manager, and the pipelines of Paddle Serving."""
    programs = {state.name: state.pid for state in Supervisor(current).states() if state.name.startswith(only)}
    gateway = programs.get(PADDLE_SERVING)
    pipelines = psutil.Process(gateway).children() if gateway else []
    return programs | {f"{PADDLE_SERVING} pipeline {n}": pipeline.pid for n, pipeline in enumerate(pipelines)}


async def _killed(
    mesh: Mesh, users: Sequence[str], pid: int, rate: float, seconds: float
) -> tuple[list[_Answer], float]:
    """Kill a process one second into a load. Returns the answers and the time of the kill."""
    load = asyncio.create_task(_load(mesh, users, rate, seconds))
    await asyncio.sleep(1)
    killed_at = time.monotonic()
    # Kill the process group, since Milvus has a launcher and a server.
    os.killpg(os.getpgid(pid), signal.SIGKILL)
    return await load, killed_at


def _row(name: str, answers: Sequence[_Answer], killed_at: float) -> list[str]:
    disturbed = [answer.at for answer in answers if answer.degraded or answer.error or answer.seconds > 1]
    parts = sorted({part for answer in answers for part in answer.degraded})
    recovery = max(disturbed) - killed_at if disturbed else 0.0
    failed, degraded = sum(bool(answer.error) for answer in answers), sum(bool(answer.degraded) for answer in answers)
    slowest = max(answer.seconds for answer in answers)
    return [name, f"{len(answers)}", f"{failed}", f"{degraded}", ", ".join(parts), f"{recovery:.1f}", f"{slowest:.2f}"]


async def _run(current: LocalSettings, users: Sequence[str], options: argparse.Namespace, console: Console) -> int:
    rate, seconds = options.rate, options.seconds
    columns = ("killed", "requests", "failed", "degraded", "missing", "recovered after s", "slowest s")
    table = Table(*columns, title=f"kill -9 under {rate:g} requests/s of as", title_justify="left")
    failed = False
    async with Mesh(Targets.from_environment(current.variables())) as mesh:
        for name in _victims(current, options.only):
            pid = _victims(current, options.only)[name]  # processes may have been replaced in the meantime
            answers, killed_at = await _killed(mesh, users, pid, rate, seconds)
            failed |= any(answer.error for answer in answers)
            table.add_row(*_row(name, answers, killed_at))
            await _until_complete(mesh, users)
    console.print(table)
    return int(failed)


async def _until_complete(mesh: Mesh, users: Sequence[str]) -> None:
    ends_at = time.monotonic() + 60
    while (await _ask(mesh, users[0])).degraded:
        if time.monotonic() > ends_at:
            raise Unavailable("the mesh is still degraded after 60 s; see `make status` and `make logs`")
        await asyncio.sleep(0.2)


def main() -> int:
    """Run the benchmark. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.faults", description=__doc__.partition("\n")[0])
    parser.add_argument("--rate", type=float, default=20.0, help="requests per second (default 20)")
    parser.add_argument("--seconds", type=float, default=8.0, help="seconds of load for each process (default 8)")
    parser.add_argument("--only", default="", help="prefix of the names of processes to kill (default: all)")
    options = parser.parse_args()
    console = Console(width=None if sys.stdout.isatty() else 110)
    current = settings.load()
    try:
        if not Supervisor(current).states():
            raise Unavailable("nothing is running; start the mesh with `make up MODE=services`")
        users = traffic.draw_users(current.redis_url, Keys.of(current.redis_prefix), 200)
        return asyncio.run(_run(current, users, options, console))
    except RecmeshError as error:
        print(f"faults: {error}", file=sys.stderr)
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
