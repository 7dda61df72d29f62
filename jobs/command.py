"""The entry point of jobs: errors become one line on standard error and an exit code."""

import sys
from collections.abc import Callable

import typer

from recmesh.errors import RecmeshError


def run(job: str, command: Callable[..., None]) -> int:
    """Run the command of `python -m jobs.<job>` with the arguments of this process, and return its exit code."""
    try:
        app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
        app.command()(command)
        app(prog_name=f"python -m jobs.{job}")
    except RecmeshError as error:
        print(f"{job}: {error}", file=sys.stderr)
        return error.exit_code
    return 0
