"""Output of `make up` and `make status`."""

import json
import shlex
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import psutil
from rich.console import Console
from rich.table import Column, Table

from local import programs
from local.settings import FEED, PADDLE_SERVING, PROMETHEUS, SERVICES, LocalSettings, Mode
from local.supervisor import ProcessState
from recmesh.client import Recommendation
from recmesh.contract import address


@dataclass(frozen=True)
class _Row:
    """A process in `make status`. The names of the fields are those of `--json`."""

    name: str
    pid: int
    address: str
    state: str
    uptime_seconds: int
    memory_bytes: int


def recommendations(console: Console, title: str, answer: Recommendation) -> None:
    """Print a table of the recommended items, best first."""
    table = Table("", "item", "what it is", "score", "from", title=title, title_justify="left")
    for position, item in enumerate(answer.items, 1):
        fields = ", ".join(f"{name} {value}" for name, value in item.fields.items())
        channels = ", ".join(answer.reasons[position - 1]) if answer.reasons else ""
        table.add_row(str(position), item.sku_id, fields, f"{item.rank_score:.4f}", channels)
    console.print(table)
    degraded = ", ".join(answer.degraded) or "nothing"
    console.print(f"release {answer.release}, degraded: {degraded}", markup=False, highlight=False)


def addresses(console: Console, settings: LocalSettings, mode: Mode) -> None:
    """Where everything listens."""
    table = Table("what", "where", "try", title="listening", title_justify="left")
    scheme = "https" if settings.tls else "http"
    tries = {"um": "um USER", "cm": "cm ITEM", "recall": "recall USER", "rank": "rank", "as": "as USER"}
    for name in SERVICES:
        table.add_row(f"{name} (gRPC)", settings.target(name), f"client.py {tries[name]}")
    table.add_row("feed (gRPC)", settings.target(FEED), "")
    for served in ("as", FEED):
        if port := settings.http_port(served):
            table.add_row(f"{served} (HTTP)", f"{scheme}://{address(settings.reachable_host, port)}/", "docs/http.md")
    if settings.rank_backend == PADDLE_SERVING:
        table.add_row("Paddle Serving (gRPC)", settings.target(PADDLE_SERVING), "")
    for program in programs.names(settings, mode):
        place = address(settings.reachable_host, settings.metrics(program))
        table.add_row(f"metrics of {program}", f"{scheme}://{place}/metrics", "recmesh top")
    table.add_row("Redis", settings.redis_url, "")
    table.add_row("milvus-lite" if settings.milvus_lite else "Milvus", settings.milvus_uri, "")
    table.add_row("model store", settings.store, "recmesh release list")
    table.add_row("logs", str(settings.logs), "make logs SERVICE=as")
    console.print(table)


def closing(console: Console, settings: LocalSettings, known_user: str, seconds: float) -> None:
    """Print the last lines of `make up`."""
    if settings.tls:
        file = shlex.quote(str(settings.client_file))
        line = f"client.py and recmesh find their certificate; for your own programs: set -a; . {file}; set +a"
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    line = (
        f"up after {seconds:.1f} s; .venv/bin/python client.py as {known_user} --table asks again, make down stops it"
    )
    console.print(line, markup=False, highlight=False, soft_wrap=True)


def status(console: Console, settings: LocalSettings, states: Sequence[ProcessState], as_json: bool) -> None:
    """Print address, state, uptime and memory of every process; the memory includes that of its children."""
    rows = [_row(settings, state) for state in states]
    if as_json:
        print(json.dumps([asdict(row) for row in rows], indent=2))
        return
    if not rows:
        console.print("nothing is running; start the mesh with make up", highlight=False)
        return
    table = Table("process", "pid", Column("address", overflow="fold"), "state", "up", "memory")
    for row in rows:
        up, memory = f"{row.uptime_seconds:,} s", f"{row.memory_bytes / 2**20:,.0f} MiB"
        table.add_row(row.name, str(row.pid or ""), row.address, row.state, up, memory)
    console.print(table)


def _row(settings: LocalSettings, state: ProcessState) -> _Row:
    uptime = int(time.time() - state.started) if state.pid else 0
    return _Row(state.name, state.pid, _address(settings, state.name), state.state, uptime, _memory(state.pid))


def _address(settings: LocalSettings, program: str) -> str:
    if program == "redis":
        return str(settings.redis_socket) if settings.tls else f"127.0.0.1:{settings.redis_port}"
    if program == "milvus":
        return f"127.0.0.1:{settings.milvus_port}"
    if program == PROMETHEUS:
        return f"127.0.0.1:{settings.prometheus_port}"
    if program == "compact":
        host = address(settings.reachable_host, settings.port(SERVICES[0])).rpartition(":")[0]
        return f"{host}:" + ",".join(str(settings.port(name)) for name in SERVICES)
    return settings.target(program)


def _memory(pid: int) -> int:
    """Resident bytes of a process and its children; 0 if it does not run."""
    if not pid:
        return 0
    try:
        process = psutil.Process(pid)
        return sum(member.memory_info().rss for member in (process, *process.children(recursive=True)))
    except psutil.NoSuchProcess:
        return 0
