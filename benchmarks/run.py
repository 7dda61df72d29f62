"""`make bench`: put load on each service and on the chain, then measure the parts. Prints tables and writes JSON.

    python -m benchmarks.run [--name compact] [--seconds 8] [--users 200] [--concurrency 1,16,64] [--only as] [--http]
        [--quick]

The mesh must be running. RECMESH_* variables give targets, Redis, Milvus and the model store; the defaults are those of
`make up`. The exit code is 1 if an answer failed or differs from the serial answer, which invalidates the measurements.
"""

import argparse
import asyncio
import dataclasses
import datetime
import multiprocessing
import os
import signal
import sys
from concurrent.futures import Executor, ProcessPoolExecutor
from pathlib import Path

from pydantic_settings import SettingsConfigDict
from rich.console import Console

import local.settings
from benchmarks import load, parts, processes, stages, traffic
from benchmarks.load import Job, Load
from benchmarks.report import Report
from recmesh.client import AS, Targets
from recmesh.contract import PADDLE_SERVING_PORT
from recmesh.errors import RecmeshError, SettingsError
from recmesh.serving.settings import MilvusSettings, RedisSettings, ReleaseSettings
from recmesh.settings import load_settings
from recmesh.stores.keys import Keys

_RESULTS = Path(__file__).parent / "results"
_INTERRUPTED = 130
_PART_CALLS, _QUICK_PART_CALLS = 1_000, 20


class _Settings(RedisSettings, MilvusSettings, ReleaseSettings):
    """Addresses of the stores and of Paddle Serving."""

    model_config = SettingsConfigDict(env_prefix="RECMESH_", env_ignore_empty=True, extra="ignore", frozen=True)

    paddle_serving_target: str = f"127.0.0.1:{PADDLE_SERVING_PORT}"


def main() -> int:
    """Run the benchmark. Returns the exit code."""
    options = _options()
    # Pipes and files have no width, and the tables need more than the default of 80 columns.
    console = Console(width=None if sys.stdout.isatty() else 110)
    try:
        _use_settings_of_make_up()
        report = _run(options, console)
    except RecmeshError as error:
        print(f"bench: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("bench: interrupted", file=sys.stderr)
        return _INTERRUPTED
    report.show(console)
    path = options.results / f"{options.name or report.mode}.json"
    report.save(path)
    console.print(f"written to {path}", highlight=False, soft_wrap=True)
    for fault in report.faults:
        print(f"bench: {fault}", file=sys.stderr)
    return 1 if report.faults else 0


def _use_settings_of_make_up() -> None:
    for name, value in local.settings.load().variables().items():
        os.environ.setdefault(name, value)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.run", description="Measure a running mesh.")
    parser.add_argument("--name", help="name of the result file (default: compact or services)")
    parser.add_argument("--results", type=Path, default=_RESULTS, help="folder of result files")
    parser.add_argument("--seconds", type=float, default=8.0, help="seconds of each load (default 8)")
    parser.add_argument("--users", type=int, default=200, help="number of users, a quarter of them new (default 200)")
    parser.add_argument("--concurrency", default="1,16,64", help="requests in flight (default 1,16,64)")
    every = ",".join(method.service for method in traffic.METHODS)
    parser.add_argument("--only", default=every, help=f"services to put load on (default {every})")
    parser.add_argument("--http", action="store_true", help="put the load of as on its HTTP port as well, with JSON")
    parser.add_argument("--quick", action="store_true", help="half a second for each load and 20 users: a smoke test")
    options = parser.parse_args()
    if options.quick:
        options.seconds, options.users = 0.5, 20
    return options


def _run(options: argparse.Namespace, console: Console) -> Report:
    settings, targets = load_settings(_Settings), Targets.from_environment()
    keys = Keys.of(settings.redis_prefix)
    console.print("preparing requests")
    users = traffic.draw_users(settings.redis_url, keys, options.users, settings.redis_credentials)
    requests = asyncio.run(traffic.prepare(targets, users))
    pids = processes.find(targets, settings.redis_url, settings.milvus_uri, settings.paddle_serving_target)
    # A new interpreter rather than a fork, because the threads of gRPC do not survive a fork.
    spawn = multiprocessing.get_context("spawn")
    ignoring = (signal.SIGINT, signal.SIG_IGN)
    with ProcessPoolExecutor(1, mp_context=spawn, initializer=signal.signal, initargs=ignoring) as generator:
        pids[processes.GENERATOR] = generator.submit(os.getpid).result()
        loads, by_stage, degraded = _loads(options, targets, requests, pids, generator, console)
        console.print("parts of the chain")
        places = parts.Places(
            model_store=settings.model_store,
            release=requests.release,
            redis_url=settings.redis_url,
            redis_credentials=settings.redis_credentials,
            keys=keys,
            milvus_uri=settings.milvus_uri,
            milvus_credentials=settings.milvus_credentials,
            pids=pids,
            calls=_QUICK_PART_CALLS if options.quick else _PART_CALLS,
        )
        measured = generator.submit(parts.measure, requests.cases, places).result()
    return Report(
        name=options.name or "",
        started=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        mode=processes.COMPACT if processes.COMPACT in pids else "services",
        release=requests.release,
        users=len(users),
        degraded=degraded,
        loads=loads,
        parts=measured,
        stages=by_stage,
    )


def _loads(
    options: argparse.Namespace,
    targets: Targets,
    requests: traffic.Traffic,
    pids: dict[str, int],
    generator: Executor,
    console: Console,
) -> tuple[list[Load], dict[int, dict[str, float]], int]:
    loads: list[Load] = []
    by_stage: dict[int, dict[str, float]] = {}
    degraded = 0
    for method in (method for method in traffic.METHODS if method.service in options.only.split(",")):
        target, payloads = targets[method.service], requests.payloads[method.service]
        expected = generator.submit(load.ask_serially, target, method, payloads).result()
        if method is AS:
            degraded = sum(bool(AS.response.FromString(answer).degraded) for answer in expected)
        for concurrency in map(int, options.concurrency.split(",")):
            console.print(f"{method.service} at concurrency {concurrency}", highlight=False)
            before = stages.scrape(targets)
            job = Job(target, method, payloads, expected, concurrency, options.seconds, pids)
            loads.append(generator.submit(load.run, job).result())
            if method is AS:
                by_stage[concurrency] = stages.means(before, stages.scrape(targets))
                if options.http:
                    job = dataclasses.replace(job, target=_http_target(target), http=True)
                    loads.append(generator.submit(load.run, job).result())
    return loads, by_stage, degraded


def _http_target(target: str) -> str:
    """The HTTP port of `as`, on the host of its gRPC target."""
    port = local.settings.load().http_port("as")
    if not port:
        raise SettingsError("RECMESH_AS_HTTP_PORT is 0: --http needs the HTTP port of as")
    return f"{target.rpartition(':')[0]}:{port}"


if __name__ == "__main__":
    sys.exit(main())
