"""Break each process, link and disk of the mesh in turn under a light load, and measure what callers notice.

    python -m benchmarks.faults [--only as,redis] [--faults killed,cut] [--rate 20] [--results FILE.json]

Start the mesh with `make up` first; MODE=services has the most processes. Two loads run at the same time: pages, which
call `as` at a steady pace, and a batch job like `client.py batch`. Processes of the running mesh are killed and frozen;
links and disks are those of five services of the benchmark's own, next to the running ones. Everything stays on
loopback. The exit code is 1 if an answer failed, was wrong, or a process died of a fault that should not end it.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from rich.console import Console

from benchmarks import traffic
from benchmarks.faults import cases, disk, lab, loads, report
from benchmarks.faults.cases import Case, Notes
from benchmarks.faults.loads import Expected, RecordingMesh
from benchmarks.faults.report import Row
from benchmarks.relay import LinkFault
from local import settings
from local.interrupts import Interrupts
from local.settings import PADDLE_SERVING, LocalSettings
from local.supervisor import Supervisor
from recmesh.client import DEFAULT_TIMEOUT, Targets
from recmesh.errors import RecmeshError, SettingsError, Unavailable
from recmesh.progress import Reporter, TimedReporter
from recmesh.stores.keys import Keys

_INTERRUPTED = 130
_SECONDS_BEFORE = 1.0
_PAGE_USERS = 60
# The places whose faults callers see themselves. The others are hidden behind `as`.
_IN_FRONT = ("as", "compact", lab.CLIENT)


@dataclass(frozen=True)
class _Place:
    """Where a fault happens: the running mesh, or the lab.

    Attributes:
        targets: Of the services.
        pids: Finds the processes by name.
    """

    targets: Targets
    pids: Callable[[], Mapping[str, int]]


@dataclass
class _Run:
    """A run of the benchmark.

    Attributes:
        options: Of the command line.
        users: Rows of the batch job; the first of them call pages.
        expected: Their complete answers.
        reporter: Prints the progress.
        total: Number of cases.
        done: Number of cases that are over.
        rows: What callers noticed so far.
    """

    options: argparse.Namespace
    users: Sequence[str]
    expected: Expected
    reporter: Reporter
    total: int
    done: int = 0
    rows: list[Row] = field(default_factory=list)

    @property
    def has_failed(self) -> bool:
        """Whether an answer failed or was wrong, or a process died, although it should not."""
        return any(row.wrong or row.died or (row.failed and not self._may_fail(row)) for row in self.rows)

    def _may_fail(self, row: Row) -> bool:
        """Whether no retry can help: the caller has too little time, or cannot know what its request has done."""
        is_impatient = self.options.deadline < DEFAULT_TIMEOUT
        is_garbled = row.where == lab.CLIENT and row.fault == LinkFault.WRONG_BYTES.value
        return is_garbled or (is_impatient and row.where in _IN_FRONT)


def main() -> int:
    """Run the benchmark. Returns the exit code."""
    options = _options()
    try:
        with Interrupts().handled():
            return _measure(options, Console(width=None if sys.stdout.isatty() else 160))
    except RecmeshError as error:
        print(f"faults: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("faults: interrupted; processes, links and disks are as before", file=sys.stderr)
        return _INTERRUPTED


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.faults", description=__doc__.partition("\n")[0])
    faults = list(map(cases.option, cases.FAULTS))
    add = parser.add_argument
    add("--rate", type=float, default=20.0, help="calls of pages per second (default 20)")
    add("--batch-rate", type=float, default=40.0, help="most rows of the batch job per second (default 40)")
    add("--deadline", type=float, default=DEFAULT_TIMEOUT, help="seconds of a call of a page (default %(default)g)")
    add("--seconds", type=float, default=9.0, help="seconds of load for each fault (default 9)")
    add("--fault-seconds", type=float, default=4.0, help="how long a fault lasts (default 4)")
    add("--only", default="", help="beginnings of the names of processes, links and disks (default: all)")
    add("--faults", default=",".join(faults), help="kinds of faults (default %(default)s)")
    add("--results", type=Path, metavar="FILE.json", help="write everything as JSON")
    options = parser.parse_args()
    options.faults = options.faults.split(",")
    if unknown := set(options.faults) - set(faults):
        parser.error(f"--faults: unknown: {', '.join(sorted(unknown))}")
    if options.fault_seconds + _SECONDS_BEFORE >= options.seconds:
        parser.error(f"--seconds must exceed --fault-seconds by more than {_SECONDS_BEFORE:g}")
    return options


def _measure(options: argparse.Namespace, console: Console) -> int:
    current = settings.load()
    running = {state.name for state in Supervisor(current).states()}
    if not running:
        raise Unavailable("nothing is running; start the mesh with `make up MODE=services`")
    reporter = TimedReporter()
    of_processes = [case for case in cases.of_processes(current) if _is_wanted(options, case.fault, case.where)]
    of_lab = _wanted_in_lab(options, current, running, reporter)
    if not of_processes and not of_lab:
        raise SettingsError("--only and --faults leave nothing to do")
    rows = int(options.batch_rate * options.seconds)
    users = traffic.draw_users(current.redis_url, Keys.of(current.redis_prefix), rows)
    mesh = _Place(Targets.from_environment(current.variables()), partial(_pids, current))
    expected = asyncio.run(loads.expected_answers(mesh.targets, users))
    run = _Run(options, users, expected, reporter, len(of_processes) + len(of_lab))
    reporter.say(f"{run.total} faults, at least {run.total * options.seconds:.0f} s")
    try:
        _run_cases(run, of_processes, mesh)
        if of_lab:
            with_disks = any(fault == cases.FULL_DISK for fault, _ in of_lab)
            with lab.open_lab(current, PADDLE_SERVING in running, with_disks, reporter.say) as opened:
                chosen = [case for case in cases.of_lab(opened) if (case.fault, case.where) in of_lab]
                _run_cases(run, chosen, _Place(opened.targets, opened.pids))
    finally:
        if run.rows:
            _show(run, console)
    return int(run.has_failed)


def _is_wanted(options: argparse.Namespace, fault: str, where: str) -> bool:
    return cases.option(fault) in options.faults and where.startswith(tuple(options.only.split(",")))


def _wanted_in_lab(
    options: argparse.Namespace, current: LocalSettings, running: set[str], reporter: Reporter
) -> list[tuple[str, str]]:
    """The faults of links and disks to measure. Says which cannot be."""
    links = [(fault.value, link) for link in lab.links(PADDLE_SERVING in running) for fault in LinkFault]
    disks = [(cases.FULL_DISK, name) for name in cases.DISKS]
    wanted = [place for place in (*links, *disks) if _is_wanted(options, *place)]
    if wanted and "milvus" not in running:
        reporter.say("links and disks: skipped: a second recall needs the Milvus server, not milvus-lite")
        return []
    if any(fault == cases.FULL_DISK for fault, _ in wanted) and (
        reason := disk.why_not(current.folder / "faults" / "disk")
    ):
        reporter.say(f"full disk: skipped: {reason}")
        return [place for place in wanted if place[0] != cases.FULL_DISK]
    return wanted


def _pids(current: LocalSettings) -> Mapping[str, int]:
    return {state.name: state.pid for state in Supervisor(current).states()}


def _run_cases(run: _Run, chosen: Sequence[Case], place: _Place) -> None:
    for case in chosen:
        run.done += 1
        asyncio.run(_run_case(run, case, place))


async def _run_case(run: _Run, case: Case, place: _Place) -> None:
    """Measure one fault. Adds a row for each load, even if the mesh does not recover."""
    options, notes, before = run.options, Notes(), place.pids()
    rate = len(run.users) / options.seconds
    pages = RecordingMesh(place.targets, run.expected, timeout=options.deadline)
    batch = RecordingMesh(place.targets, run.expected, timeout=loads.BATCH_TIMEOUT, rate=rate, is_batch=True)
    after = RecordingMesh(place.targets, run.expected, timeout=options.deadline)
    async with pages, batch, after:
        with tempfile.TemporaryDirectory() as folder:
            calling = asyncio.gather(
                loads.call_pages(pages, run.users[:_PAGE_USERS], options.rate, options.seconds),
                loads.call_batch(batch, run.users, Path(folder)),
            )
            try:
                ended = await _inflict(case, notes, options.fault_seconds)
                _, gave_up = await calling
            finally:
                calling.cancel()
        try:
            await loads.settle(after, run.users[0])
        finally:
            now = place.pids()
            died = sorted(name for name, pid in before.items() if not case.ends_processes and now.get(name) != pid)
            said = "; ".join(note() for note in notes)
            for load, mesh, note in (("as", pages, said), ("batch", batch, gave_up)):
                found = report.row((case.fault, case.where), load, mesh.replies, after.replies, ended, died, note)
                run.rows.append(found)
                run.reporter.say(f"{run.done} of {run.total}: {found}")


async def _inflict(case: Case, notes: Notes, seconds: float) -> float:
    """Let a fault happen under load. Returns when it ended, in seconds of the monotonic clock."""
    await asyncio.sleep(_SECONDS_BEFORE)
    with case.inflict(notes):
        if not case.is_instant:
            await asyncio.sleep(seconds)
        return time.monotonic()


def _show(run: _Run, console: Console) -> None:
    options = run.options
    title = f"{options.rate:g} calls/s with {options.deadline:g} s, and a batch; faults of {options.fault_seconds:g} s"
    console.print(report.table(run.rows, title))
    if options.results:
        shown = {name: value for name, value in vars(options).items() if name != "results"}
        report.save(options.results, shown, run.rows)
        console.print(f"written to {options.results}", highlight=False, soft_wrap=True)


if __name__ == "__main__":
    sys.exit(main())
