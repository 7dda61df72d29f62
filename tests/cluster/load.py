"""Runs in a pod: a steady load on `as` until SIGTERM. Prints a line of JSON for each answer.

python load.py TARGET RATE USER...
"""

import asyncio
import json
import signal
import sys
import time
from contextlib import suppress

from recmesh.client import Mesh, Targets
from recmesh.errors import RecmeshError

TIMEOUT = 15.0


async def ask(mesh: Mesh, user_id: str) -> None:
    """Send a request and print its answer."""
    began = time.time()
    degraded: list[str] = []
    error, items = "", 0
    try:
        answer = await mesh.recommend(user_id, timeout=TIMEOUT, size=10)
        degraded, items = list(answer.degraded), len(answer.items)
    except RecmeshError as failure:
        error = str(failure)
    line = {"began": began, "seconds": time.time() - began, "degraded": degraded, "error": error, "items": items}
    print(json.dumps(line), flush=True)


async def main(target: str, rate: float, users: list[str]) -> None:
    """Open loop: a request every 1/rate seconds, whether or not earlier requests have been answered."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with Mesh(Targets.from_environment().having("as", target)) as mesh:
        with suppress(RecmeshError):  # the first call waits for names and connections
            await mesh.recommend(users[0], timeout=TIMEOUT, size=10)
        began = time.monotonic()
        calls: set[asyncio.Task[None]] = set()
        number = 0
        while not stop.is_set():
            await asyncio.sleep(max(0.0, began + number / rate - time.monotonic()))
            call = asyncio.create_task(ask(mesh, users[number % len(users)]))
            calls.add(call)
            call.add_done_callback(calls.discard)
            number += 1
        await asyncio.gather(*calls)
    print(json.dumps({"ended": time.time()}), flush=True)


asyncio.run(main(sys.argv[1], float(sys.argv[2]), sys.argv[3:]))
