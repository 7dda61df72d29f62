"""The command `recmesh top`."""

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.live import Live

from recmesh.bearer import token_of
from recmesh.errors import SettingsError, Unavailable
from recmesh.tls import TlsFiles

if TYPE_CHECKING:
    from recmesh.cli.top.report import Report
    from recmesh.cli.top.scrape import Scrape, Scraper

_INTERVAL_SECONDS, _MIN_INTERVAL_SECONDS = 3.0, 0.2


def top(
    target: Annotated[
        list[str] | None,
        typer.Option(
            metavar="HOST:PORT",
            envvar="RECMESH_METRICS_TARGETS",
            help="Metrics port of a process; repeat it, or separate several by commas. All are added together. "
            "Default: the ports of the services + 10000.",
            show_default=False,
        ),
    ] = None,
    interval: Annotated[
        float, typer.Option(min=_MIN_INTERVAL_SECONDS, help="Seconds between two readings.")
    ] = _INTERVAL_SECONDS,
    once: Annotated[bool, typer.Option("--once", help="Print one report after one interval, and end.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print each report as a line of JSON.")] = False,
) -> None:
    """Show rates, times, failures and the release of the running mesh, from its metrics ports. Ctrl-C ends it."""
    try:
        from recmesh.cli.top.scrape import Scraper, default_targets, named_targets

        scraper = Scraper(named_targets(target or []) or default_targets(), TlsFiles.from_environment(), token_of())
        reports = _reports(scraper, interval)
        if once:
            next(reports)
            _print_once(next(reports), Console(), as_json=as_json)
        else:
            _keep_printing(reports, Console(), as_json=as_json)
    except ModuleNotFoundError as error:
        if (error.name or "recmesh").partition(".")[0] == "recmesh":
            raise
        raise SettingsError("this command needs the extra \"cli\": pip install 'recmesh[cli]'") from None
    except KeyboardInterrupt:
        return


def _reports(scraper: "Scraper", interval: float) -> "Iterator[Report]":
    """A report now, without rates, and one after each interval."""
    from recmesh.cli.top.report import report

    before: Sequence[Scrape] = []
    while True:
        due = time.monotonic() + interval
        after = scraper.scrape()
        yield report(before, after, datetime.now(timezone.utc))
        before = after
        time.sleep(max(0.0, due - time.monotonic()))


def _print_once(report: "Report", console: Console, *, as_json: bool) -> None:
    if all(process.error for process in report.processes):
        silent = "; ".join(f"{process.target} ({process.error})" for process in report.processes)
        raise Unavailable(f"no metrics port answers: {silent}: start the mesh, or name ports with --target HOST:PORT")
    _print(report, console, as_json=as_json)


def _keep_printing(reports: "Iterator[Report]", console: Console, *, as_json: bool) -> None:
    from recmesh.cli.top.view import shown

    if as_json or not console.is_terminal or console.is_dumb_terminal:
        next(reports)
        for report in reports:
            _print(report, console, as_json=as_json)
        return
    with Live(console=console, screen=True, auto_refresh=False) as live:
        for report in reports:
            live.update(shown(report), refresh=True)


def _print(report: "Report", console: Console, *, as_json: bool) -> None:
    from recmesh.cli.top.view import shown

    if as_json:
        print(json.dumps(asdict(report)), flush=True)
    else:
        console.print(shown(report), highlight=False)
