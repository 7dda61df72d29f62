"""What `recmesh top` computes, for a terminal."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from recmesh.cli.top.report import ActiveRelease, Answers, Calls, Process, Report, Requests

_UNKNOWN = "-"
_HEAD, _QUIET, _BAD, _WARN = "bold", "dim", "bold red", "yellow"
# So that columns stay where they are while numbers change.
_NAME_WIDTH, _NUMBER_WIDTH = 18, 8
_DAY, _HOUR, _MINUTE = 86_400, 3_600, 60


def shown(report: Report) -> RenderableType:
    """Lay a report out. It fits 80 columns; on a narrower terminal, names are folded and never cut."""
    parts = [_header(report), *_silent(report.processes), *_numbers(report)]
    if report.answers:
        parts.append(_answers(report.answers))
    parts += _failures(report)
    if any(not process.error for process in report.processes):
        parts.append(_processes(report.processes))
    return Group(*parts)


def _header(report: Report) -> Text:
    interval = f"rates over {report.seconds:.1f} s" if report.seconds else "rates after the next reading"
    answering = sum(not process.error for process in report.processes)
    style = "" if answering == len(report.processes) else _BAD
    first = Text.assemble(
        ("recmesh top", _HEAD),
        f"  {datetime.fromisoformat(report.time):%Y-%m-%d %H:%M:%S} UTC  {interval}  ",
        (f"{answering} of {len(report.processes)} targets answer", style),
    )
    releases = [_release(release, alone=len(report.releases) == 1) for release in report.releases]
    mode = Text(f"mode {report.mode or _UNKNOWN}")
    return Text("\n").join([first, Text("; ").join([mode, *(releases or [Text(f"release {_UNKNOWN}")])])])


def _release(release: ActiveRelease, *, alone: bool) -> Text:
    services = "" if alone else f" ({', '.join(release.services)})"
    age = "" if release.age_seconds is None else f", {_age(release.age_seconds)} old"
    return Text.assemble("release ", (release.release, _HEAD), services, age)


def _silent(processes: Sequence[Process]) -> list[RenderableType]:
    return [Text(f"{process.target} does not answer: {process.error}", _BAD) for process in processes if process.error]


def _numbers(report: Report) -> list[RenderableType]:
    sections: dict[str, Mapping[str, Calls]] = {
        "service": report.services,
        "stage": report.stages,
        "store": report.stores,
    }
    filled = {title: rows for title, rows in sections.items() if rows}
    if not filled:
        return []
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style=_HEAD)
    table.add_column(next(iter(filled)), overflow="fold", min_width=_NAME_WIDTH)
    for title in ("per s", "failed/s", "p50 ms", "p99 ms", "in flight", "shed/s"):
        table.add_column(title, justify="right", overflow="fold", min_width=_NUMBER_WIDTH)
    for position, (title, rows) in enumerate(filled.items()):
        if position:
            table.add_row(Text(title, _HEAD))
        for name, calls in rows.items():
            table.add_row(f" {name}", *_cells(calls))
    return [table]


def _cells(calls: Calls) -> Iterator[RenderableType]:
    known = calls.per_second is not None
    yield number(calls.per_second)
    yield Text(number(sum(calls.failed.values()) if known else None), _BAD if calls.failed else "")
    yield number(calls.p50_ms)
    yield number(calls.p99_ms)
    if isinstance(calls, Requests):
        yield f"{calls.in_flight:,}/{calls.limit:,}"
        yield Text(number(sum(calls.shed.values()) if known else None), _BAD if calls.shed else "")


def _answers(answers: Answers) -> Text:
    line = Text.assemble(("answers", _HEAD), "  degraded ")
    if answers.degraded:
        line.append(", ".join(f"{part} {_percent(share)}" for part, share in answers.degraded.items()), _WARN)
    else:
        line.append(_percent(0.0 if answers.answers else None))
    return line.append(f"; unknown users {_percent(answers.unknown_users)}; empty {_percent(answers.empty)}")


def _failures(report: Report) -> Iterator[RenderableType]:
    """What failed, by status, and what was refused, by reason."""
    rows = {**report.services, **{f"stage {name}": calls for name, calls in report.stages.items()}, **report.stores}
    failed = _list((name, calls.failed) for name, calls in rows.items())
    shed = _list((name, calls.shed) for name, calls in report.services.items())
    for title, text in (("failed/s", failed), ("shed/s", shed)):
        if text:
            yield Text.assemble((title, _HEAD), f"  {text}")


def _list(rates: "Iterator[tuple[str, dict[str, float]]]") -> str:
    return "; ".join(
        f"{name}: {', '.join(f'{cause} {number(rate)}' for cause, rate in causes.items())}"
        for name, causes in rates
        if causes
    )


def _processes(processes: Sequence[Process]) -> Table:
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style=_HEAD)
    table.add_column("process", overflow="fold", min_width=_NAME_WIDTH)
    table.add_column("loop lag ms", justify="right")
    table.add_column("services", overflow="fold")
    for process in processes:
        if not process.error:
            services = Text(", ".join(process.services))
            if process.not_serving:
                services.append(f"; not serving: {', '.join(process.not_serving)}", _BAD)
            table.add_row(f" {process.target}", number(process.loop_lag_ms), services)
    return table


def number(value: float | None) -> str:
    """A rate or a time with three significant digits or more."""
    if value is None:
        return _UNKNOWN
    if value >= 100 or value == 0:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _percent(share: float | None) -> str:
    return _UNKNOWN if share is None else f"{100 * share:.1f} %"


def _age(seconds: float) -> str:
    for size, unit in ((_DAY, "d"), (_HOUR, "h"), (_MINUTE, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
