"""Offer `as` more than it can answer, and measure what callers get.

    python -m benchmarks.overload [--cores 0.4] [--limit as] [--seconds 8] [--deadline 1] [--factors 0.5,1,1.5,3]

First a closed loop measures the peak. Then an open loop offers multiples of it: requests leave at a fixed pace whether
or not earlier ones have been answered, and every one has a deadline. At last it offers half of the peak, which shows
how long the service takes to recover. The load comes from a process of its own. The mesh must be running (`make up`).

`--cores` limits the process of one service by a control group, which needs root: on a machine with few cores, the load
generator would otherwise be the bottleneck. The exit code is 1 if a health check failed.
"""

import argparse
import asyncio
import dataclasses
import multiprocessing
import sys
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import AsyncExitStack, nullcontext

import grpc
import grpc.aio
import uvloop
from grpc_health.v1 import health_pb2, health_pb2_grpc
from rich.console import Console
from rich.table import Table

import local.settings
from benchmarks import load, processes, stages, traffic
from benchmarks.load import open_channel, quantile
from benchmarks.quota import limited
from recmesh.client import AS, Targets
from recmesh.contract import DEFAULT_MILVUS_URI, PADDLE_SERVING_PORT, ServiceName
from recmesh.errors import RecmeshError, SettingsError
from recmesh.stores.keys import Keys

_CONNECTIONS = 4
_PEAK_CONCURRENCY = 32
_HEALTH_INTERVAL_SECONDS = 0.1
_HEALTH_TIMEOUT_SECONDS = 1.0
# The share of the peak that is offered at last.
_RECOVERY = 0.5
_COLUMNS = (
    "offered", "sent/s", "complete/s", "of peak", "degraded/s", "refused/s", "expired/s", "other/s", "answers p50 ms",
    "p99", "refusals p50 ms", "p99", "ranker runs/s", "health max ms", "failed", "last disturbed s", "MiB",
)  # fmt: skip
_OK, _REFUSED, _EXPIRED = "OK", "RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED"


@dataclasses.dataclass(frozen=True, slots=True)
class Offer:
    """A load to offer.

    Attributes:
        target: Target of `as`.
        payloads: Serialized requests.
        rate: Requests per second.
        seconds: Duration.
        deadline: Of each request, in seconds.
    """

    target: str
    payloads: Sequence[bytes]
    rate: float
    seconds: float
    deadline: float


@dataclasses.dataclass(frozen=True, slots=True)
class Outcome:
    """What came of an offer.

    Attributes:
        sent: Number of requests.
        statuses: Number of requests by gRPC status.
        degraded: Number of answers that were made without a stage or a part of one.
        answer_ms: Milliseconds of each answer, rising.
        refusal_ms: Milliseconds of each refusal, rising.
        disturbed: Seconds from the start of the offer until the last request left that got no complete answer.
        health_ms: Milliseconds of each health check, rising.
        health_failed: Number of health checks that failed.
    """

    sent: int
    statuses: Counter[str]
    degraded: int
    answer_ms: Sequence[float]
    refusal_ms: Sequence[float]
    disturbed: float
    health_ms: Sequence[float]
    health_failed: int

    @property
    def complete(self) -> int:
        """Number of complete answers."""
        return self.statuses[_OK] - self.degraded


@dataclasses.dataclass(frozen=True, slots=True)
class _Reply:
    """The result of one request, with times in seconds."""

    sent_at: float
    seconds: float
    status: str
    content: bytes


def run(offer: Offer) -> Outcome:
    """Offer a load, blocking."""
    return uvloop.run(_run(offer))


async def _run(offer: Offer) -> Outcome:
    replies: list[_Reply] = []
    health_ms: list[float] = []
    failed: list[str] = []
    async with AsyncExitStack() as stack:
        channels = [await stack.enter_async_context(_channel(offer.target)) for _ in range(_CONNECTIONS + 1)]
        await asyncio.gather(*(channel.channel_ready() for channel in channels))
        probes = asyncio.create_task(_probe(channels.pop(), health_ms, failed))
        calls: list[load.Call] = [channel.unary_unary(AS.path) for channel in channels]
        began = time.perf_counter()

        async def ask(number: int) -> None:
            sent_at, content = time.perf_counter(), b""
            try:
                payload = offer.payloads[number % len(offer.payloads)]
                content, status = await calls[number % _CONNECTIONS](payload, timeout=offer.deadline), _OK
            except grpc.aio.AioRpcError as error:
                status = error.code().name
            replies.append(_Reply(sent_at - began, time.perf_counter() - sent_at, status, content))

        asked: list[asyncio.Task[None]] = []
        while (number := len(asked)) < int(offer.rate * offer.seconds):
            if (wait := began + number / offer.rate - time.perf_counter()) > 0:
                await asyncio.sleep(wait)
            asked.append(asyncio.create_task(ask(number)))
        await asyncio.gather(*asked)
        probes.cancel()
    return _outcome(replies, health_ms, failed)


def _channel(target: str) -> grpc.aio.Channel:
    return open_channel(target, ("grpc.use_local_subchannel_pool", 1))


async def _probe(channel: grpc.aio.Channel, health_ms: list[float], failed: list[str]) -> None:
    """Check the health at intervals until cancelled."""
    stub = health_pb2_grpc.HealthStub(channel)
    while True:
        began = time.perf_counter()
        try:
            await stub.Check(health_pb2.HealthCheckRequest(), timeout=_HEALTH_TIMEOUT_SECONDS)
        except grpc.aio.AioRpcError as error:
            failed.append(error.code().name)
        health_ms.append((time.perf_counter() - began) * 1e3)
        await asyncio.sleep(_HEALTH_INTERVAL_SECONDS)


def _outcome(replies: Sequence[_Reply], health_ms: list[float], failed: Sequence[str]) -> Outcome:
    degraded = [reply for reply in replies if reply.status == _OK and AS.response.FromString(reply.content).degraded]
    disturbed = [*degraded, *(reply for reply in replies if reply.status != _OK)]
    return Outcome(
        sent=len(replies),
        statuses=Counter(reply.status for reply in replies),
        degraded=len(degraded),
        answer_ms=sorted(reply.seconds * 1e3 for reply in replies if reply.status == _OK),
        refusal_ms=sorted(reply.seconds * 1e3 for reply in replies if reply.status == _REFUSED),
        disturbed=max((reply.sent_at for reply in disturbed), default=0.0),
        health_ms=sorted(health_ms),
        health_failed=len(failed),
    )


def main() -> int:
    """Run the benchmark. Returns the exit code."""
    options = _options()
    console = Console(width=None if sys.stdout.isatty() else 200)
    try:
        return _measure(options, console)
    except RecmeshError as error:
        print(f"overload: {error}", file=sys.stderr)
        return error.exit_code


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.overload", description=__doc__.partition("\n")[0])
    parser.add_argument("--cores", type=float, help="limit the process of a service to so many cores (needs root)")
    parser.add_argument("--limit", default="as", help="the service that --cores limits (default as)")
    parser.add_argument("--period", type=float, default=10.0, help="period of --cores in milliseconds (default 10)")
    parser.add_argument("--seconds", type=float, default=8.0, help="seconds of each load (default 8)")
    parser.add_argument("--deadline", type=float, default=1.0, help="deadline of each request in seconds (default 1)")
    parser.add_argument("--factors", default="0.5,1,1.5,3", help="loads as multiples of the peak (default 0.5,1,1.5,3)")
    parser.add_argument("--users", type=int, default=200, help="number of users, a quarter of them new (default 200)")
    return parser.parse_args()


def _measure(options: argparse.Namespace, console: Console) -> int:
    current = local.settings.load()
    targets = Targets.from_environment(current.variables())
    users = traffic.draw_users(current.redis_url, Keys.of(current.redis_prefix), options.users)
    payloads = asyncio.run(traffic.prepare(targets, users)).payloads["as"]
    pids = processes.find(targets, current.redis_url, DEFAULT_MILVUS_URI, f"127.0.0.1:{PADDLE_SERVING_PORT}")
    is_compact = processes.COMPACT in pids
    limited_name = processes.COMPACT if is_compact else options.limit
    if limited_name not in pids:
        raise SettingsError(f"--limit {options.limit}: no such service runs here")
    ranker: ServiceName = "as" if is_compact else "rank"
    server = pids[processes.COMPACT if is_compact else "as"]
    spawn = multiprocessing.get_context("spawn")
    quota = limited(pids[limited_name], options.cores, options.period / 1e3) if options.cores else nullcontext()
    table = Table(*_COLUMNS, title=_title(options, limited_name), title_justify="left")
    failed = 0
    with quota, ProcessPoolExecutor(1, mp_context=spawn) as generator:
        job = load.Job(targets["as"], AS, payloads, (), _PEAK_CONCURRENCY, options.seconds, pids)
        peak = generator.submit(load.run, job).result().per_second
        console.print(f"peak: {peak:.0f} answers/s at concurrency {_PEAK_CONCURRENCY}", highlight=False)
        for factor in [*map(float, options.factors.split(",")), _RECOVERY]:
            runs = stages.ranker_runs(targets, ranker)
            offer = Offer(targets["as"], payloads, peak * factor, options.seconds, options.deadline)
            outcome = generator.submit(run, offer).result()
            runs = stages.ranker_runs(targets, ranker) - runs
            memory = processes.usage({"as": server})["as"].memory >> 20
            table.add_row(*_row(factor, offer, outcome, peak, runs, memory))
            failed += outcome.health_failed
    console.print(table)
    return int(failed > 0)


def _title(options: argparse.Namespace, limited_name: str) -> str:
    limit = f", {limited_name} limited to {options.cores:g} cores" if options.cores else ""
    return f"open loop, deadline {options.deadline:g} s{limit}"


def _row(factor: float, offer: Offer, outcome: Outcome, peak: float, runs: float, memory: int) -> list[str]:
    statuses, seconds = outcome.statuses, offer.seconds
    other = outcome.sent - statuses[_OK] - statuses[_REFUSED] - statuses[_EXPIRED]
    return [
        f"{factor:g} x",
        f"{outcome.sent / seconds:.0f}",
        f"{outcome.complete / seconds:.0f}",
        f"{outcome.complete / seconds / peak:.0%}",
        f"{outcome.degraded / seconds:.0f}",
        f"{statuses[_REFUSED] / seconds:.0f}",
        f"{statuses[_EXPIRED] / seconds:.0f}",
        f"{other / seconds:.0f}",
        f"{quantile(outcome.answer_ms, 0.5):.0f}",
        f"{quantile(outcome.answer_ms, 0.99):.0f}",
        f"{quantile(outcome.refusal_ms, 0.5):.0f}",
        f"{quantile(outcome.refusal_ms, 0.99):.0f}",
        f"{runs / seconds:.0f}",
        f"{max(outcome.health_ms):.0f}",
        f"{outcome.health_failed}",
        f"{outcome.disturbed:.1f}",
        f"{memory}",
    ]


if __name__ == "__main__":
    sys.exit(main())
