"""Measure how long changes take until answers know them, and what writes cost readers.

    python -m benchmarks.live [--requests 200] [--actions 200] [--per-call 1] [--seconds 20]

`as` gets requests at a steady pace from a process of its own, in four phases: without writes, with them, and both
again. During the writes, actions of the same users are recorded at a steady pace, and a sample of them is followed
until um has them. Then, under the same load, items are added, hidden, shown and changed one after the other, and
followed until recall, `as` or cm know. Users and items are the benchmark's own, and are deleted at the end. The mesh
must be running (`make up`).
"""

import argparse
import asyncio
import multiprocessing
import random
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial

import grpc
import grpc.aio
from google.protobuf.message import Message
from rich.console import Console
from rich.table import Table

import local.settings
from benchmarks import overload, traffic
from benchmarks.load import Call, open_channel, quantile
from benchmarks.overload import Offer, Outcome
from local.settings import FEED
from recmesh.client import Mesh, Targets, User
from recmesh.contract import NEW
from recmesh.errors import AnswerFailed, RecmeshError
from recmesh.pb import as_pb2, feed_pb2
from recmesh.stores.keys import Keys

_USERS = 200
_ITEMS = 20
# Few, and asked for seldom: the requests that follow a change take time from the readers that are measured.
_FOLLOWED_PER_SECOND = 5
_GIVE_UP_SECONDS = 10.0
_POLL_SECONDS = 0.004
_DEADLINE = 1.0


@dataclass
class _Feed:
    """Calls of feed."""

    channel: grpc.aio.Channel

    async def __call__(self, method: str, request: Message) -> None:
        call: Call = self.channel.unary_unary(f"/feed.FeedService/{method}")
        content = await call(request.SerializeToString(), timeout=_GIVE_UP_SECONDS)
        answer = feed_pb2.FeedResponse.FromString(content)
        if answer.rejected:
            raise RecmeshError(f"feed rejected an entry: {answer.rejected[0].reason}")


@dataclass
class _Seen:
    """Seconds from the acknowledgement of a change until it was seen, by what changed."""

    seconds: dict[str, list[float]] = field(default_factory=dict)

    async def follow(self, what: str, holds: Callable[[], Awaitable[bool]]) -> None:
        """Wait until a change that was just acknowledged is seen."""
        began = time.perf_counter()
        while not await holds():
            if time.perf_counter() - began > _GIVE_UP_SECONDS:
                raise RecmeshError(f"{what}: not seen within {_GIVE_UP_SECONDS:g} s")
            await asyncio.sleep(_POLL_SECONDS)
        self.seconds.setdefault(what, []).append(time.perf_counter() - began)


@dataclass(frozen=True)
class _Run:
    """A run of the benchmark."""

    options: argparse.Namespace
    mesh: Mesh
    feed: _Feed
    target: str
    sku_ids: Sequence[str]
    pool: ProcessPoolExecutor
    seen: _Seen

    async def loaded(self, seconds: float, work: Awaitable[None] | None = None) -> Outcome:
        """Offer the requests, and do something else meanwhile."""
        payloads = [as_pb2.ASRequest(user_id=_user(number)).SerializeToString() for number in range(_USERS)]
        offer = Offer(self.target, payloads, self.options.requests, seconds, _DEADLINE)
        outcome = asyncio.get_running_loop().run_in_executor(self.pool, overload.run, offer)
        if work is not None:
            await work
        return await outcome

    async def record(self, actions: Sequence[tuple[str, str]], follow: bool) -> None:
        """Record actions, each a user and an item, in one call. Follow the first one until um has it."""
        now = int(time.time() * 1000)
        request = feed_pb2.RecordActionsRequest()
        for user_id, sku_id in actions:
            request.actions.add(user_id=user_id, sku_id=sku_id, time=now, event_id=f"{now}-{random.random()}")
        await self.feed("record_actions", request)
        if follow:
            await self.seen.follow("an action, in um", lambda: self._has(*actions[0]))

    async def _has(self, user_id: str, sku_id: str) -> bool:
        try:
            return sku_id in (await self.mesh.um(user_id)).history.sku_ids
        except AnswerFailed:  # the first action of the user is not applied yet
            return False

    async def write(self) -> None:
        """Record actions at a steady pace."""
        chance, tasks = random.Random(1), list[asyncio.Task[None]]()
        began, per_call = time.perf_counter(), self.options.per_call
        rate = self.options.actions / per_call
        for number in range(int(rate * self.options.seconds)):
            if (wait := began + number / rate - time.perf_counter()) > 0:
                await asyncio.sleep(wait)
            actions = [(_user(chance.randrange(_USERS)), chance.choice(self.sku_ids)) for _ in range(per_call)]
            follow = number % max(1, int(rate / _FOLLOWED_PER_SECOND)) == 0
            if follow:  # A new item of the user, so that it is seen.
                actions[0] = (actions[0][0], f"benchmark-{number}")
            tasks.append(asyncio.create_task(self.record(actions, follow)))
        await asyncio.gather(*tasks)

    async def change_items(self) -> None:
        """Add, hide, show and change items, one after the other."""
        (like,) = (await self.mesh.cm([self.sku_ids[0]])).found
        user = await self.mesh.um(_user(0))
        for number in range(_ITEMS):
            sku_id = f"benchmark-item-{number}"
            update = feed_pb2.ItemUpdate(sku_id=sku_id, fields=like.fields)
            await self.feed("put_items", feed_pb2.PutItemsRequest(items=[update]))
            await self.seen.follow("a new item, in recall", partial(self._recalled, user, sku_id))
            hide = feed_pb2.SetAvailabilityRequest(sku_ids=[sku_id], available=False)
            await self.feed("set_availability", hide)
            await self.seen.follow("a hidden item, out of recall", partial(self._gone, user, sku_id))
            show = feed_pb2.SetAvailabilityRequest(sku_ids=[sku_id], available=True)
            await self.feed("set_availability", show)
            await self.seen.follow("an item that is back, in recall", partial(self._recalled, user, sku_id))
            await self.feed("remove_items", feed_pb2.RemoveItemsRequest(sku_ids=[sku_id]))
            await self.seen.follow("a removed item, out of cm", partial(self._missing, sku_id))

    async def _recalled(self, user: User, sku_id: str) -> bool:
        found = await self.mesh.recall(user, size=1000, channel=NEW)
        return any(candidate.sku_id == sku_id for candidate in found.candidates)

    async def _gone(self, user: User, sku_id: str) -> bool:
        return not await self._recalled(user, sku_id)

    async def _missing(self, sku_id: str) -> bool:
        return sku_id in (await self.mesh.cm([self.sku_ids[0], sku_id])).missing


def _user(number: int) -> str:
    return f"benchmark-user-{number}"


def main() -> int:
    """Run the benchmark. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.live", description=__doc__.partition("\n")[0])
    parser.add_argument("--requests", type=int, default=200, help="requests of as per second (default 200)")
    parser.add_argument("--actions", type=int, default=200, help="recorded actions per second (default 200)")
    parser.add_argument("--per-call", type=int, default=1, help="actions in one call to feed (default 1)")
    parser.add_argument("--seconds", type=float, default=20.0, help="seconds of each phase (default 20)")
    options = parser.parse_args()
    console = Console(width=None if sys.stdout.isatty() else 160, highlight=False)
    try:
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
            asyncio.run(_measure(options, console, pool))
    except RecmeshError as error:
        print(f"live: {error}", file=sys.stderr)
        return error.exit_code
    return 0


async def _measure(options: argparse.Namespace, console: Console, pool: ProcessPoolExecutor) -> None:
    settings = local.settings.load()
    targets = Targets.from_environment(settings.variables())
    async with (
        Mesh(targets) as mesh,
        open_channel(settings.target(FEED)) as channel,
    ):
        (known, *_) = traffic.draw_users(settings.redis_url, Keys.of(settings.redis_prefix), 1)
        sku_ids = [candidate.sku_id for candidate in (await mesh.recall(await mesh.um(known), size=400)).candidates]
        run = _Run(options, mesh, _Feed(channel), targets["as"], sku_ids, pool, _Seen())
        try:
            for number in range(_USERS):
                history = [(_user(number), sku_id) for sku_id in random.Random(number).sample(sku_ids, 5)]
                await run.record(history, follow=number == _USERS - 1)
            run.seen.seconds.clear()
            phases = []
            for _ in range(2):
                phases.append(("without writes", await run.loaded(options.seconds)))
                phases.append(("with writes", await run.loaded(options.seconds, run.write())))
            phases.append(("with changes of items", await run.loaded(options.seconds, run.change_items())))
        finally:
            for number in range(_USERS):
                await run.feed("delete_user", feed_pb2.DeleteUserRequest(user_id=_user(number)))
    _show(console, options, phases, run.seen)


def _show(console: Console, options: argparse.Namespace, phases: Sequence[tuple[str, Outcome]], seen: _Seen) -> None:
    loads = Table(
        "phase",
        title_justify="left",
        title=f"as, {options.requests} requests/s, {options.actions} actions/s, {options.per_call} in a call",
    )
    for column in ("sent", "complete", "degraded", "failed", "p50 ms", "p99 ms"):
        loads.add_column(column, justify="right")
    for name, outcome in phases:
        failed = outcome.sent - outcome.statuses["OK"]
        times = (f"{quantile(outcome.answer_ms, share):.1f}" for share in (0.5, 0.99))
        loads.add_row(name, str(outcome.sent), str(outcome.complete), str(outcome.degraded), str(failed), *times)
    console.print(loads)
    table = Table("what changed", title="from the acknowledgement until seen", title_justify="left")
    for column in ("changes", "p50 ms", "p99 ms", "max ms"):
        table.add_column(column, justify="right")
    for what, seconds in seen.seconds.items():
        milliseconds = sorted(1e3 * second for second in seconds)
        times = (
            f"{value:.0f}" for value in (quantile(milliseconds, 0.5), quantile(milliseconds, 0.99), milliseconds[-1])
        )
        table.add_row(what, str(len(seconds)), *times)
    console.print(table)


if __name__ == "__main__":
    sys.exit(main())
