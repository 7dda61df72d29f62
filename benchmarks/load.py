"""The load generator: one closed loop, run in a process of its own.

Requests are serialized before, answers are compared as bytes and parsed only where those differ, so that a request
costs the generator little beside gRPC itself.
"""

import asyncio
import itertools
import time
from array import array
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import grpc
import grpc.aio
import uvloop
from google.protobuf.message import Message

from benchmarks.processes import Pids, usage
from recmesh.client import Method
from recmesh.errors import Unavailable

Call: TypeAlias = Callable[..., Awaitable[bytes]]

_TIMEOUT = 30.0
_TOLERANCE = 1e-5


@dataclass(frozen=True, slots=True)
class Job:
    """Requests of one method at one concurrency. `expected[k]` is the serial answer to `payloads[k]`."""

    target: str
    method: Method[Any, Any]
    payloads: Sequence[bytes]
    expected: Sequence[bytes]
    concurrency: int
    seconds: float
    pids: Pids


@dataclass(frozen=True, slots=True)
class Load:
    """What a job measured. Times in milliseconds; `cpu_ms` a request and `memory` (bytes, at the end) by process."""

    service: str
    concurrency: int
    requests: int
    per_second: float
    p50: float
    p99: float
    cpu_ms: dict[str, float]
    memory: dict[str, int]
    failed: dict[str, int]
    wrong: int
    first_wrong: str


def run(job: Job) -> Load:
    """Keep `concurrency` requests in flight for `seconds`. Blocks."""
    return uvloop.run(_run(job))


def ask_serially(target: str, method: Method[Any, Any], payloads: Sequence[bytes]) -> list[bytes]:
    """The answers one by one: what every later answer must equal. Blocks. Raises Unavailable where one fails."""

    async def ask() -> list[bytes]:
        async with grpc.aio.insecure_channel(target) as channel:
            call: Call = channel.unary_unary(method.path)
            try:
                return [await call(payload, timeout=_TIMEOUT) for payload in payloads]
            except grpc.aio.AioRpcError as error:
                raise Unavailable(f"{method.service} at {target}: {error.code().name}: {error.details()}") from error

    return uvloop.run(ask())


def quantile(sorted_values: Sequence[float], share: float) -> float:
    """The value that `share` of the values do not exceed; NaN where there is none."""
    if not sorted_values:
        return float("nan")
    return sorted_values[min(len(sorted_values) - 1, int(share * len(sorted_values)))]


def difference(expected: Message, got: Message, path: str = "") -> str:
    """Where two messages differ by more than 1e-5 in a float or at all elsewhere; empty if they do not."""
    for field in expected.DESCRIPTOR.fields:
        place = f"{path}.{field.name}" if path else field.name
        left, right = getattr(expected, field.name), getattr(got, field.name)
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            if dict(left) != dict(right):
                return place
        elif not field.is_repeated:
            if found := _differs(left, right, place):
                return found
        elif len(left) != len(right):
            return f"{place}: {len(left)} and {len(right)} entries"
        else:
            for k, pair in enumerate(zip(left, right, strict=True)):
                if found := _differs(*pair, f"{place}[{k}]"):
                    return found
    return ""


def _differs(left: Any, right: Any, place: str) -> str:
    if isinstance(left, Message):
        return difference(left, right, place)
    if isinstance(left, float):
        return "" if abs(left - right) <= _TOLERANCE * max(1.0, abs(left)) else f"{place}: {left!r} and {right!r}"
    return "" if left == right else f"{place}: {left!r} and {right!r}"


async def _run(job: Job) -> Load:
    times = array("d")
    failed: Counter[str] = Counter()
    odd: list[tuple[int, bytes]] = []
    gate = itertools.count()
    async with grpc.aio.insecure_channel(job.target) as channel:
        call: Call = channel.unary_unary(job.method.path)
        # One after the other they were all answered; connections and caches are warm after one round together.
        first = (call(payload, timeout=_TIMEOUT) for payload in job.payloads[: job.concurrency])
        await asyncio.gather(*first, return_exceptions=True)
        before, started = usage(job.pids), time.perf_counter()
        end = started + job.seconds

        async def work() -> None:
            while (begun := time.perf_counter()) < end:
                k = next(gate) % len(job.payloads)
                try:
                    answer = await call(job.payloads[k], timeout=_TIMEOUT)
                except grpc.aio.AioRpcError as error:
                    failed[error.code().name] += 1
                    continue
                times.append(time.perf_counter() - begun)
                if answer != job.expected[k]:
                    odd.append((k, answer))

        await asyncio.gather(*(work() for _ in range(job.concurrency)))
        seconds, after = time.perf_counter() - started, usage(job.pids)
    wrong = [found for k, answer in odd if (found := _compare(job, k, answer))]
    ordered = sorted(times)
    answered = max(len(times), 1)
    return Load(
        service=job.method.service,
        concurrency=job.concurrency,
        requests=len(times),
        per_second=len(times) / seconds,
        p50=quantile(ordered, 0.5) * 1e3,
        p99=quantile(ordered, 0.99) * 1e3,
        cpu_ms={name: (after[name].cpu - before[name].cpu) * 1e3 / answered for name in after if name in before},
        memory={name: one.memory for name, one in after.items()},
        failed=dict(failed),
        wrong=len(wrong),
        first_wrong=wrong[0] if wrong else "",
    )


def _compare(job: Job, k: int, answer: bytes) -> str:
    parse = job.method.response.FromString
    found = difference(parse(job.expected[k]), parse(answer))
    return f"request {k}: {found}" if found else ""
