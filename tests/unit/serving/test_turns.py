"""When a process has nothing to compute."""

import asyncio

from recmesh.serving.turns import Turns


async def test_it_is_quiet_once_the_last_computation_has_ended() -> None:
    turns = Turns()
    assert turns.quiet().done()

    calls = [asyncio.create_task(turns.run(lambda: turns.quiet().done())) for _ in range(3)]
    await asyncio.sleep(0)
    quiet = turns.quiet()
    assert not quiet.done()
    assert await asyncio.gather(*calls) == [False] * 3
    assert quiet.done()
    assert not turns.busy


async def test_a_computation_that_fails_does_not_keep_it_busy() -> None:
    turns = Turns()
    call = asyncio.create_task(turns.run(lambda: 1 // 0))
    await asyncio.sleep(0)
    quiet = turns.quiet()
    await asyncio.gather(call, return_exceptions=True)
    assert quiet.done()
