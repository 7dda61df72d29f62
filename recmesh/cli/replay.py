"""`recmesh replay`: ask logged requests again, and name what is different now."""

from pathlib import Path
from typing import Annotated

import typer

from recmesh.cli.options import AsJson


def replay(
    path: Annotated[Path, typer.Argument(metavar="FILE_OR_FOLDER", help="Logged answers: a file, or their folder.")],
    release: Annotated[str, typer.Option(help="Only requests that this release answered.")] = "",
    limit: Annotated[int, typer.Option(min=0, metavar="N", help="Only the latest N requests; 0: all.")] = 0,
    target: Annotated[str, typer.Option(metavar="HOST:PORT", help="Target of as, instead of RECMESH_AS_TARGET.")] = "",
    timeout: Annotated[float, typer.Option(min=0.001, metavar="SECONDS", help="For each request.")] = 30.0,
    concurrency: Annotated[int, typer.Option(min=1, metavar="N", help="Requests in flight.")] = 8,
    as_json: AsJson = False,
) -> None:
    """Ask logged requests again, and name the answers that differ. Exit code 1 if any does."""
    import uvloop

    from recmesh.cli.replaying import ReplayOptions, run_replay
    from recmesh.client import Targets

    targets = Targets.from_environment()
    targets = targets.having("as", target) if target else targets
    code = uvloop.run(run_replay(ReplayOptions(path, release, limit, timeout, concurrency, as_json), targets))
    raise typer.Exit(code)
