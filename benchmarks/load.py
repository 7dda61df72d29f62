"""The load generator: a closed loop in a separate process.

Requests are serialized in advance, and answers are compared as bytes and parsed only if they differ, so that the
generator adds little to the cost of gRPC.
"""

import asyncio
import itertools
import time
from array import array
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

import grpc
import grpc.aio
import uvloop
from google.protobuf import json_format
from google.protobuf.message import Message

from benchmarks import by_http
from benchmarks.processes import Pids, usage
from recmesh.client import Method
from recmesh.contract import DIRECT
from recmesh.errors import Unavailable
from recmesh.secure_channels import SecureChannel
from recmesh.tls import TlsFiles

Call: TypeAlias = Callable[..., Awaitable[bytes]]

_TIMEOUT = 30.0
_TOLERANCE = 1e-5


@dataclass(frozen=True, slots=True)
class Job:
    """A load on one method.

    Attributes:
        target: Target of the service.
        method: The method.
        payloads: Serialized requests.
        expected: Answer to each payload, asked for serially; empty if answers need no check.
        concurrency: Requests in flight.
        seconds: Duration of the load.
        pids: Processes to measure.
        http: Whether to call over HTTP and JSON instead of gRPC.
    """

    target: str
    method: Method[Any, Any]
    payloads: Sequence[bytes]
    expected: Sequence[bytes]
    concurrency: int
    seconds: float
    pids: Pids
    http: bool = False


@dataclass(frozen=True, slots=True)
class Load:
    """The measurements of a job.

    Attributes:
        service: The service, and the protocol if it is not gRPC.
        concurrency: Requests in flight.
        requests: Number of answers.
        per_second: Answers per second.
        p50: Median latency in milliseconds.
        p99: 99th percentile of the latency in milliseconds.
        cpu_ms: CPU milliseconds per request, by process.
        memory: Resident bytes at the end, by process.
        failed: Number of failed requests, by status code.
        wrong: Number of answers that differ from the expected answers.
        first_wrong: First difference.
    """

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
    """Keep `concurrency` requests in flight for `seconds`, blocking."""
    return uvloop.run(_run(job))


def open_channel(target: str, *options: tuple[str, int]) -> grpc.aio.Channel:
    """A channel without retries and balancing, over TLS if RECMESH_TLS_CA is set."""
    tls, arguments = TlsFiles.from_environment(), [DIRECT, *options]
    if tls is None:
        return grpc.aio.insecure_channel(target, options=arguments)
    return SecureChannel(target, tls, arguments)


def ask_serially(target: str, method: Method[Any, Any], payloads: Sequence[bytes]) -> list[bytes]:
    """Ask serially for the answers that all later answers must equal, blocking.

    Raises:
        Unavailable: A request failed.
    """

    async def ask() -> list[bytes]:
        async with open_channel(target) as channel:
            call: Call = channel.unary_unary(method.path)
            try:
                return [await call(payload, timeout=_TIMEOUT) for payload in payloads]
            except grpc.aio.AioRpcError as error:
                raise Unavailable(f"{method.service} at {target}: {error.code().name}: {error.details()}") from error

    return uvloop.run(ask())


def quantile(sorted_values: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` of the values do not exceed; NaN without values."""
    if not sorted_values:
        return float("nan")
    return sorted_values[min(len(sorted_values) - 1, int(share * len(sorted_values)))]


def difference(expected: Message, got: Message, path: str = "") -> str:
    """The first field in which two messages differ; empty if they are equal. Floats may differ by 1e-5."""
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


@asynccontextmanager
async def _calling(job: Job) -> AsyncIterator[Call]:
    if job.http:
        async with by_http.open_client(job.target, job.method.path) as client:
            yield client.call
    else:
        async with open_channel(job.target) as channel:
            yield channel.unary_unary(job.method.path)


async def _run(job: Job) -> Load:
    times = array("d")
    failed: Counter[str] = Counter()
    different: list[tuple[int, bytes]] = []
    gate = itertools.count()
    payloads, expected = job.payloads, job.expected
    if job.http:
        payloads = [by_http.to_json(job.method.request.FromString(payload)) for payload in payloads]
        expected = [by_http.to_json(job.method.response.FromString(answer)) for answer in expected]
    async with _calling(job) as call:
        # A first round at full concurrency warms up connections and caches.
        first = (call(payload, timeout=_TIMEOUT) for payload in payloads[: job.concurrency])
        await asyncio.gather(*first, return_exceptions=True)
        before, started = usage(job.pids), time.perf_counter()
        end = started + job.seconds

        async def work() -> None:
            while (begun := time.perf_counter()) < end:
                k = next(gate) % len(payloads)
                try:
                    answer = await call(payloads[k], timeout=_TIMEOUT)
                except grpc.aio.AioRpcError as error:
                    failed[error.code().name] += 1
                    continue
                except by_http.HttpError as error:
                    failed[str(error)] += 1
                    continue
                times.append(time.perf_counter() - begun)
                if expected and answer != expected[k]:
                    different.append((k, answer))

        await asyncio.gather(*(work() for _ in range(job.concurrency)))
        seconds, after = time.perf_counter() - started, usage(job.pids)
    wrong = [found for k, answer in different if (found := _compare(job, k, answer))]
    ordered = sorted(times)
    answered = max(len(times), 1)
    return Load(
        service=f"{job.method.service} over HTTP" if job.http else job.method.service,
        concurrency=job.concurrency,
        requests=len(times),
        per_second=len(times) / seconds,
        p50=quantile(ordered, 0.5) * 1e3,
        p99=quantile(ordered, 0.99) * 1e3,
        cpu_ms={name: (after[name].cpu - before[name].cpu) * 1e3 / answered for name in after if name in before},
        memory={name: used.memory for name, used in after.items()},
        failed=dict(failed),
        wrong=len(wrong),
        first_wrong=wrong[0] if wrong else "",
    )


def _compare(job: Job, k: int, answer: bytes) -> str:
    parse = job.method.response.FromString
    got = json_format.Parse(answer, job.method.response()) if job.http else parse(answer)
    found = difference(parse(job.expected[k]), got)
    return f"request {k}: {found}" if found else ""
