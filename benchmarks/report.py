"""The report of a benchmark: tables for people, and JSON for comparing runs."""

import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.load import Load
from benchmarks.parts import Part

_MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Report:
    """The measurements of a run.

    Attributes:
        name: Name of the result.
        started: Time of the start, ISO 8601.
        mode: `compact` or `services`.
        release: The active release.
        users: Number of users.
        degraded: Number of degraded serial answers of `as`.
        loads: Measurements of the loads.
        parts: Measurements of the parts.
        stages: Mean milliseconds by concurrency and stage.
    """

    name: str
    started: str
    mode: str
    release: str
    users: int
    degraded: int
    loads: Sequence[Load]
    parts: Sequence[Part]
    stages: Mapping[int, Mapping[str, float]]

    @property
    def parts_p50(self) -> float:
        """Sum of the medians of the parts, in milliseconds."""
        return sum(part.p50 for part in self.parts)

    @property
    def chain_to_parts(self) -> float:
        """Ratio of the median of the chain at concurrency 1 to the sum of the medians of its parts."""
        chain = next(load for load in self.loads if load.service == "as" and load.concurrency == 1)
        return chain.p50 / self.parts_p50

    @property
    def faults(self) -> list[str]:
        """Failed and wrong answers, which invalidate the measurements."""
        return [
            f"{load.service} at concurrency {load.concurrency}: "
            f"{sum(load.failed.values())} failed {load.failed or ''}, {load.wrong} wrong {load.first_wrong}"
            for load in self.loads
            if load.failed or load.wrong
        ]

    def save(self, path: Path) -> None:
        """Write everything as JSON."""
        machine = {"cpus": os.cpu_count(), "platform": platform.platform(), "python": platform.python_version()}
        path.parent.mkdir(parents=True, exist_ok=True)
        content = {
            "machine": machine,
            **asdict(self),
            "parts_p50": self.parts_p50,
            "chain_to_parts": self.chain_to_parts,
        }
        path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")

    def show(self, console: Console) -> None:
        """Print the tables."""
        console.print(_loads(self.loads))
        console.print(_usage(self.loads))
        console.print(_parts(self.parts))
        console.print(
            f"sum of the parts: {self.parts_p50:.2f} ms; the chain alone: {self.chain_to_parts:.2f} times that"
        )
        if any(self.stages.values()):
            console.print(_stages(self.stages))
        console.print(
            f"{self.mode}, release {self.release}, {self.users} users, {self.degraded} degraded", highlight=False
        )


def _loads(loads: Sequence[Load]) -> Table:
    columns = ("service", "in flight", "requests/s", "p50 ms", "p99 ms", "requests", "failed", "wrong")
    table = _table("closed loop", columns)
    for load in loads:
        failed = sum(load.failed.values())
        figures = (f"{load.per_second:.0f}", f"{load.p50:.2f}", f"{load.p99:.2f}", load.requests, failed, load.wrong)
        table.add_row(load.service, str(load.concurrency), *map(str, figures))
    return table


def _usage(loads: Sequence[Load]) -> Table:
    names = list(dict.fromkeys(name for load in loads for name in load.cpu_ms))
    table = _table("CPU ms per request, by process", ("service", "in flight", *names))
    for load in loads:
        cells = (f"{load.cpu_ms[name]:.2f}" if name in load.cpu_ms else "" for name in names)
        table.add_row(load.service, str(load.concurrency), *cells)
    memory = (max(load.memory.get(name, 0) for load in loads) for name in names)
    table.add_section()
    table.add_row("MiB, maximum", "", *(f"{used / _MIB:.0f}" for used in memory))
    return table


def _table(title: str, columns: Sequence[str]) -> Table:
    table = Table(title=title, title_justify="left")
    for column in columns:
        table.add_column(column, justify="left" if column == "service" else "right")
    return table


def _parts(parts: Sequence[Part]) -> Table:
    table = Table(
        "part", "p50 ms", "p99 ms", "CPU ms", title="parts of the chain, one call at a time", title_justify="left"
    )
    for part in parts:
        table.add_row(part.name, f"{part.p50:.3f}", f"{part.p99:.3f}", f"{part.cpu_ms:.3f}")
    return table


def _stages(stages: Mapping[int, Mapping[str, float]]) -> Table:
    names = list(dict.fromkeys(name for means in stages.values() for name in means))
    table = _table("stages of the chain, mean ms", ("in flight", *names))
    for concurrency, means in stages.items():
        table.add_row(str(concurrency), *(f"{means[name]:.2f}" if name in means else "" for name in names))
    return table
