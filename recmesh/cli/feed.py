"""`recmesh feed`: load files into a running mesh."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer
from rich.console import Console

from recmesh.cli import arguments

if TYPE_CHECKING:
    from recmesh.dataset.single import RowKind

_TIMEOUT = 30.0
_INTERRUPTED = 130

app = typer.Typer(no_args_is_help=True, help="Load files of actions, users and items into a running mesh.")


def _kind(text: str) -> "RowKind":
    for kind in ("actions", "users", "items"):
        if text == kind:
            return kind
    raise typer.BadParameter(f'"{text}" is not one of actions, users, items')


# Without a second command, typer would take `load` for an argument.
@app.callback()
def _group() -> None: ...


@app.command("load")
def load_command(
    file: Annotated[Path, typer.Argument(help="A .csv, .tsv, .parquet, .jsonl or .xlsx file.")],
    kind: Annotated[
        str, typer.Option(parser=_kind, metavar="actions|users|items", help="What the rows of the file are.")
    ] = "actions",
    schema: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="The meaning of the columns, as for data sets. By default schema.yaml in the folder of the file, "
            "else the columns are user_id, sku_id, time, type, value and event_id.",
        ),
    ] = None,
    rejects: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="CSV file for the rows that are not used, by default _FILE.rejects.csv."),
    ] = None,
    concurrency: Annotated[int, typer.Option(min=1, metavar="N", help="Requests in flight.")] = 4,
    target: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="Target of feed, instead of RECMESH_FEED_TARGET.")
    ] = "",
    timeout: Annotated[
        float, typer.Option(parser=arguments.seconds, metavar="SECONDS", help="For each request, retries included.")
    ] = _TIMEOUT,
) -> None:
    """Send the rows of a file to feed, 1,000 in a request.

    After an interruption, the same command sends only the rest, and every row counts once. The exit code is 0 if all
    rows are in feed's log, 3 if some are not and are listed, and 6 or 7 if feed has stopped answering.
    """
    import uvloop

    from recmesh.cli.load import LoadOptions, run_load
    from recmesh.client import Mesh, Targets

    targets = Targets.from_environment()
    targets = targets.having("feed", target) if target else targets
    options = LoadOptions(file, cast("RowKind", kind), targets["feed"], schema, rejects, concurrency)

    async def run() -> int:
        async with Mesh(targets, timeout=timeout, retry_overload=True) as mesh:
            return await run_load(mesh, options, Console(stderr=True))

    try:
        code = uvloop.run(run())
    except KeyboardInterrupt:
        print("recmesh: interrupted; the same command sends the rest", file=sys.stderr)
        code = _INTERRUPTED
    raise typer.Exit(code)
